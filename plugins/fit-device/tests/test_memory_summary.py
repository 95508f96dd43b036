"""What memory is used for, counted by hand; and what is said when there is not enough."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fit_core import LogEntry, State, Trainer, Update, Updates, hookimpl
from fit_core.items import Table
from fit_core.testing import check_plugin, tiny_batches, tiny_trainer
from fit_device import MemorySummary
from fit_device.memory import advice, is_out_of_memory, peak_of, readable, size_of

ADAM = partial(torch.optim.Adam, lr=0.01)


class Listens:
    """A tracker, and something that shows."""

    def __init__(self) -> None:
        self.values: list[tuple[int, dict[str, float]]] = []
        self.shown: dict[str, Any] = {}

    @hookimpl
    def on_log(self, entries: list[LogEntry]) -> None:
        self.values += [(e.step, dict(e.values)) for e in entries if any(name.startswith("memory/") for name in e.values)]

    @hookimpl
    def on_show(self, name: str, item: Any) -> None:
        self.shown[name] = item


def test_the_numbers_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    model, listens = nn.Sequential(nn.Linear(4, 64), nn.BatchNorm1d(64), nn.Linear(64, 3)), Listens()
    floats = 4 * 64 + 64 + 2 * 64 + 64 * 3 + 3
    tiny_trainer(model=model, optimizer=ADAM, plugins=["memory-summary", listens], quiet=False).fit(epochs=2)
    (first, sizes), (last, peak) = listens.values
    assert (first, last) == (1, 4)
    mb = 2**20
    assert sizes["memory/parameters_mb"] == floats * 4 / mb
    assert sizes["memory/gradients_mb"] == floats * 4 / mb
    assert sizes["memory/optimizer_mb"] == (2 * floats + 6) * 4 / mb, "two moments, and a counter for each parameter"
    assert sizes["memory/buffers_mb"] == (2 * 64 * 4 + 8) / mb
    assert peak["memory/peak_mb"] >= sizes["memory/peak_mb"] > 50
    table = listens.shown["memory"]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["parameters", "buffers", "gradients", "optimizer", "peak"]
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"memory: parameters {floats * 4 / 1024:.1f} kB, buffers 520 B, gradients ")


def test_several_updates_and_lazy_layers_and_runs_without_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    model, listens = nn.Sequential(nn.Linear(4, 8), nn.LazyLinear(3)), Listens()
    updates = Updates([Update("a", ADAM, model[0].parameters()), Update("b", ADAM, model[1].parameters(), every=3)])
    tiny_trainer(model=model, optimizer=updates, plugins=[MemorySummary(), listens], train_data=tiny_batches(4)).fit(epochs=1)
    assert [step for step, _ in listens.values] == [3, 4], "once every update has made a step"
    assert listens.values[0][1]["memory/gradients_mb"] == (4 * 8 + 8 + 8 * 3 + 3) * 4 / 2**20
    assert capsys.readouterr().out == "", "the trainer is quiet"

    @hookimpl
    def on_setup() -> None:
        raise ValueError("nothing has begun")

    with pytest.raises(ValueError, match="nothing has begun"):
        tiny_trainer(plugins=["memory-summary", on_setup], quiet=False).fit(epochs=1)


class Greedy(nn.Linear):
    """Asks for more memory than there is, from its second batch on."""

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.weight.grad is not None or hasattr(self, "called"):
            torch.empty(2**60, dtype=torch.uint8)
        self.called = True
        return super().forward(inputs)


def test_out_of_memory_is_told_with_what_to_try() -> None:
    trainer = tiny_trainer(model=Greedy(4, 3), optimizer=ADAM, plugins=["memory-summary"])
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        trainer.fit(epochs=1)
    note = next(note for note in caught.value.__notes__ if "out of memory" in note)
    assert note.startswith("out of memory, with parameters 60 B, gradients 60 B, optimizer 128 B, peak ")
    assert "Try batches of 4 samples instead of 8 with accumulate=2, which makes the same steps, or the plugin mixed-precision" in note
    assert note.endswith("or the plugin activation-checkpointing, or an optimizer with less state than 128 B.")
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        tiny_trainer(model=Greedy(4, 3), plugins=["memory-summary", "autocast"]).evaluate()
    note = next(note for note in caught.value.__notes__ if "out of memory" in note)
    assert note.endswith("Try batches of 4 samples instead of 8.")


def test_what_is_out_of_memory_and_what_is_not() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
    nothing_left = advice(1, 1, False, ["autocast"], {})
    assert nothing_left == "out of memory, with nothing measured yet; the rest is the batch and its activations."


def test_sizes_and_peaks() -> None:
    tied = torch.zeros(5)
    sparse = torch.sparse_coo_tensor(torch.tensor([[0, 7]]), torch.tensor([1.0, 2.0]), (10,), check_invariants=True)
    assert size_of([tied, tied]) == 20
    assert size_of([sparse]) == 2 * 4 + 2 * 8
    assert size_of([torch.zeros(3, device="meta"), nn.UninitializedParameter()]) == 12
    assert peak_of(torch.device("meta")) is None
    assert (peak_of(torch.device("cpu")) or 0) > 50 * 2**20
    assert [readable(size) for size in (0, 1023, 1024, 5 * 2**20, 3 * 2**40)] == ["0 B", "1023 B", "1.0 kB", "5.0 MB", "3072.0 GB"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")
def test_the_peak_of_a_device() -> None:
    device = torch.device("cuda")
    kept = torch.zeros(2**22, device=device)
    assert (peak_of(device) or 0) >= kept.nbytes
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(2**45, dtype=torch.uint8, device=device)
    assert is_out_of_memory(caught.value)


def test_nothing_is_said_of_other_errors() -> None:
    @hookimpl
    def on_batch_end(state: State, trainer: Trainer) -> None:
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else") as caught:
        tiny_trainer(plugins=["memory-summary", on_batch_end]).fit(epochs=1)
    assert not any("out of memory" in note for note in caught.value.__notes__)


def test_conformance() -> None:
    check_plugin("memory-summary")

"""Random numbers of plugins, and things to look at."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.items import Embedding, Figure, Heatmap, Histogram, Image, Images, Scatter, Table, Text
from fit_core.testing import tiny_batches, tiny_trainer


class Drawing:
    def __init__(self, name: str, times: int = 1) -> None:
        self.name, self.times = name, times
        self.drawn: list[Any] = []

    @hookimpl
    def on_batch_start(self, trainer: Trainer) -> None:
        for _ in range(self.times):
            value = torch.rand(1, generator=trainer.generator(self)).item()
            with trainer.random(self.name):
                self.drawn.append((value, random.random(), np.random.rand(), torch.rand(1).item()))


def drawn(*plugins: Drawing, seed: int | None = 5, **changes: Any) -> list[Any]:
    tiny_trainer(plugins=plugins, seed=seed, train_data=tiny_batches(3), **changes).fit(epochs=2)
    return plugins[0].drawn


def test_they_are_a_function_of_seed_plugin_and_place() -> None:
    first = drawn(Drawing("a"))
    assert len({value for values in first for value in values}) == 6 * 4, "no two are equal"
    assert drawn(Drawing("a")) == first
    assert drawn(Drawing("a"), Drawing("b", times=3)) == first, "other plugins change nothing"
    assert drawn(Drawing("b"))[0] != first[0]
    assert drawn(Drawing("a"), seed=6)[0] != first[0]
    assert drawn(Drawing("a"), seed=None) != drawn(Drawing("a"), seed=None)


def test_drawing_changes_nothing_else() -> None:
    states = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    drawn(Drawing("a"), seed=None)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_only_plugins_draw() -> None:
    @hookimpl
    def on_batch_start(trainer: Trainer) -> None:
        trainer.generator("nobody")

    with pytest.raises(FitError, match=r"'nobody' is no plugin of this trainer \(plugins: on-batch-start\)"):
        tiny_trainer(plugins=[on_batch_start]).fit(epochs=1)


ITEMS = [
    Image(torch.zeros(1, 4, 4), "one"),
    Images(torch.zeros(3, 1, 4, 4), ["a", "b", "c"], columns=2),
    Figure(object()),
    Histogram(torch.zeros(9)),
    Heatmap(torch.zeros(2, 2), row_title="truth"),
    Scatter(torch.zeros(5, 2), ["a"] * 5),
    Text("**words**"),
    Table(["a"], [[1], [2]]),
    Embedding(torch.zeros(4, 8)),
]


def test_what_is_shown_reaches_every_sink() -> None:
    shown: list[Any] = []

    class Showing:
        @hookimpl
        def on_epoch_end(self, trainer: Trainer) -> None:
            for item in ITEMS:
                trainer.show(type(item).__name__.lower(), lambda item=item: item)
                trainer.show("at once", item)

    class Sink:
        @hookimpl
        def on_show(self, state: State, name: str, item: Any) -> None:
            shown.append((state.epoch, name, item))

    tiny_trainer(plugins=[Showing(), Sink()]).fit(epochs=1)
    assert [item for _, name, item in shown if name != "at once"] == ITEMS
    assert [item for _, name, item in shown if name == "at once"] == ITEMS
    assert shown[0][1] == "image"


def test_without_a_sink_nothing_is_produced() -> None:
    @hookimpl
    def on_epoch_end(trainer: Trainer) -> None:
        trainer.show("costly", lambda: pytest.fail("nobody looks"))

    tiny_trainer(plugins=[on_epoch_end]).fit(epochs=1)


def test_a_flush_is_one_transfer() -> None:
    """Counted, not timed: however much is logged, the values come to the host in one copy. On the CPU a number is read at once."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Elsewhere(torch.Tensor):
        """Is not read before the flush, as on an accelerator."""

    class Counter(TorchDispatchMode):
        transfers = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.transfers += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    class Logging:
        def __init__(self) -> None:
            self.flushes: list[int] = []

        @hookimpl
        def on_batch_end(self, trainer: Trainer, state: State) -> None:
            trainer.log({f"value_{i}": (state.loss * i).as_subclass(Elsewhere) for i in range(20)})

        @hookimpl
        def on_log(self, entries: Any) -> None:
            self.flushes.append(len(entries))

    plugin, counter = Logging(), Counter()  # type: ignore[no-untyped-call]
    trainer = tiny_trainer(plugins=[plugin], train_data=tiny_batches(6), val_data=None, finite="off", log_every=3)
    with counter:
        trainer.fit(epochs=1)
    assert plugin.flushes == [5, 6, 2]
    assert counter.transfers == 2, "the two numbers of the mean loss; .tolist() of a flush reads no single value"


def test_logging_on_a_device_without_values_reads_nothing_between_flushes() -> None:
    class Leave(Exception):
        pass

    class Logging:
        @hookimpl
        def on_batch_end(self, trainer: Trainer, state: State) -> None:
            trainer.log({"mean": state.outputs.mean()})
            if state.batch == 3:
                raise Leave

        @hookimpl
        def on_log(self) -> None:
            pass

    trainer = tiny_trainer(model=torch.nn.Linear(4, 3, device="meta"), plugins=[Logging()], train_data=tiny_batches(4))
    with pytest.raises(Leave) as caught:
        trainer.fit(epochs=1)
    assert "while ending" in caught.value.__notes__[1], "only the last flush reads, and there it is said"

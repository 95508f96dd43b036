"""Resumed runs compared with runs that were never interrupted: what is compared, what differs first, and what is named as its cause."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from fit_core import FitError, State, Trainer, every, freeze, hookimpl
from fit_core.testing import (
    Point,
    Recorder,
    ResumeDiffers,
    check_resume,
    compare_runs,
    failures,
    first_difference,
    tiny_batches,
    tiny_trainer,
)
from fit_core.testing.digests import digest
from fit_core.testing.points import number_of_step, usual_numbers

RNG = random.Random(0)


def point(batch: int, epoch: int = 1, stage: str = "train", interrupted: bool = False, **leaves: dict[str, str]) -> Point:
    return Point(epoch, batch, 3 * (epoch - 1) + batch, stage, interrupted, leaves, {})


def run_of(*weights: str, stop: int | None = None) -> list[Point]:
    return [point(i + 1, interrupted=i == stop, tensor={"model weight": weight}) for i, weight in enumerate(weights)]


# ------------------------------------------------------------------------------------------------------ two recordings


def test_equal_recordings_have_no_difference() -> None:
    assert first_difference(run_of("a", "b"), run_of("a", "b")) is None
    assert compare_runs(run_of("a", "b", "c"), run_of("a", stop=0), run_of("a", "b", "c")[1:]) is None


def test_the_first_difference_says_where_and_what() -> None:
    whole = [point(1, tensor={"model weight": "#1"}), point(2, tensor={"model weight": "#2"}, setting={"main lr": "0.1"})]
    resumed = [whole[0], point(2, tensor={"model weight": "#9"}, setting={"main lr": "0.2"})]
    found = first_difference(whole, resumed)
    assert found is not None
    assert (found.at.epoch, found.at.batch, found.at.step, found.kind) == (1, 2, 2, "setting")
    assert found.leaves == ("optimizer main lr (0.1; resumed: 0.2)", "model weight"), "causes come before effects, digests stay away"
    first, last = str(found).splitlines()
    assert first == "the resumed run differs first in epoch 1, batch 2 (step 2): optimizer main lr (0.1; resumed: 0.2); model weight"
    assert last.startswith("usual causes: an option of the optimizer: what sets it (a plugin, ")


def test_few_leaves_are_named() -> None:
    many = {f"model {i}": "#1" for i in range(9)}
    found = first_difference([point(1, tensor=many)], [point(1, tensor=dict.fromkeys(many, "#2"))])
    assert found is not None
    assert str(found).splitlines()[0].endswith(": model 0; model 1; model 2; model 3; and 5 more")


def test_a_leaf_may_be_missing() -> None:
    found = first_difference([point(1, plugin={"'a' n": "1"})], [point(1)])
    assert found is not None
    assert found.leaves == ("plugin 'a' n (1; resumed: none)",)


def test_runs_that_end_elsewhere() -> None:
    found = first_difference(run_of("a"), run_of("a", "b"))
    assert found is not None
    assert (found.kind, found.leaves) == ("ending", ("one run is over, the other one is in epoch 1, batch 2, step 2",))
    other = first_difference([point(2, stage="ended")], [point(3)])
    assert other is not None
    assert other.leaves == ("one run is after epoch 1, step 2, the other one is in epoch 1, batch 3, step 3",)


def test_a_difference_before_the_interruption_is_no_matter_of_resuming() -> None:
    found = compare_runs(run_of("a", "b", "c"), run_of("a", "x", "c", stop=2), [])
    assert found is not None
    assert found.twice
    assert str(found).startswith(
        "two runs from the beginning differ first in epoch 1, batch 2 (step 2): model weight (b; the other run: x)"
    )
    assert "the run itself is not the same twice" in str(found)
    at_the_very_place = compare_runs(run_of("a", "b"), run_of("x", stop=0), run_of("a", "b")[1:])
    assert at_the_very_place is not None
    assert at_the_very_place.twice


def test_an_interruption_may_leave_a_validation_out() -> None:
    whole = [point(1, tensor={"w": "a"}, metric={"val": "1"}), point(2)]
    assert compare_runs(whole, [point(1, tensor={"w": "a"}, interrupted=True)], [point(2)]) is None
    inside = [point(1), point(1, stage="ended")]
    assert compare_runs(inside, [point(1), point(1, stage="evaluate", interrupted=True)], [inside[1]]) is None


def test_what_differs_outside_in_any_case_is_not_named() -> None:
    clock, steps = ({"began of plugin 'a'": str(i)} for i in (1, 2)), ({"n of plugin 'a'": str(i)} for i in (5, 1))
    before, after = run_of("a", "b"), run_of("a", "c", stop=0)
    (clock_before, clock_after), (n_before, n_after) = clock, steps
    whole = [replace(before[0], outside=clock_before), replace(before[1], outside=clock_before | n_before)]
    part, rest = [replace(after[0], outside=clock_after)], [replace(after[1], outside=clock_after | n_after)]
    found = compare_runs(whole, part, rest)
    assert found is not None
    assert found.outside == ("n of plugin 'a' (5; resumed: 1)",)
    assert "different too, outside of the checkpoint: n of plugin 'a' (5; resumed: 1)" in str(found)


def test_where_a_run_is_interrupted() -> None:
    epoch = [point(1), point(2), point(3)]
    short = replace(epoch[2], step=4)  # a step with what the end of the data left over
    dropped = epoch[2]
    last = [replace(each, epoch=2) for each in epoch]
    end = point(3, stage="ended")
    assert usual_numbers([*epoch, end, *last]) == {"early": 0, "midst": 5, "last batch": 2, "after": 3}
    assert usual_numbers([*epoch, end]) == {"early": 0, "midst": 1, "last batch": 2}
    assert usual_numbers([*epoch, short, end, *last])["last batch"] == 3
    assert usual_numbers([*epoch, dropped, end, *last])["last batch"] == 2, "nobody could interrupt it there"
    assert [number_of_step([*epoch, short, end], step) for step in (0, 2, 4)] == [0, 1, 3]
    with pytest.raises(FitError, match="cannot be interrupted at step 7: it has 3 steps; choose an earlier one"):
        number_of_step(epoch, 7)


def test_a_point_survives_json() -> None:
    one = point(1, tensor={"w": "a"})
    assert Point(**one.to_json()) == one


def test_comparing_needs_no_torch() -> None:
    code = "import sys, fit_core.testing.differences, fit_core.testing.points; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------------------------------------------- digests


def unequal() -> Iterator[tuple[Any, Any]]:
    generator = numpy.random.default_rng(0)
    other = numpy.random.default_rng(0)
    other.random()
    yield 1, 2
    yield 1, 1.0
    yield 1, True
    yield 0.0, -0.0
    yield "1", 1
    yield "a" * 100, "a" * 99 + "b"
    yield b"a", b"b"
    yield None, False
    yield [1, 2], [2, 1]
    yield {"a": 1}, {"a": 2}
    yield {"a": 1}, {"b": 1}
    yield {1, 2}, {1, 3}
    yield deque([1]), deque([2])
    yield Counter("a"), Counter("b")
    yield count(1), count(2)
    yield torch.zeros(3), torch.tensor([0.0, 0.0, -0.0])
    yield torch.zeros(3), torch.zeros(3, dtype=torch.float64)
    yield torch.zeros(2, 3), torch.zeros(3, 2)
    yield torch.zeros(()), torch.ones(())
    yield torch.zeros(()), torch.zeros(1)
    yield torch.zeros(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.bfloat16)
    yield torch.eye(3).to_sparse(), torch.zeros(3, 3).to_sparse()
    yield torch.zeros(0), torch.zeros(0, 2)
    yield torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    yield random.Random(1), random.Random(2)
    yield generator, other
    yield numpy.random.RandomState(1), numpy.random.RandomState(2)
    yield numpy.zeros(2), numpy.ones(2)
    yield numpy.float32(1), numpy.float64(1)
    yield torch.float32, torch.float64


def test_a_digest_tells_values_apart_to_the_bit() -> None:
    for one, other in unequal():
        assert digest(one) != digest(other), (one, other)
        assert digest(one) == digest(one)


def test_equal_values_have_equal_digests() -> None:
    assert digest({"a": 1, "b": {2, 3}}) == digest({"b": {3, 2}, "a": 1})
    assert digest(torch.tensor([math.nan])) == digest(torch.tensor([math.nan]))
    assert digest(torch.arange(6).view(2, 3).T) == digest(torch.arange(6).view(2, 3).T.contiguous())
    assert digest(0.1) == "0.1"
    assert digest(torch.tensor(2.0)) == "2.0 in float32"
    assert digest(object()) == digest(object()) == "a object"


class Timed:
    """Has a clock, and a cadence of time."""

    def __init__(self) -> None:
        self.seen = 0

    @hookimpl
    @every("90 minutes")
    def on_batch_end(self) -> None:
        self.seen += 1

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "seconds": random.random(), "wait_seconds": random.random()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


class Slowing:
    """Lets the learning rate fall with a count that it does not save."""

    def __init__(self) -> None:
        self.count = 0

    @hookimpl
    def on_step_end(self, state: State) -> None:
        assert state.update is not None
        self.count += 1
        state.update.optimizer.param_groups[0]["lr"] = 0.1 / (1 + self.count)


class Remembers(Slowing):
    """Saves it."""

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


def test_every_leaf_has_a_readable_path() -> None:
    points: list[Point] = []
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    plugins = [Timed(), Remembers(), Recorder(points.append)]
    tiny_trainer(model=network, plugins=plugins, metrics=["accuracy"], seed=1, accumulate=2, train_data=tiny_batches(3)).fit(epochs=2)
    paths = {kind: set(found) for kind, found in points[0].leaves.items()}
    assert {"model 0.weight", "model 1.running_mean"} <= paths["tensor"]
    assert paths["batch"] == {"inputs", "targets"}
    assert {"python", "numpy", "torch"} <= paths["random"]
    assert {"main steps", "main lr", "main last lr"} <= paths["setting"]
    assert {"main batches", "main gradient of 0.weight"} <= paths["window"]
    assert paths["plugin"] >= {"'timed' seen", "'remembers' count"}
    assert not [path for path in paths["plugin"] if "seconds" in path or "timed' cadence on_batch_end" in path]
    later = {kind: set(found) for kind, found in points[-1].leaves.items()}
    assert "main momentum_buffer of 0.weight" in later["moment"]
    assert {"earlier rows", "val_loss of epoch 2", "accuracy of epoch 2"} <= later["history"]
    assert "seconds of epoch 2" not in later["history"]
    assert [str(each) for each in points[2:5]] == ["in epoch 1, batch 3", "in epoch 1, batch 3", "after epoch 1"]


def test_recording_changes_nothing() -> None:
    def train(*plugins: Any) -> Tensor:
        trainer = tiny_trainer(plugins=plugins, seed=2, model=nn.Sequential(nn.Linear(4, 3), nn.Dropout()), metrics=["accuracy"])
        for parameter in trainer.model.parameters():
            nn.init.ones_(parameter)
        trainer.fit(epochs=2)
        return torch.cat([p.flatten() for p in trainer.model.parameters()])

    assert torch.equal(train(), train(Recorder(lambda _: None)))


# ------------------------------------------------------------------------------------------------------- whole runs


class Noisy(Dataset[tuple[Tensor, int]]):
    """Draws its samples anew each time."""

    def __init__(self, draw: Callable[[], float] | None = None) -> None:
        self.draw = draw

    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        noise = torch.randn(4) * random.random() * numpy.random.rand() if self.draw is None else self.draw()
        return index / 22 + noise * torch.ones(4), index % 3


def good(**changes: Any) -> Trainer:
    """Return a trainer with all that draws: dropout, shuffling, augmentation; batch norm, windows, a schedule."""
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
    settings: dict[str, Any] = {
        "optimizer": partial(torch.optim.Adam, lr=0.01),
        "metrics": ["accuracy"],
        "accumulate": 4,
        "plugins": [Remembers()],
        "train_data": DataLoader(Noisy(), batch_size=4, shuffle=True),
        "val_data": DataLoader(Noisy(), batch_size=4),
    }
    return tiny_trainer(model=network, **settings | changes)


def test_a_good_trainer_is_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    check_resume(good)
    check_resume(good, steps=4, at=[0, 1, 3])
    check_resume(good, epochs=3, steps_per_epoch=4, val_every="3 batches", seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(tmp_path.iterdir()), "all files were somewhere else"


def test_who_keeps_which_checkpoint_is_no_difference() -> None:
    class Keeps:
        name = "keeps"

        def __init__(self) -> None:
            self.kept: list[str] = []

        @hookimpl
        def on_fit_start(self, trainer: Trainer) -> None:
            trainer.checkpoints.hold(self.name, self.kept)

        @hookimpl
        def on_safe_point(self, trainer: Trainer, state: State) -> None:
            if state.stop_reason is not None:
                self.kept.append(trainer.checkpoints.save())

        def state_dict(self) -> dict[str, Any]:
            return {"kept": list(self.kept)}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.kept = list(state["kept"])

    check_resume(lambda: tiny_trainer(plugins=[Keeps()], seed=1, train_data=tiny_batches(4)))


class Forgets(Slowing):
    """Saves the count of epochs instead."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = 0

    @hookimpl
    def on_epoch_end(self) -> None:
        self.epochs += 1

    def state_dict(self) -> dict[str, int]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass


class Stops:
    def __init__(self) -> None:
        self.misses = 0

    @hookimpl
    def on_epoch_end(self, trainer: Trainer) -> None:
        self.misses += 1
        if self.misses == 3:
            trainer.stop("enough")


class Draws:
    """Has a generator of its own, made anew in each run."""

    @hookimpl
    def on_fit_start(self) -> None:
        self.rng = random.Random(0)

    @hookimpl
    def on_loss_end(self, state: State) -> None:
        state.loss = state.loss * self.rng.random()


class FreezesOnce:
    def __init__(self) -> None:
        self.done = False

    @hookimpl
    def on_epoch_start(self, trainer: Trainer, state: State) -> None:
        if not self.done and state.epoch == 2 and not state.resumed:
            freeze(trainer.model[0])  # type: ignore[index]
            self.done = True


class Counting(nn.Linear):
    """Multiplies its outputs with how often it was called."""

    calls = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(inputs) * (1 + self.calls % 5)


def counting_loss() -> Callable[..., Tensor]:
    calls = 0

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return nn.functional.cross_entropy(outputs, targets) * (1 + calls % 5)

    return loss


class Forever(IterableDataset[tuple[Tensor, int]]):
    """Gives other samples each time it is read, and does not say where it is."""

    def __init__(self) -> None:
        self.rng = torch.Generator().manual_seed(0)

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for _ in range(16):
            yield torch.randn(4, generator=self.rng), 1


class Shuffled(torch.utils.data.Sampler[int]):
    """An order of its own."""

    def __init__(self) -> None:
        self.own = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return 22

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(22, generator=self.own).tolist())


def plain(**changes: Any) -> Trainer:
    return tiny_trainer(**{"seed": 1, "train_data": tiny_batches(4)} | changes)


def with_own_generator() -> Trainer:
    own = random.Random(1)
    return good(train_data=DataLoader(Noisy(own.random), batch_size=4, shuffle=True))


BAD: dict[str, tuple[Callable[[], Trainer], str, str]] = {
    "a counter that sets the learning rate": (lambda: plain(plugins=[Slowing()]), "setting", "count of plugin 'slowing' ("),
    "a plugin that takes nothing up": (lambda: plain(plugins=[Forgets()]), "plugin", "count of plugin 'forgets' ("),
    "a plugin that stops": (lambda: plain(plugins=[Stops()]), "call", "misses of plugin 'stops' (3; resumed: "),
    "a generator of a plugin": (lambda: plain(plugins=[Draws()]), "tensor", "rng of plugin 'draws'"),
    "an attribute of the model": (lambda: plain(model=Counting(4, 3)), "tensor", "calls of the model ("),
    "a closure of the loss": (lambda: plain(loss_fn=counting_loss()), "tensor", "closure variable calls of loss of the loss ("),
    "a generator of the data": (with_own_generator, "batch", "draw of the dataset of the training data"),
    "a sampler": (
        lambda: good(train_data=DataLoader(Noisy(), batch_size=4, sampler=Shuffled())),
        "batch",
        "own of the sampler of the training data",
    ),
    "an iterable": (
        lambda: plain(train_data=DataLoader(Forever(), batch_size=4)),
        "batch",
        "rng of the dataset of the training data",
    ),
}
EPOCHS = {"a plugin that stops": 4}


@pytest.mark.filterwarnings("ignore:saved inside an epoch")
@pytest.mark.parametrize("name", BAD)
def test_what_is_not_saved_is_found_and_named(name: str) -> None:
    make, kind, hint = BAD[name]
    with pytest.raises(ResumeDiffers) as caught:
        check_resume(make, epochs=EPOCHS.get(name, 2))
    assert hint in str(caught.value), str(caught.value)
    assert caught.value.difference.kind == kind, str(caught.value)
    assert not caught.value.difference.twice


def test_a_global_generator_is_named() -> None:
    with pytest.raises(
        ResumeDiffers, match=r"two runs from the beginning differ first in epoch 1, batch 1 .*: inputs of the batch"
    ) as caught:
        check_resume(lambda: good(train_data=DataLoader(Noisy(lambda: RNG.random()), batch_size=4, shuffle=True)))
    assert f"global RNG of {__name__}" in str(caught.value)


def test_a_run_that_ends_before_it_is_interrupted() -> None:
    runs: list[int] = []

    @hookimpl(specname="on_batch_end")
    def shorter(trainer: Trainer, state: State) -> None:
        if state.step == 3 and len(runs) > 1:
            trainer.stop("enough")

    def make() -> Trainer:
        runs.append(1)
        return plain(plugins=[shorter])

    with pytest.raises(ResumeDiffers, match=r"two runs from the beginning differ first in epoch 1, batch 3 \(step 3\): stopped \(None; "):
        check_resume(make)


def test_a_mode_that_is_set_once() -> None:
    def make() -> Trainer:
        return plain(model=nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), plugins=[FreezesOnce()])

    with pytest.raises(ResumeDiffers, match="modes of model eval 0 .*; modes of model still 0") as caught:
        check_resume(make, at=[4])
    assert "modes of modules: something freezes or switches them once" in str(caught.value)


def test_a_run_that_fails_is_no_difference() -> None:
    def fails() -> Trainer:
        raise ValueError("no trainer")

    with pytest.raises(ValueError, match="no trainer"):
        check_resume(fails)
    with pytest.raises(FitError, match="cannot be interrupted at step 99"):
        check_resume(plain, at=[99])


# ------------------------------------------------------------------------------------------------------ conformance


def test_check_plugin_resumes_and_names_the_state() -> None:
    failed = failures(Slowing)
    assert failed.keys() == {"resumes"}
    assert "optimizer main lr (" in failed["resumes"]
    assert "count of plugin 'slowing' (" in failed["resumes"]


def test_check_plugin_says_a_failure_once() -> None:
    assert failures(Forgets).keys() == {"state round trip"}


def test_state_that_cannot_be_saved_is_a_failure() -> None:
    class Unsavable:
        @hookimpl
        def on_step_end(self) -> None:
            pass

        def state_dict(self) -> dict[str, Any]:
            return {"set": slice(3)}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            pass

    assert "plugin 'unsavable'['set']" in failures(Unsavable())["plain state"]

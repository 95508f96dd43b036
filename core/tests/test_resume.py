"""A run that is interrupted anywhere and resumed by a new trainer is equal to the bit to one that never was."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from fit_core import FitError, State, Trainer, TrainingError, Update, hookimpl
from fit_core.checkpoint import remove_drafts
from fit_core.saving import SaveLast
from fit_core.testing import check_resume, tiny_batches, tiny_trainer

Rows = list[dict[str, float]]


class Noisy(Dataset[Any]):
    """Samples that are augmented by three kinds of random numbers."""

    def __init__(self, count: int = 27) -> None:
        self.inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
        self.targets = (self.inputs.sum(1) > 0).long()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        return self.inputs[index] + torch.randn(4) * random.random() * float(np.random.rand()), self.targets[index]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 3))


def trainer(**changes: Any) -> Trainer:
    standard: dict[str, Any] = {
        "model": net(),
        "optimizer": partial(torch.optim.Adam, lr=0.01),
        "metrics": ["accuracy"],
        "train_data": DataLoader(Noisy(), batch_size=4, shuffle=True),
        "val_data": DataLoader(Noisy(9), batch_size=4),
        "seed": 3,
    }
    return tiny_trainer(**standard | changes)


class SaveAt:
    """Saves at the n-th safe point, and remembers how many there were."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number
        self.count = 0

    @hookimpl
    def on_safe_point(self, trainer: Trainer) -> None:
        self.count += 1
        if self.count == self.number:
            trainer.save(self.folder)


def comparable(rows: Rows) -> Rows:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def left_by(trainer: Trainer) -> dict[str, Any]:
    """Return all that a run has left, as values that can be compared."""
    state = trainer.state_dict()
    core = state["core"]
    return {
        "weights": {name: value.tolist() for name, value in state["modules"]["model"].items()},
        "history": comparable(core["history"]),
        "updates": repr(core["updates"]),
        "counters": (core["epoch"], core["step"], core["batch_count"]),
        "random": repr(core["random"]),
    }


def check_everywhere(folder: Path, make: Callable[..., Trainer], step: int = 1, **length: Any) -> None:
    """Compare a whole run with ones that are resumed from each of its safe points."""
    counter = SaveAt(folder / "never", 0)
    whole = make(plugins=[counter])
    rows = whole.fit(**length)
    assert counter.count > 3
    for number in range(1, counter.count + 1, step):
        saved = folder / str(number)
        make(plugins=[SaveAt(saved, number)]).fit(**length)
        resumed = make(plugins=[SaveAt(folder / "never", 0)])
        again = resumed.fit(**length, resume=saved)
        assert comparable(again) == comparable(rows), number
        assert left_by(resumed) == left_by(whole), number


def test_from_every_safe_point(tmp_path: Path) -> None:
    check_everywhere(tmp_path, partial(trainer, accumulate=2), epochs=2)


ARRAYS = (torch.randn(27, 4, generator=torch.Generator().manual_seed(1)), torch.arange(27) % 3)


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({"train_data": ARRAYS}, {"epochs": 2, "batch_size": 5}),
        ({"train_data": ARRAYS}, {"steps": 13, "batch_size": 4}),
        ({"train_data": ARRAYS}, {"epochs": 3, "steps_per_epoch": 5, "batch_size": 4}),
        ({}, {"epochs": 3, "steps_per_epoch": 5}),
        ({}, {"epochs": 2, "val_every": "3 steps"}),
        ({}, {"epochs": 2, "limit_batches": {"train": 5, "validate": 1}}),
        ({}, {"epochs": 4, "steps_per_epoch": 5, "limit_batches": {"train": 3}}),
        ({"accumulate": 3, "remainder": "drop"}, {"epochs": 2}),
        ({"train_data": tiny_batches(5), "seed": None}, {"epochs": 2}),
        ({"loss_fn": nn.CrossEntropyLoss(reduction="sum"), "accumulate": 2}, {"epochs": 2}),
        ({"optimizer": partial(torch.optim.LBFGS, lr=0.1, max_iter=3), "train_data": ARRAYS}, {"epochs": 2, "batch_size": 9}),
        ({"metrics": ["accuracy", lambda outputs, targets: outputs.var()]}, {"epochs": 2}),
    ],
    ids=["arrays", "steps", "virtual", "virtual-loader", "val_every", "limited", "both", "drop", "list", "sums", "lbfgs", "function"],
)
def test_in_every_shape(changes: dict[str, Any], length: dict[str, Any], tmp_path: Path) -> None:
    check_everywhere(tmp_path, partial(trainer, **changes), step=3, **length)


def test_two_updates(tmp_path: Path) -> None:
    def make(**changes: Any) -> Trainer:
        model = net()
        first = Update("a", torch.optim.SGD(model[0].parameters(), lr=0.1, momentum=0.9), accumulate=3)
        second = Update("b", partial(torch.optim.RAdam, lr=0.01), model[3].parameters(), every=2)
        return trainer(model=model, optimizer={"a": first, "b": second}, **changes)

    check_everywhere(tmp_path, make, step=2, epochs=2)


class Draws:
    """Changes what is trained, by state of its own and by random numbers."""

    def __init__(self, name: str, factor: float) -> None:
        self.name = name
        self.factor = factor
        self.count = 0

    @hookimpl
    def on_loss_end(self, trainer: Trainer, state: State) -> None:
        self.count += 1
        if state.phase == "train":
            noise = torch.rand((), generator=trainer.generator(self)) + torch.rand(())
            state.loss = state.loss * (1 + self.factor * self.count * noise)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


@settings(max_examples=15, deadline=None)
@given(order=st.permutations([0, 1, 2, 3]), number=st.integers(1, 15))
def test_any_order_of_plugins_resumes(order: list[int], number: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("order")

    def make(number: int) -> Trainer:
        plugins = [Draws("one", 0.1), Draws("two", -0.02), SaveAt(folder / "saved", number), only_sometimes]
        return trainer(plugins=[plugins[i] for i in order])

    whole = make(0)
    whole.fit(epochs=2)
    make(number).fit(epochs=2)
    resumed = make(0)
    resumed.fit(epochs=2, resume=folder / "saved")
    assert left_by(resumed) == left_by(whole)


@hookimpl(specname="on_batch_start")
def only_sometimes(state: State) -> None:
    if state.batch_count % 3 == 0:
        state.inputs = state.inputs * torch.rand(())


def test_an_interruption_within_a_process(tmp_path: Path) -> None:
    """Interrupted in a batch, in validation, at the last batch of an epoch: the same trainer and a new one both go on."""

    def interrupt_at(epoch: int, batch: int, hook: str) -> Any:
        @hookimpl(specname=hook)
        def interrupter(trainer: Trainer, state: State) -> None:
            if not state.resumed and (state.epoch, state.batch) == (epoch, batch):
                trainer.interrupt("enough for now")

        return interrupter

    whole = trainer()
    whole.fit(epochs=3)
    for place in [(2, 3, "on_batch_start"), (2, 7, "on_batch_end"), (2, 1, "on_eval_batch_end"), (1, 2, "on_eval_batch_end")]:
        for new in (True, False):
            first = trainer(plugins=[interrupt_at(*place)])
            rows = first.fit(epochs=3)
            state = first.current_state()
            assert len(rows) == place[0] - 1
            assert (state.interrupted, state.stop_reason) == (True, "enough for now")
            assert (first.unfinished is None) is False
            first.save(tmp_path / "saved")
            second = trainer(plugins=[interrupt_at(*place)]) if new else first
            second.fit(epochs=3, resume=tmp_path / "saved")
            assert left_by(second) == left_by(whole), (place, new)


@pytest.mark.parity("T20")
def test_the_length_of_an_interrupted_call_is_its_own(tmp_path: Path) -> None:
    first = trainer()
    first.fit(epochs=2)
    first.save(tmp_path / "saved")
    for same in (trainer(), first):
        rows = same.fit(epochs=2, resume=tmp_path / "saved")
        assert [row["epoch"] for row in rows] == [1, 2]
        assert same.current_state().step == 14
    longer = trainer()
    assert [row["epoch"] for row in longer.fit(epochs=3, resume=tmp_path / "saved")] == [1, 2, 3]
    whole = trainer()
    whole.fit(epochs=3)
    assert left_by(longer) == left_by(whole)
    again = trainer()
    again.load(tmp_path / "saved")
    assert [row["epoch"] for row in again.fit(epochs=2)] == [3, 4], "after load, fit is a new call"
    assert [row["epoch"] for row in again.history] == [1, 2, 3, 4]


def test_a_run_that_stopped_itself_is_finished(tmp_path: Path) -> None:
    @hookimpl(specname="on_batch_end")
    def enough(trainer: Trainer, state: State) -> None:
        if state.batch_count == 9:
            trainer.stop("enough")

    first = trainer(plugins=[("enough", enough)])
    first.fit(epochs=2)
    first.save(tmp_path / "saved")
    same = trainer(plugins=[("enough", enough)])
    assert comparable(same.fit(epochs=2, resume=tmp_path / "saved")) == comparable(first.history)
    assert same.current_state().step == 9
    longer = trainer(plugins=[("enough", enough)])
    assert [row["epoch"] for row in longer.fit(epochs=3, resume=tmp_path / "saved")] == [1, 2, 3]


@pytest.mark.parity("T20")
def test_auto_begins_goes_on_and_does_nothing(tmp_path: Path) -> None:
    def make() -> Trainer:
        return trainer(run_dir=tmp_path)

    first = make()
    first.fit(epochs=2, resume="auto")
    first.checkpoints.save()
    assert make().fit(epochs=2, resume="auto") == first.history
    (tmp_path / "checkpoints" / "step-00000014" / "state.json").write_text("")
    with pytest.raises(TrainingError, match=r"no checkpoint is left in .*checkpoints: .*step-00000014 is damaged: state.json is not as"):
        make().fit(epochs=2, resume="auto")
    with pytest.raises(FitError, match="resume='auto' looks into the run folder"):
        trainer().fit(epochs=2, resume="auto")


@pytest.mark.parity("T29", "B18")
def test_what_differs_is_listed(tmp_path: Path) -> None:
    first = trainer(plugins=[Draws("one", 0.1)])
    first.fit(epochs=1)
    first.save(tmp_path / "saved")
    other = partial(trainer, seed=4, accumulate=2, plugins=[Draws("two", 0.1)], optimizer=torch.optim.SGD, train_data=tiny_batches(2))
    said = (
        "saved was made otherwise: seed was 3, now 4; batches of an epoch was 7, now 2; accumulate was 1, now 2; "
        "optimizer 'main' was Adam(lr=0.01), now SGD(lr=0.001); plugin 'two' is new; plugin 'one' is gone. "
        "Go on with allow_changes=True (--allow-changes)"
    )
    with pytest.raises(FitError) as caught:
        other().fit(epochs=2, resume=tmp_path / "saved")
    assert str(caught.value).endswith(said)
    changed = trainer(seed=4, plugins=[Draws("two", 0.1)])
    changed.fit(epochs=2, resume=tmp_path / "saved", allow_changes=True)
    assert changed.state_dict()["plugins"]["one"]["own"] == {"count": 7 + 3}, "the state of a plugin that is absent is kept"


@pytest.mark.parity("T29")
def test_saving_waits_for_a_safe_point(tmp_path: Path) -> None:
    @hookimpl(specname="on_batch_end")
    def too_early(trainer: Trainer, state: State) -> None:
        trainer.save(tmp_path / "weights", weights_only=True)
        with pytest.raises(FitError, match=r"cannot be saved in epoch 1, batch 1 \(train\): save in the hook on_safe_point"):
            trainer.save(tmp_path / "saved")
        raise ValueError("halt")

    first = trainer(plugins=[("early", too_early)])
    with pytest.raises(ValueError, match="halt"):
        first.fit(epochs=1)
    with pytest.raises(FitError, match="cannot be saved after a run that failed in the midst of a batch"):
        first.state_dict()
    with pytest.raises(FitError, match="weights holds weights alone, from which no run can go on; begin one with --weights"):
        trainer().fit(epochs=1, resume=tmp_path / "weights")
    assert trainer().load_weights(tmp_path / "weights") == ([], [])


def test_what_cannot_be_saved_names_the_plugin_and_the_key(tmp_path: Path) -> None:
    class Odd(Draws):
        def state_dict(self) -> dict[str, Any]:
            return {"count": 1, "file": {"handle": object()}}

    first = trainer(plugins=[Odd("odd", 0)])
    first.fit(epochs=1)
    with pytest.raises(FitError, match=r"cannot save plugin 'odd'\['file'\]\['handle'\]: it is builtins.object; return numbers"):
        first.save(tmp_path / "saved")
    assert not list(tmp_path.iterdir())


@pytest.mark.parity("T28", "T29")
def test_state_in_memory_is_a_copy() -> None:
    first = trainer()
    first.fit(epochs=1)
    kept = first.state_dict()
    before = {name: value.tolist() for name, value in kept["modules"]["model"].items()}
    first.fit(epochs=1)
    assert {name: value.tolist() for name, value in kept["modules"]["model"].items()} == before
    second = trainer()
    second.load_state_dict(kept)
    second.fit(epochs=1)
    assert {name: value.tolist() for name, value in kept["modules"]["model"].items()} == before
    assert left_by(second) == left_by(first)


class Counting(IterableDataset[Any]):
    """Batches from a source that knows where it is."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[Any]:
        while self.at < 28:
            self.at += 1
            yield ARRAYS[0][self.at % 27], ARRAYS[1][self.at % 27]
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


def test_a_dataset_with_state_goes_on_where_it_was(tmp_path: Path) -> None:
    def make(**changes: Any) -> Trainer:
        return trainer(train_data=DataLoader(Counting(), batch_size=4), **changes)

    check_everywhere(tmp_path, make, epochs=2)


class OwnOrder(Sampler[int]):
    """A sampler that draws from a generator of its own, and cannot tell where it is."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(27, generator=self.generator).tolist())

    def __len__(self) -> int:
        return 27


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_data": DataLoader(Noisy(), batch_size=4, sampler=OwnOrder())}, "its order is no function of a seed"),
        ({"seed": None}, "its order is no function of a seed"),
        ({"seed": None, "train_data": ARRAYS}, "they have no seed: pass Trainer"),
    ],
    ids=["sampler", "no seed", "arrays"],
)
def test_what_cannot_be_promised_is_said(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    length: dict[str, Any] = {"epochs": 2} | ({"batch_size": 4} if said.startswith("they") else {})
    with pytest.warns(UserWarning, match=f"saved inside an epoch, a resumed run may go on with other batches: {said}"):
        trainer(plugins=[SaveAt(tmp_path / "saved", 3)], **changes).fit(**length)
    resumed = trainer(plugins=[SaveAt(tmp_path / "never", 0)], **changes)
    rows = resumed.fit(**length, resume=tmp_path / "saved")
    assert (len(rows), resumed.current_state().step) == (2, 14)


def test_hooks_that_are_heard_again(tmp_path: Path) -> None:
    heard: list[tuple[str, int, int, bool]] = []

    class Listener:
        @hookimpl
        def on_epoch_start(self, state: State) -> None:
            heard.append(("epoch", state.epoch, state.batch, state.resumed))

        @hookimpl
        def on_fit_start(self, state: State) -> None:
            heard.append(("fit", state.epoch, state.step, state.resumed))

        @hookimpl
        def on_train_epoch_end(self, state: State) -> None:
            heard.append(("end", state.epoch, state.batch, state.resumed))

    trainer(plugins=[SaveAt(tmp_path / "saved", 10)], val_data=None).fit(epochs=2)
    trainer(plugins=[SaveAt(tmp_path / "no", 0), Listener()], val_data=None).fit(epochs=2, resume=tmp_path / "saved", allow_changes=True)
    assert heard == [("fit", 2, 9, True), ("epoch", 2, 2, True), ("end", 2, 7, True)]


OPTIMIZERS = [
    optimizer
    for name, optimizer in vars(torch.optim).items()
    if isinstance(optimizer, type)
    and issubclass(optimizer, torch.optim.Optimizer)
    and name not in ("Optimizer", "SparseAdam", "LBFGS", "Muon")
]


@pytest.mark.parametrize(
    "optimizer", [*OPTIMIZERS, partial(torch.optim.Adam, amsgrad=True, foreach=True), partial(torch.optim.AdamW, fused=True)]
)
def test_every_optimizer(optimizer: Any, tmp_path: Path) -> None:
    check_everywhere(tmp_path, partial(trainer, optimizer=partial(optimizer, lr=0.01)), step=5, epochs=2)


def test_sparse_gradients_of_an_open_window(tmp_path: Path) -> None:
    tokens = torch.randint(0, 9, (27, 4), generator=torch.Generator().manual_seed(1))

    def make(**changes: Any) -> Trainer:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(9, 3, sparse=True), nn.Flatten(), nn.Linear(12, 3))
        dense = torch.optim.SGD(model[2].parameters(), lr=0.1)
        sparse = torch.optim.SparseAdam(model[0].parameters(), lr=0.1)
        return trainer(model=model, optimizer=[dense, sparse], accumulate=3, train_data=(tokens, ARRAYS[1]), val_data=None, **changes)

    check_everywhere(tmp_path, make, step=2, epochs=2, batch_size=4)


def test_a_lazy_model_and_a_frozen_part(tmp_path: Path) -> None:
    def make(**changes: Any) -> Trainer:
        torch.manual_seed(0)
        model = nn.Sequential(nn.LazyLinear(5), nn.BatchNorm1d(5), nn.Linear(5, 3))
        return trainer(model=model, **changes)

    @hookimpl(specname="on_epoch_start")
    def thaw(trainer: Trainer, state: State) -> None:
        trainer.model[2].requires_grad_(state.epoch == 2)

    check_everywhere(tmp_path, make, step=4, epochs=2)

    def frozen(plugins: list[Any]) -> Trainer:
        return trainer(plugins=[*plugins, ("thaw", thaw)])

    check_everywhere(tmp_path, frozen, step=4, epochs=3)


def test_a_stop_before_the_first_batch_is_saved(tmp_path: Path) -> None:
    for hook in ("on_epoch_start", "on_train_epoch_start"):

        @hookimpl(specname=hook)
        def enough(trainer: Trainer, state: State) -> None:
            if state.epoch == 2:
                trainer.stop("enough")

        folder = tmp_path / hook
        first = trainer(run_dir=folder, plugins=[("enough", enough), SaveLast()])
        first.fit(epochs=3)
        again = trainer(run_dir=folder, plugins=[("enough", enough), SaveLast()])
        assert len(again.fit(epochs=3, resume="auto")) == 1
        assert again.current_state().step == 7


def test_what_was_saved_before_a_load_is_saved_anew(tmp_path: Path) -> None:
    first = trainer(run_dir=tmp_path)
    first.fit(epochs=1)
    first.save(tmp_path / "one")
    first.fit(epochs=1)
    old = first.checkpoints.save()
    first.load(tmp_path / "one")
    first.updates["main"].optimizer.param_groups[0]["lr"] = 0.5
    first.fit(epochs=1)
    new = first.checkpoints.save()
    assert new != old
    other = trainer()
    other.load(tmp_path / "checkpoints" / new)
    assert left_by(other)["weights"] == left_by(first)["weights"]


def test_what_was_replaced_is_put_back(tmp_path: Path) -> None:
    first = trainer(run_dir=tmp_path)
    first.fit(epochs=1)
    name = first.checkpoints.save()
    (tmp_path / "checkpoints" / name).rename(tmp_path / "checkpoints" / f".{name}.99.old")
    (tmp_path / "checkpoints" / ".step-1.99").mkdir()
    remove_drafts(tmp_path / "checkpoints")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [name]


def test_a_folder_that_is_no_checkpoint_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("work")
    for name in ("notes", "file"):
        with pytest.raises(FitError, match=f"{name} is there, and is no checkpoint; choose another path"):
            trainer().save(tmp_path / name)
    assert (tmp_path / "notes" / "thesis.txt").read_text() == "years of work"
    trainer().save(tmp_path / "own")
    trainer().save(tmp_path / "own")


def test_a_draft_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    for name in (f".step-1.{os.getppid()}", ".step-2.999999", ".step-3.999999.gone", ".hidden"):
        (tmp_path / name).mkdir()
    remove_drafts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", f".step-1.{os.getppid()}"]


class Top:
    """A metric without `state_dict`, with a function among its attributes."""

    name = "top"
    higher_is_better = True

    def __init__(self) -> None:
        self.function = lambda outputs: outputs.amax(1)
        self.reset()

    def reset(self) -> None:
        self.total, self.seen = torch.zeros(()), 0

    def update(self, outputs: Any, targets: Any) -> None:
        self.total = self.total + self.function(outputs).sum()
        self.seen += len(targets)

    def compute(self) -> float:
        return float(self.total) / self.seen

    def merge(self, other: Any) -> None:
        self.total, self.seen = self.total + other.total, self.seen + other.seen


def test_a_metric_without_state_dict_goes_on(tmp_path: Path) -> None:
    check_everywhere(tmp_path, lambda **changes: trainer(metrics=[Top()], **changes), step=3, epochs=2)


def test_a_metric_that_cannot_be_saved_is_found_before_the_first_epoch(tmp_path: Path) -> None:
    class Bad(Top):
        def reset(self) -> None:
            super().reset()
            self.handle = object()

    with pytest.raises(FitError, match=r"cannot save metrics\['top'\]\['handle'\]: it is builtins.object.*; or train with --no-save"):
        trainer(metrics=[Bad()], run_dir=tmp_path, plugins=[SaveLast()]).fit(epochs=1)


class Told(Counting):
    """Takes a loaded position up in the next pass only."""

    def __iter__(self) -> Iterator[Any]:
        start, self.loaded = getattr(self, "loaded", 0), 0
        for self.at in range(start + 1, 29):
            yield ARRAYS[0][(self.at - 1) % 27], ARRAYS[1][(self.at - 1) % 27]

    def __len__(self) -> int:
        return 28

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.loaded = state["at"]


def test_data_that_tells_its_position_at_the_end_of_a_pass(tmp_path: Path) -> None:
    check_everywhere(tmp_path, lambda **changes: trainer(train_data=DataLoader(Told(), batch_size=4), **changes), epochs=2)


def test_the_best_is_restored_again_when_a_finished_run_is_resumed(tmp_path: Path) -> None:
    def make() -> Trainer:
        return trainer(run_dir=tmp_path, plugins=["checkpoint:restore_best=true,monitor=val_loss,mode=max"])

    pytest.importorskip("fit_checkpoint")
    first = make()
    first.fit(epochs=4, resume="auto")
    again = make()
    again.fit(epochs=4, resume="auto")
    assert again.evaluate() == first.evaluate()


@pytest.mark.parity("T28", "T29")
def test_a_state_from_before_any_fit(tmp_path: Path) -> None:
    first = trainer()
    blank = first.state_dict()
    first.save(tmp_path / "blank")
    rows = comparable(first.fit(epochs=2))
    first.load_state_dict(blank)
    assert comparable(first.fit(epochs=2)) == rows
    first.load(tmp_path / "blank")
    assert comparable(first.fit(epochs=2)) == rows
    assert (first.current_state().step, first.updates["main"].steps) == (14, 14)


def test_load_forgets_how_the_run_before_ended(tmp_path: Path) -> None:
    @hookimpl(specname="on_batch_end")
    def fail(state: State) -> None:
        if state.batch_count == 9:
            raise ValueError("halt")

    first = trainer(plugins=[("fail", fail), SaveAt(tmp_path / "saved", 3)])
    with pytest.raises(ValueError, match="halt"):
        first.fit(epochs=2)
    first.load(tmp_path / "saved")
    first.save(tmp_path / "again")
    state = first.current_state()
    assert (state.interrupted, state.stop_reason, state.step) == (False, None, 3)


def test_random_numbers_of_an_epoch_are_those_of_its_beginning(tmp_path: Path) -> None:
    class PerEpoch:
        name = "per-epoch"
        factor = 1.0

        @hookimpl
        def on_epoch_start(self, trainer: Trainer) -> None:
            self.factor = float(torch.rand((), generator=trainer.generator(self)))

        @hookimpl
        def on_loss_end(self, state: State) -> None:
            state.loss = state.loss * self.factor

    check_everywhere(tmp_path, lambda plugins: trainer(plugins=[*plugins, PerEpoch()]), step=3, epochs=2)


def test_a_validation_that_is_left_is_ended(tmp_path: Path) -> None:
    class Swap:
        """Swaps other weights in for validation, and out again."""

        @hookimpl
        def on_eval_start(self, trainer: Trainer) -> None:
            self.kept = {name: value.clone() for name, value in trainer.model.state_dict().items()}
            trainer.model[0].weight.data.zero_()

        @hookimpl
        def on_eval_end(self, trainer: Trainer) -> None:
            trainer.model.load_state_dict(self.kept)

        @hookimpl
        def on_eval_batch_end(self, trainer: Trainer, state: State) -> None:
            if (state.epoch, state.batch, state.resumed) == (2, 1, False):
                trainer.interrupt("in validation")

    first = trainer(plugins=[Swap()])
    first.fit(epochs=3)
    first.save(tmp_path / "saved")
    resumed = trainer(plugins=[Swap()])
    resumed.fit(epochs=3, resume=tmp_path / "saved")

    class Quiet(Swap):
        @hookimpl
        def on_eval_batch_end(self) -> None:
            pass

    whole = trainer(plugins=[("swap", Quiet())])
    whole.fit(epochs=3)
    assert left_by(resumed) == left_by(whole)


def test_tensors_of_a_wrapper_are_not_lost_silently(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model, self.scale = model, nn.Parameter(torch.ones(()))

        def forward(self, inputs: torch.Tensor) -> Any:
            return self.model(inputs) * self.scale

    @hookimpl(specname="prepare_model")
    def wrap(trainer: Trainer) -> nn.Module:
        return Scaled(trainer.model)

    with pytest.raises(FitError, match=r"a module with tensors of its own \(scale\), which would not be saved: put them into the model"):
        trainer(plugins=[("wrap", wrap), SaveLast()], run_dir=tmp_path).fit(epochs=1)
    trainer(plugins=[("wrap", wrap)]).fit(epochs=1)


def test_what_is_refused_changes_nothing(tmp_path: Path) -> None:
    first = trainer()
    first.fit(epochs=1)
    first.save(tmp_path / "saved")
    model = net()
    groups = [{"params": model[0].parameters()}, {"params": model[3].parameters()}]
    other = trainer(model=model, optimizer=torch.optim.Adam(groups, lr=0.01))
    before = {name: value.tolist() for name, value in model.state_dict().items()}
    with pytest.raises(FitError, match="the saved state of update 'main' does not fit Adam"):
        other.fit(epochs=2, resume=tmp_path / "saved")
    assert {name: value.tolist() for name, value in model.state_dict().items()} == before


def test_a_limit_below_where_the_run_is(tmp_path: Path) -> None:
    trainer(plugins=[SaveAt(tmp_path / "saved", 3)]).fit(epochs=2)
    again = trainer(plugins=[SaveAt(tmp_path / "no", 0)])
    assert len(again.fit(epochs=2, limit_batches=1, resume=tmp_path / "saved", allow_changes=True)) == 2


class Ahead:
    """Reads two batches ahead."""

    @hookimpl(wrapper=True)
    def iter_batches(self) -> Any:
        def ahead(batches: Iterator[Any]) -> Iterator[Any]:
            waiting: list[Any] = []
            for batch in batches:
                waiting.append(batch)
                if len(waiting) > 2:
                    yield waiting.pop(0)
            yield from waiting

        return ahead((yield))


def test_who_reads_ahead_loses_no_batch(tmp_path: Path) -> None:
    def make(plugins: list[Any]) -> Trainer:
        return trainer(plugins=[*plugins, Ahead()])

    check_everywhere(tmp_path, make, epochs=4, steps_per_epoch=5)
    keeps_its_place = trainer(train_data=DataLoader(Counting(), batch_size=4), plugins=[Ahead(), SaveAt(tmp_path / "saved", 3)])
    with pytest.warns(UserWarning, match="a plugin that acts in iter_batches may have read ahead of where the data says it is"):
        keeps_its_place.fit(epochs=1)


def test_interrupted_at_the_step_of_a_short_window(tmp_path: Path) -> None:
    def make() -> Trainer:
        return tiny_trainer(seed=1, accumulate=4, train_data=tiny_batches(6))

    check_resume(make, val_every="1 step", at=[1, 2, 3])


def test_a_trainer_that_is_closed_can_be_saved(tmp_path: Path) -> None:
    with trainer() as first:
        first.fit(epochs=1)
    first.save(tmp_path / "saved")
    second = trainer()
    second.load(tmp_path / "saved")
    assert left_by(second)["weights"] == left_by(first)["weights"]


def test_whatever_passes_a_damaged_one_over_says_so(tmp_path: Path) -> None:
    first = trainer(run_dir=tmp_path)
    first.fit(epochs=1)
    first.checkpoints.save()
    first.fit(epochs=1)
    newest = tmp_path / "checkpoints" / first.checkpoints.save()
    (newest / "model.safetensors").write_bytes(b"")
    for take in (trainer().load, trainer().load_weights):
        with pytest.warns(UserWarning, match=f"skipped: .*{newest.name} is damaged: model.safetensors"):
            take(tmp_path)

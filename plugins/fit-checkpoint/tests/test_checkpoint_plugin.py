"""When checkpoints are saved, and which ones are there afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fit_checkpoint import ModelCheckpoint
from fit_core import FitError, State, Trainer, hookimpl
from fit_core.checkpoint import find_checkpoint
from fit_core.saving import SaveLast
from fit_core.testing import Outcome, check_plugin, tiny_batches, tiny_trainer

NAN = math.nan


class Scores:
    """Puts given values into the row, one for each epoch."""

    def __init__(self, *values: float | None) -> None:
        self.values = values

    @hookimpl
    def on_train_epoch_end(self, trainer: Trainer, state: State) -> None:
        value = self.values[state.epoch - 1]
        if value is not None:
            trainer.record("score", value)


def trainer_in(folder: Path, *plugins: Any, **changes: Any) -> Trainer:
    return tiny_trainer(plugins=list(plugins), run_dir=folder, **changes)


def folders(run: Path) -> list[str]:
    """Return the names of all checkpoints, and make sure that nothing hidden is left."""
    found = [path for path in (run / "checkpoints").iterdir() if path.is_dir()]
    assert not [path for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]
    return sorted(path.name for path in found)


def pointed(run: Path, pointer: str = "best") -> str:
    return find_checkpoint(run / "checkpoints" / pointer).folder.name


def by_epoch(**options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(name="e{epoch}", **{"monitor": "score", "mode": "min"} | options)


def test_it_conforms() -> None:
    check_plugin(ModelCheckpoint(monitor="accuracy", last="all", restore_best=True), metrics=["accuracy"])
    check_plugin("checkpoint:every=1 epoch,last=2,weights_only=true,name=e{epoch}-{loss:.2f}")


# ---------------------------------------------------------------------------------------------------- when


@pytest.mark.parametrize(
    ("every", "names"),
    [
        ("3 steps", ["step-00000003", "step-00000006", "step-00000008"]),
        ("4 steps", ["step-00000004", "step-00000008-2"]),
        ("5 batches", ["step-00000005", "step-00000008"]),
        ("1 epoch", ["step-00000004", "step-00000008"]),
        ("2 epochs", ["step-00000008"]),
        ("3 epochs", ["step-00000008"]),
        ("1 hour", ["step-00000008"]),
        (None, ["step-00000008"]),
    ],
)
@pytest.mark.parity("C8", "C11")
def test_every_so_often_and_at_the_end(tmp_path: Path, every: str | None, names: list[str]) -> None:
    trainer_in(tmp_path, ModelCheckpoint(every=every, last="all", best=0), train_data=tiny_batches(4)).fit(epochs=2)
    assert folders(tmp_path) == names


def test_by_the_clock(tmp_path: Path) -> None:
    trainer_in(tmp_path, ModelCheckpoint(every="0.000001 minutes", last="all", best=0)).fit(epochs=1)
    assert folders(tmp_path) == ["step-00000001", "step-00000002-2"]


def test_a_length_in_steps_ends_with_a_checkpoint(tmp_path: Path) -> None:
    trainer_in(tmp_path, ModelCheckpoint(best=0), train_data=tiny_batches(4)).fit(steps=6)
    assert folders(tmp_path) == ["step-00000006"]


def test_under_accumulation_a_step_is_saved_once(tmp_path: Path) -> None:
    trainer_in(tmp_path, ModelCheckpoint(every="1 step", last="all", best=0), train_data=tiny_batches(7), accumulate=3).fit(epochs=1)
    assert folders(tmp_path) == ["step-00000001", "step-00000002", "step-00000003-2"]


@pytest.mark.parametrize("hook", ["on_batch_end", "on_safe_point", "on_train_epoch_start", "on_epoch_start", "on_epoch_end"])
@pytest.mark.parametrize("last", [False, True])
def test_a_stop_is_an_end(tmp_path: Path, hook: str, last: bool) -> None:
    @hookimpl(specname=hook, trylast=last)
    def stop(trainer: Trainer, state: State) -> None:
        if state.batch_count >= 3:
            trainer.stop("enough")

    trainer = trainer_in(tmp_path, ModelCheckpoint(best=0), stop, train_data=tiny_batches(2))
    trainer.fit(epochs=9)
    assert folders(tmp_path) == [f"step-{trainer.current_state().step:08}"]
    assert find_checkpoint(tmp_path).tensors("model")["weight"].equal(trainer.model.weight)


def test_several_calls_of_fit_count_on(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, ModelCheckpoint(every="3 steps", last=2, best=0))
    for _ in range(3):
        trainer.fit(epochs=1)
    assert folders(tmp_path) == ["step-00000004", "step-00000006-2"]
    trainer.fit(epochs=2)
    assert folders(tmp_path) == ["step-00000009", "step-00000010"]


# ---------------------------------------------------------------------------------------------------- what


@pytest.mark.parametrize(
    ("values", "options", "names", "best"),
    [
        ([3, 1, 2], {"last": 0}, ["e2"], "e2"),
        ([3, 1, 2], {"last": 0, "mode": "max"}, ["e1"], "e1"),
        ([3, 1, 2], {"last": 1}, ["e2", "e3"], "e2"),
        ([3, 1, 2], {"last": 0, "best": 2}, ["e2", "e3"], "e2"),
        ([2, 2, 2], {"last": 0}, ["e1"], "e1"),
        ([2, 2, 2], {"last": 0, "best": 2, "mode": "max"}, ["e1", "e2"], "e1"),
        ([NAN, 5, NAN, 4, NAN], {"last": 0}, ["e4"], "e4"),
        ([math.inf, math.inf, 4], {"last": 0, "best": 2}, ["e1", "e3"], "e3"),
        ([1, 2, 3, 4], {"last": 2, "every": "1 epoch"}, ["e1", "e3", "e4"], "e1"),
        ([1, 2, 3, 4], {"last": "all", "every": "2 epochs"}, ["e1", "e2", "e4"], "e1"),
        ([4, 3, 2, 1], {"last": 2, "every": "1 epoch", "best": 3}, ["e2", "e3", "e4"], "e4"),
    ],
)
@pytest.mark.parity("C8", "C9", "C10")
def test_what_is_kept(tmp_path: Path, values: list[float], options: dict[str, Any], names: list[str], best: str) -> None:
    trainer_in(tmp_path, Scores(*values), by_epoch(**options)).fit(epochs=len(values))
    assert folders(tmp_path) == names
    assert pointed(tmp_path) == best


def test_nothing_is_best_if_all_is_nan(tmp_path: Path) -> None:
    trainer_in(tmp_path, Scores(NAN, NAN), by_epoch()).fit(epochs=2)
    assert folders(tmp_path) == ["e2"]
    assert not (tmp_path / "checkpoints" / "best").exists()


@pytest.mark.parity("C10")
def test_the_direction_is_that_of_the_metric(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, "checkpoint:monitor=val_accuracy,best=2,last=0,name=e{epoch}", metrics=["accuracy"])
    rows = trainer.fit(epochs=5)
    assert pointed(tmp_path) == f"e{max(rows, key=lambda row: row['val_accuracy'])['epoch']}"
    with pytest.raises(FitError, match="checkpoint cannot know whether more of 'score' is better: pass mode='min' or mode='max'"):
        trainer_in(tmp_path, Scores(1), by_epoch(mode="auto")).fit(epochs=1)


def test_epochs_without_validation_are_no_offence(tmp_path: Path) -> None:
    plugin = ModelCheckpoint(last=0, name="e{epoch}-{val_loss:.1f}")
    trainer_in(tmp_path, plugin).fit(epochs=5, val_every="2 epochs")
    assert pointed(tmp_path).startswith("e4-")


def test_a_value_that_is_there_only_now_and_then(tmp_path: Path) -> None:
    trainer_in(tmp_path, Scores(3, None, 1, None), by_epoch(last=0)).fit(epochs=4)
    assert folders(tmp_path) == ["e3"]


MONITORS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "misspelt": ("val_los", {}, 1, r"checkpoint monitors 'val_los', but the row has: epoch, loss, .*; did you mean 'val_loss'\?"),
    "no validation": (
        "val_loss",
        {"val_data": None},
        0,
        "checkpoint monitors 'val_loss', but there is no validation data: pass some, or name",
    ),
    "of a test": ("test_loss", {}, 0, r"checkpoint monitors 'test_loss', but validation gives: val_loss"),
    "of several sets": (
        "val_loss",
        {"val_data": {"far": tiny_batches(1)}, "metrics": ["accuracy"]},
        0,
        r"monitors 'val_loss', but validation gives: val_far_accuracy, val_far_loss; did you mean 'val_far_loss'\?",
    ),
    "of training": ("los", {}, 1, r"monitors 'los', but the row has: epoch, loss, lr, seconds, val_loss; did you mean 'loss'\?"),
}


@pytest.mark.parametrize("case", MONITORS)
@pytest.mark.parity("C10")
def test_a_monitor_that_can_never_be_there(tmp_path: Path, case: str) -> None:
    monitor, changes, epochs, message = MONITORS[case]
    trainer = trainer_in(tmp_path, ModelCheckpoint(monitor=monitor, mode="min"), **changes)
    with pytest.raises(FitError, match=message):
        trainer.fit(epochs=3)
    assert len(trainer.history) == epochs


def test_what_others_saved_stays(tmp_path: Path) -> None:
    @hookimpl
    def on_safe_point(trainer: Trainer, state: State) -> None:
        if state.position == "epoch":
            trainer.save(tmp_path / "checkpoints" / f"mine-{state.epoch}")

    trainer_in(tmp_path, on_safe_point, Scores(1, 2, 3), by_epoch(every="1 epoch")).fit(epochs=3)
    assert folders(tmp_path) == ["e1", "e3", "mine-1", "mine-2", "mine-3"]
    trainer_in(tmp_path, Scores(1, 2, 3), by_epoch(every="1 epoch")).fit(epochs=3)
    assert folders(tmp_path) == ["e1", "e1-2", "e3", "e3-2", "mine-1", "mine-2", "mine-3"], "another run in the same folder"


def test_two_of_them_share_what_they_save(tmp_path: Path) -> None:
    scores, high = Scores(1, 2, 3), ("high", by_epoch(mode="max", last=0))
    trainer_in(tmp_path, scores, by_epoch(last=0), high).fit(epochs=3)
    assert folders(tmp_path) == ["e1", "e3"]
    assert (pointed(tmp_path), pointed(tmp_path, "best-high")) == ("e1", "e3")


# ---------------------------------------------------------------------------------------------------- beside save-last


def test_beside_save_last_each_place_is_saved_once(tmp_path: Path) -> None:
    options = {"every": "1 epoch", "last": 2}
    trainer_in(tmp_path, SaveLast(), Scores(1, 2, 3, 4), by_epoch(**options)).fit(epochs=4)
    assert folders(tmp_path) == ["e1", "e3", "e4"]
    assert (pointed(tmp_path), pointed(tmp_path, "last")) == ("e1", "e4")


def test_neither_removes_what_the_other_keeps(tmp_path: Path) -> None:
    trainer_in(tmp_path, Scores(1, 2, 3, 4), SaveLast(), by_epoch(every="3 epochs", last=1)).fit(epochs=4)
    assert folders(tmp_path) == ["e1", "e4"]
    trainer_in(tmp_path / "2", Scores(1, 2, 3, 4), SaveLast(), by_epoch(last=0)).fit(epochs=4)
    assert folders(tmp_path / "2") == ["e1", "step-00000008"]


# ---------------------------------------------------------------------------------------------------- restore


class Scale(nn.Module):
    """A loss with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, outputs: Any, targets: Any) -> Any:
        return nn.functional.cross_entropy(outputs * self.scale, targets)


@pytest.mark.parametrize("weights_only", [False, True])
@pytest.mark.parity("C10")
def test_the_best_weights_are_restored(tmp_path: Path, weights_only: bool) -> None:
    kept = {}

    @hookimpl
    def on_epoch_end(trainer: Trainer, state: State) -> None:
        kept[state.epoch] = [p.detach().clone() for module in trainer.modules() for p in module.parameters()]

    plugin = by_epoch(restore_best=True, weights_only=weights_only)
    trainer = trainer_in(tmp_path, Scores(3, 1, 2), plugin, on_epoch_end, loss_fn=Scale())
    trainer.fit(epochs=3)
    now = [p for module in trainer.modules() for p in module.parameters()]
    assert all(map(torch.equal, now, kept[2]))
    assert not any(map(torch.equal, now, kept[3]))
    assert len(now) == 3


@pytest.mark.parametrize("how", ["raise", "interrupt", "stop"])
def test_restoring_needs_a_run_that_ended(tmp_path: Path, how: str) -> None:
    @hookimpl
    def on_epoch_end(trainer: Trainer, state: State) -> None:
        if state.epoch == 3 and how == "raise":
            raise KeyboardInterrupt
        if state.epoch == 3:
            (trainer.stop if how == "stop" else trainer.interrupt)("now")

    trainer = trainer_in(tmp_path, Scores(3, 1, 2, 4), by_epoch(restore_best=True), on_epoch_end)
    if how == "raise":
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(epochs=4)
    else:
        trainer.fit(epochs=4)
    best = find_checkpoint(tmp_path / "checkpoints" / "best").tensors("model")["weight"]
    assert best.equal(trainer.model.weight) == (how == "stop")


def test_there_may_be_nothing_to_restore(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, Scores(NAN), by_epoch(restore_best=True))
    with pytest.warns(UserWarning, match="checkpoint has no best checkpoint to restore, so the model keeps its last weights"):
        trainer.fit(epochs=1)


# ---------------------------------------------------------------------------------------------------- weights only


@pytest.mark.parity("C8")
def test_weights_alone_are_for_export(tmp_path: Path) -> None:
    class Averaged:
        def __init__(self) -> None:
            self.model = nn.Linear(4, 3)

        @hookimpl
        def export_model(self) -> nn.Module:
            return self.model

    averaged = Averaged()
    trainer_in(tmp_path, averaged, ModelCheckpoint(every="1 step", last=2, weights_only=True)).fit(epochs=2)
    assert folders(tmp_path) == ["weights-00000003", "weights-00000004-2"]
    found = find_checkpoint(tmp_path / "checkpoints" / "best")
    assert not found.full
    assert found.tensors("model")["weight"].equal(averaged.model.weight)
    with pytest.raises(FitError, match="holds weights alone, from which no run can go on"):
        trainer_in(tmp_path, ModelCheckpoint()).fit(epochs=3, resume=found.folder)
    tiny_trainer().load_weights(found.folder)


def test_weights_and_whole_ones_beside_each_other(tmp_path: Path) -> None:
    export = ("export", ModelCheckpoint(weights_only=True, last=0))
    trainer_in(tmp_path, SaveLast(), ModelCheckpoint(last=0), export).fit(epochs=3)
    assert folders(tmp_path) == ["step-00000006", "weights-00000006"]
    assert (pointed(tmp_path), pointed(tmp_path, "best-export")) == ("step-00000006", "weights-00000006")


# ---------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("every=100 stepps", r"option 'every' of plugin 'checkpoint': cannot read the interval '100 stepps': .*; did you mean 'steps'\?"),
        ("last=some", "option 'last' of plugin 'checkpoint' must be int or all, not 'some'"),
        ("last=-1", "last must be a number of checkpoints or 'all', not -1"),
        ("best=-1", "best must be a number of checkpoints, not -1"),
        ("last=0,best=0", "nothing would be kept: set last or best above 0"),
        ("last=0,every=1 epoch", "every='1 epoch' does nothing with last=0: only the best are saved then"),
        ("best=0,restore_best=yes", "restore_best needs a best checkpoint: set best above 0"),
        ("mode=least", "option 'mode' of plugin 'checkpoint' must be auto or min or max, not 'least'"),
        ("keep=3", r"plugin 'checkpoint' has no option 'keep' \(options: best, every, last, mode, monitor, name, on_error, restore_best"),
    ],
)
def test_options_that_cannot_be(options: str, message: str) -> None:
    with pytest.raises(FitError, match=message):
        tiny_trainer(plugins=[f"checkpoint:{options}"])


def test_options_of_python_are_checked_too() -> None:
    with pytest.raises(FitError, match="mode must be one of auto, min, max, not 'least'"):
        ModelCheckpoint(mode="least")  # type: ignore[arg-type]
    with pytest.raises(FitError, match="last must be a number of checkpoints or 'all', not True"):
        ModelCheckpoint(last=True)


SCRIPT = """
from functools import partial
import torch
from torch import nn
from fit_core import Trainer
from fit_core.testing import tiny_batches

def build_trainer():
    torch.manual_seed(0)
    return Trainer(nn.Linear(4, 3), nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1), metrics=["accuracy"],
        train_data=tiny_batches(4), val_data=tiny_batches(1, seed=1), epochs=3)
"""


def test_on_the_command_line(run_script: Callable[..., Outcome], tmp_path: Path) -> None:
    spec = "checkpoint:every=5 steps,last=2,best=2,monitor=val_accuracy,restore_best=yes"
    done = run_script(SCRIPT, "-p", spec, "--run-dir", "run")
    assert (done.code, done.stderr) == (0, "")
    kept = folders(tmp_path / "run")
    assert {"step-00000012", pointed(tmp_path / "run")} <= set(kept)
    assert pointed(tmp_path / "run", "last") == "step-00000012"


def test_without_validation_data_nothing_is_best_unless_it_was_asked_for(tmp_path: Path) -> None:
    tiny_trainer(plugins=["checkpoint"], val_data=None, run_dir=tmp_path / "plain").fit(epochs=2)
    assert not (tmp_path / "plain" / "checkpoints" / "best").exists()
    assert len(list((tmp_path / "plain" / "checkpoints").glob("step-*"))) == 1
    for option in ("restore_best=yes", "best=2", "last=0", "monitor=val_loss"):
        with pytest.raises(FitError, match="checkpoint monitors 'val_loss', but there is no validation data"):
            tiny_trainer(plugins=[f"checkpoint:{option}"], val_data=None, run_dir=tmp_path / option).fit(epochs=1)

"""A disk that is full, and folders that are gone or are no folders: what was saved before stays whole, and nothing half is left."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fit_checkpoint import ModelCheckpoint
from fit_core import FitError, State, Trainer, hookimpl
from fit_core.checkpoint import find_checkpoint
from fit_core.errors import TrainingError
from fit_core.saving import SaveLast
from fit_core.testing import tiny_trainer


class At:
    """Does something when epochs begin; it comes before anything is saved there."""

    def __init__(self, **epochs: Callable[[], Any]) -> None:
        self.epochs = epochs

    @hookimpl
    def on_epoch_start(self, state: State) -> None:
        self.epochs.get(f"e{state.epoch}", lambda: None)()


class Full:
    """Lets no file grow beyond some bytes while checkpoints of an epoch are saved, as a full disk does."""

    runs_before = ("checkpoint",)

    def __init__(self, *epochs: int, size: int) -> None:
        self.epochs, self.size = epochs, size
        self.limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    @hookimpl
    def on_safe_point(self, state: State) -> None:
        if state.epoch in self.epochs and state.position == "epoch":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.limits[1]))

    @hookimpl
    def on_epoch_start(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)

    @hookimpl
    def on_fit_end(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)


def trainer_in(folder: Path, *plugins: Any) -> Trainer:
    return tiny_trainer(plugins=list(plugins), run_dir=folder, seed=0)


def every_epoch(**options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(every="1 epoch", name="e{epoch}", **{"best": 0} | options)


def whole(run: Path) -> list[str]:
    """Return the names of all checkpoints; each must be as it was written, and nothing hidden may be left."""
    found = [path for path in (run / "checkpoints").iterdir() if path.is_dir()]
    assert not [path for path in (run / "checkpoints").iterdir() if path.name.startswith(".")]
    return sorted(find_checkpoint(path).folder.name for path in found)


SIZES = {"nothing can be written": 0, "no weights": 100, "no state": 400, "no manifest": 1500, "half of the state": 3000}


@pytest.mark.parametrize("size", SIZES)
def test_a_full_disk_stops_the_run(tmp_path: Path, size: str) -> None:
    trainer = trainer_in(tmp_path, Full(2, size=SIZES[size]), every_epoch())
    with pytest.raises(TrainingError, match=r"cannot write the checkpoint .*e2: .*; nothing older was removed"):
        trainer.fit(epochs=4)
    assert len(trainer.history) == 2
    assert whole(tmp_path) == ["e1"]
    assert trainer.plugins["checkpoint"].state_dict()["saved"] == [["e1", 2, None]]


@pytest.mark.parametrize("weights_only", [False, True])
def test_or_it_goes_on_with_a_warning(tmp_path: Path, weights_only: bool) -> None:
    plugin = every_epoch(on_error="warn", last=2, best=1, weights_only=weights_only)
    with pytest.warns(UserWarning, match=r"cannot write the checkpoint .*e[23]: .*; nothing older was removed; the run goes on") as warned:
        trainer_in(tmp_path, Full(2, 3, size=100), plugin).fit(epochs=4)
    assert len(warned) == 2
    assert whole(tmp_path) == ["e1", "e4"]
    assert find_checkpoint(tmp_path / "checkpoints" / "best").folder.name == "e4"
    if not weights_only:
        trainer_in(tmp_path, Full(size=0), every_epoch(on_error="warn", last=2, best=1)).fit(epochs=6, resume="auto")
        assert whole(tmp_path) == ["e5", "e6"]


def test_save_last_goes_on_beside_it(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the run goes on"):
        trainer_in(tmp_path, Full(2, size=100), every_epoch(on_error="warn"), SaveLast()).fit(epochs=3)
    assert whole(tmp_path) == ["e3"]


def test_what_the_run_was_resumed_from_stays_until_a_newer_one_is_safe(tmp_path: Path) -> None:
    trainer_in(tmp_path, Full(size=0), every_epoch()).fit(epochs=2)
    with pytest.raises(TrainingError, match="cannot write the checkpoint"):
        trainer_in(tmp_path, Full(3, size=100), every_epoch()).fit(epochs=4, resume="auto")
    assert whole(tmp_path) == ["e2"]
    trainer_in(tmp_path, Full(size=0), every_epoch()).fit(epochs=4, resume="auto")
    assert whole(tmp_path) == ["e4"]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    checkpoints.write_text("")
    with pytest.raises(TrainingError, match="cannot write the checkpoint .*e1: File exists; nothing older was removed"):
        trainer_in(tmp_path, every_epoch()).fit(epochs=3)
    with pytest.warns(UserWarning, match="e1: File exists; nothing older was removed; the run goes on"):
        trainer_in(tmp_path, At(e2=checkpoints.unlink), every_epoch(on_error="warn")).fit(epochs=3)
    assert whole(tmp_path) == ["e3"]


def test_a_run_folder_that_cannot_be_made_is_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    trainer = trainer_in(tmp_path / "run", every_epoch(on_error="warn"))
    with pytest.raises(FitError, match="cannot make the run folder .*run: File exists; choose another"):
        trainer.fit(epochs=3)
    assert trainer.current_state().step == 0


def test_a_run_folder_that_vanishes(tmp_path: Path) -> None:
    """First there is a file in its place, then nothing: it is made anew, and what was in it is forgotten."""
    run, aside = tmp_path / "run", tmp_path / "aside"

    def replace() -> None:
        run.rename(aside)
        run.write_text("")

    plugin = every_epoch(on_error="warn", last=3, best=1, mode="max")
    with pytest.warns(UserWarning, match="cannot make the run folder .*: File exists; .*; the run goes on"):
        trainer_in(run, At(e2=replace, e3=run.unlink), plugin).fit(epochs=4)
    assert whole(run) == ["e3", "e4"]
    assert whole(aside) == ["e1"]
    assert find_checkpoint(run / "checkpoints" / "best").folder.name == "e3"


def test_checkpoints_that_somebody_removes(tmp_path: Path) -> None:
    plugin = every_epoch(last=2, best=1)
    trainer_in(tmp_path, At(e3=lambda: shutil.rmtree(tmp_path / "checkpoints")), plugin).fit(epochs=3)
    assert whole(tmp_path) == ["e3"]
    assert find_checkpoint(tmp_path / "checkpoints" / "best").folder.name == "e3"


def test_a_name_that_somebody_made_free(tmp_path: Path) -> None:
    """What was known of the one that is gone is not believed of the new one."""
    checkpoints, values = tmp_path / "checkpoints", iter((1.0, 3.0, 2.0))

    @hookimpl
    def on_train_epoch_end(trainer: Trainer) -> None:
        trainer.record("score", next(values))

    plugin = ModelCheckpoint(every="1 epoch", last=2, name="model", monitor="score", mode="min")
    trainer_in(tmp_path, on_train_epoch_end, At(e2=lambda: shutil.rmtree(checkpoints)), plugin).fit(epochs=3)
    assert whole(tmp_path) == ["model", "model-2"]
    assert find_checkpoint(checkpoints / "best").folder.name == "model-2"


@pytest.mark.parametrize("others", [[], [SaveLast]], ids=["alone", "beside save-last"])
def test_a_pointer_that_cannot_be_written(tmp_path: Path, others: list[Any]) -> None:
    """The new checkpoint is there, so that it is kept; nothing goes before the pointer is right."""
    pointer = tmp_path / "checkpoints" / "best"

    def block() -> None:
        pointer.unlink()
        (pointer / "full").mkdir(parents=True)

    plugin = every_epoch(on_error="warn", last=1, best=1)
    with pytest.warns(UserWarning, match="cannot write .*best: Is a directory; the run goes on"):
        trainer_in(tmp_path, At(e2=block), plugin, *(make() for make in others)).fit(epochs=3)
    shutil.rmtree(pointer)
    assert whole(tmp_path) == ["e1", "e2", "e3"]
    plugin = every_epoch(on_error="warn", last=1, best=1)
    trainer_in(tmp_path, At(), plugin, *(make() for make in others)).fit(epochs=4, resume="auto")
    assert whole(tmp_path) == ["e4"]


class Unsavable:
    """Has a state that cannot be saved from some epoch on."""

    def __init__(self, epoch: int, fail: Callable[[], Any]) -> None:
        self.epoch, self.fail, self.now = epoch, fail, 0

    @hookimpl
    def on_epoch_start(self, state: State) -> None:
        self.now = state.epoch

    def state_dict(self) -> Any:
        return self.fail() if self.now >= self.epoch else {}

    def load_state_dict(self, state: Any) -> None:
        pass


def interrupt() -> None:
    raise KeyboardInterrupt


def not_finite() -> None:
    raise TrainingError("gradient is not finite")


@pytest.mark.parametrize(
    ("fail", "error", "message"),
    [
        (lambda: {"it": object()}, FitError, "cannot save plugin 'unsavable'"),
        (not_finite, TrainingError, "gradient is not finite"),
        (interrupt, KeyboardInterrupt, None),
    ],
)
def test_what_is_not_of_the_disk_is_raised(
    tmp_path: Path, fail: Callable[[], Any], error: type[BaseException], message: str | None
) -> None:
    trainer = trainer_in(tmp_path, Unsavable(2, fail), every_epoch(on_error="warn", last=3))
    with pytest.raises(error, match=message):
        trainer.fit(epochs=3)
    assert whole(tmp_path) == ["e1"]
    assert trainer.plugins["checkpoint"].state_dict()["saved"] == [["e1", 2, None]], "one that was not written is not known"

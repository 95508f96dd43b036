"""Rows sent to plugins, and what a manifest says of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from fit_core import FitError, LogEntry, State, Trainer, hookimpl
from fit_core.metric_list import higher_is_better, row_directions
from fit_core.metrics import Accuracy
from fit_core.replay import Moment, NoModel, Recorded, replay
from fit_core.testing import record_hooks, tiny_trainer

ROWS = [{"epoch": n, "loss": 1 / n, "interval_x": 3.0, "val_loss": math.nan} for n in (1, 2, 3)]
MOMENTS = [Moment(row, 4 * n, 100.0 + n) for n, row in enumerate(ROWS, 1)]


class Listener:
    def __init__(self, stop_at: int = 0) -> None:
        self.entries: list[LogEntry] = []
        self.rows: list[Mapping[str, float]] = []
        self.stop_at = stop_at
        self.seen: list[Any] = []

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        self.seen += [state.epochs, state.steps_total, state.validation]

    @hookimpl
    def on_log(self, entries: Sequence[LogEntry]) -> None:
        self.entries += entries

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State, row: Mapping[str, float]) -> None:
        self.rows.append(dict(row))
        assert len(trainer.history) == len(self.rows) == state.epoch
        if state.epoch == self.stop_at:
            trainer.stop("enough")

    @hookimpl
    def on_fit_end(self, state: State) -> None:
        self.seen.append(state.where())


@pytest.mark.parity("T24")
def test_rows_go_through_the_hooks_of_epochs() -> None:
    listener = Listener()
    trainer = Trainer(NoModel(), plugins=[listener], quiet=True)
    with record_hooks(trainer) as calls, trainer:
        assert repr(replay(trainer, MOMENTS, ("val_",))) == repr(ROWS)
    epoch = ["on_epoch_start", "on_log", "on_epoch_end"]
    assert calls.hooks == ["on_setup", "on_fit_start", *epoch * 3, "on_fit_end", "on_teardown"]
    assert repr(listener.rows) == repr(ROWS)
    assert [(each.step, each.epoch, each.phase, each.time) for each in listener.entries] == [
        (4, 1, "train", 101.0),
        (8, 2, "train", 102.0),
        (12, 3, "train", 103.0),
    ]
    assert list(listener.entries[1].values) == ["epoch/loss", "epoch/interval_x", "epoch/val_loss"]
    assert listener.seen == [3, 12, ("val_",), "at the end of epoch 3"]


def test_the_entries_are_those_of_a_run() -> None:
    ran, replayed = Listener(), Listener()
    rows = tiny_trainer(plugins=[ran]).fit(epochs=2)
    of_rows = [entry for entry in ran.entries if "epoch/loss" in entry.values]
    with Trainer(NoModel(), plugins=[replayed], quiet=True) as trainer:
        replay(trainer, [Moment(row, entry.step, entry.time) for row, entry in zip(rows, of_rows, strict=True)])
    assert replayed.entries == of_rows


def test_a_stop_ends_it() -> None:
    listener = Listener(stop_at=2)
    with Trainer(NoModel(), plugins=[listener], quiet=True) as trainer:
        assert len(replay(trainer, MOMENTS)) == 2
    assert listener.seen[-1] == "at the end of epoch 2"
    assert trainer.current_state().stop_reason == "enough"


def test_it_needs_a_trainer_that_has_not_run_and_has_no_model() -> None:
    trainer = tiny_trainer()
    trainer.fit(epochs=1)
    with pytest.raises(FitError, match="a replay needs a trainer that has not run yet"):
        replay(trainer, MOMENTS)

    @hookimpl
    def on_epoch_end(trainer: Trainer, state: State) -> None:
        state.model(torch.zeros(1))

    with (
        Trainer(NoModel(), plugins=[on_epoch_end], quiet=True) as trainer,
        pytest.raises(FitError, match="a replay has rows, and no model"),
    ):
        replay(trainer, MOMENTS)


def test_no_rows() -> None:
    with Trainer(NoModel(), quiet=True) as trainer:
        assert replay(trainer, []) == []


def test_directions_of_a_row_have_prefixes_and_are_no_substrings() -> None:
    interval: Any = Accuracy()
    interval.name, interval.higher_is_better = "interval_x", None
    found = row_directions([Accuracy(), interval], ["loss", "d_loss"], ["val_", "val_small_"])
    assert found == {
        prefix + name: more
        for prefix in ("", "val_", "val_small_")
        for name, more in {"loss": False, "d_loss": False, "accuracy": True, "interval_x": None}.items()
    }


def test_values_have_directions_and_are_not_measured() -> None:
    recorded = Recorded("accuracy", True)
    with Trainer(NoModel(), metrics=[recorded], quiet=True) as trainer:
        replay(trainer, MOMENTS)
        assert higher_is_better("x", "val_accuracy", "auto", trainer.metrics)
    with pytest.raises(FitError, match="a replay has the values of 'accuracy', and nothing to measure"):
        recorded.update(None, None)


def test_a_manifest_says_what_is_known_of_values_and_lengths(run_script: Callable[..., Any], run_fit: Callable[..., Any]) -> None:
    done = run_script(
        """
        from fit_core.testing import tiny_batches, tiny_trainer

        def build_trainer(epochs: int = 2):
            return tiny_trainer(epochs=epochs, metrics=["accuracy"], val_data={"a": tiny_batches(1)})
        """
    )
    assert done.code == 0, done.stderr
    base = {"loss": False, "accuracy": True}
    assert done.manifest["directions"] == {prefix + name: more for prefix in ("", "val_a_", "test_") for name, more in base.items()}
    assert (done.manifest["steps"], done.manifest["total_epochs"]) == (4, 2)
    longer = run_fit("train", "script.py", "--resume", done.run_dir, "--epochs", "3")
    assert longer.code == 0, longer.stderr
    assert (longer.manifest["steps"], longer.manifest["total_epochs"]) == (6, 3)

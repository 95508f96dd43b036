"""Stopping when training no longer helps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import TINY_SCRIPT, Outcome, tiny_batches
from fit_schedulers import EarlyStopping
from fit_schedulers.patience import Patience

TinyTrainer = Callable[..., Trainer]


class Scores:
    """Puts given values into the row."""

    def __init__(self, *values: float | None, name: str = "score") -> None:
        self.values, self.monitored = values, name

    @hookimpl
    def on_train_epoch_end(self, trainer: Trainer, state: State) -> None:
        value = self.values[state.epoch - 1]
        if value is not None:
            trainer.record(self.monitored, value)


def epochs_trained(tiny_trainer: TinyTrainer, scores: Scores, **options: Any) -> int:
    options = {"monitor": scores.monitored, "patience": 2} | options
    return len(tiny_trainer(plugins=[scores, EarlyStopping(**options)]).fit(epochs=len(scores.values)))


NAN = math.nan


@pytest.mark.parity("C12")
@pytest.mark.parametrize(
    ("values", "options", "epochs"),
    [
        ([5, 4, 3, 2, 1], {"mode": "min"}, 5),
        ([1, 2, 3, 4, 5], {"mode": "min"}, 3),
        ([1, 2, 3, 4, 5], {"mode": "max"}, 5),
        ([-5, -4, -3, -2, -1], {"mode": "max"}, 5),
        ([3, 2, 2, 1, 1, 1], {"mode": "min"}, 6),
        ([3, 2.9, 2.8, 2.7], {"mode": "min", "min_delta": 0.5}, 3),
        ([-3, -3.9, -4.8], {"mode": "min", "min_delta": 0.5}, 3),
        ([NAN, NAN, 1, 1], {"mode": "min"}, 2),
        ([2, NAN, 1, NAN, NAN, 0], {"mode": "min"}, 5),
    ],
)
def test_when_it_stops(tiny_trainer: TinyTrainer, values: list[float], options: dict[str, Any], epochs: int) -> None:
    assert epochs_trained(tiny_trainer, Scores(*values), **options) == epochs


def test_the_reason_says_what_and_when(tiny_trainer: TinyTrainer) -> None:
    reasons = []

    @hookimpl
    def on_fit_end(state: State) -> None:
        reasons.append(state.stop_reason)

    scores = Scores(2, 1, 3, 4, name="my_loss")
    tiny_trainer(plugins=[scores, "early-stopping:monitor=my_loss,patience=2", on_fit_end]).fit(epochs=9)
    assert reasons == ["my_loss has not improved on 1.0000 (epoch 2) for 2 epochs"]


def test_the_direction_comes_from_the_metric(tiny_trainer: TinyTrainer) -> None:
    early = EarlyStopping("val_accuracy", patience=1)
    tiny_trainer(plugins=[early], metrics=["accuracy"], train_data=tiny_batches(1)).fit(epochs=1)
    assert early._patience.higher_is_better
    with pytest.raises(FitError, match="cannot know whether more of 'score' is better: pass mode='min' or mode='max'"):
        epochs_trained(tiny_trainer, Scores(1, 2))


@pytest.mark.parity("B33")
def test_a_missing_value_is_an_error_at_the_first_epoch(tiny_trainer: TinyTrainer) -> None:
    trainer = tiny_trainer(plugins=["early-stopping:monitor=val_los,mode=min"])
    with pytest.raises(
        FitError, match=r"monitors 'val_los', but the row has: epoch, loss, lr, seconds, val_loss; did you mean 'val_loss'\?"
    ):
        trainer.fit(epochs=2)
    assert len(trainer.history) == 1


def test_the_bundle_stops_nothing_without_validation_data(tiny_trainer: TinyTrainer) -> None:
    trainer = tiny_trainer(plugins=["schedulers:patience=1"], val_data=None)
    assert list(trainer.plugins) == ["lr", "early-stopping"]
    assert len(trainer.fit(epochs=4)) == 4


def test_the_bundle_on_the_command_line(run_script: Callable[..., Outcome]) -> None:
    done = run_script(TINY_SCRIPT, "--plugins", "schedulers", "-p", "early-stopping:patience=1,min_delta=10", "--epochs", "5")
    assert done.code == 0, done.stderr
    assert "stopped at the end of epoch 2: val_loss has not improved on" in done.stdout
    assert done.manifest["epochs"] == 2


def test_evaluation_counts_nothing(tiny_trainer: TinyTrainer) -> None:
    early = EarlyStopping(patience=2)
    trainer = tiny_trainer(plugins=[early])
    trainer.fit(epochs=2)
    before = early.state_dict()
    trainer.evaluate()
    assert early.state_dict() == before


@pytest.mark.parametrize(("options", "message"), [({"patience": 0}, "patience must be at least 1"), ({"min_delta": -1}, "not be negative")])
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        EarlyStopping(**options)


def test_patience_can_be_saved() -> None:
    first, second = Patience(3), Patience(3)
    for epoch, value in enumerate([3.0, 2.0, 4.0], 1):
        first.over(value, epoch)
    second.load_state_dict(first.state_dict())
    assert [second.over(5.0, 4), second.over(5.0, 5)] == [False, True]
    assert (second.best, second.best_epoch) == (2.0, 2)


def test_it_waits_in_epochs_without_validation(tiny_trainer: TinyTrainer) -> None:
    trainer = tiny_trainer(plugins=[EarlyStopping(patience=2, min_delta=100)])
    rows = trainer.fit(epochs=20, val_every="2 epochs")
    assert [row["epoch"] for row in rows if "val_loss" in row] == [2, 4, 6]
    with pytest.raises(FitError, match="'val_los', but the row has"):
        tiny_trainer(plugins=[EarlyStopping(monitor="val_los", mode="min")]).fit(epochs=2)

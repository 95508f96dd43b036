"""Rates that fall on a plateau, and runs that are stopped by a target or by time."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import check_resume, tiny_batches, tiny_trainer
from fit_schedulers.patience import Patience


class Says:
    """Puts given values into the rows, one for each epoch."""

    passive = True

    def __init__(self, values: list[float | None], name: str = "said") -> None:
        self.values, self.value_name = values, name

    @hookimpl
    def on_batch_end(self, trainer: Trainer, state: State) -> None:
        value = self.values[state.epoch - 1]
        if value is not None:
            trainer.record(self.value_name, value)


VALUES = [5.0, 4.0, 4.0, 4.1, math.nan, 3.0, 2.99999, 2.99998, 2.99997, 2.0]


@pytest.mark.parametrize(
    "options", ["patience=1", "patience=0,factor=0.5", "patience=1,cooldown=2,threshold=0.5,threshold_mode=abs,min_lr=0.005"]
)
def test_plateau_equals_that_of_torch(options: str) -> None:
    trainer = tiny_trainer(plugins=[f"plateau:monitor=said,mode=min,{options}", Says(list(VALUES))], train_data=tiny_batches(2))
    rows = trainer.fit(epochs=len(VALUES))
    words = dict(word.split("=") for word in options.split(","))
    mode = words.pop("threshold_mode", "rel")
    numbers: dict[str, Any] = {
        key: float(value) if key in ("factor", "threshold", "min_lr") else int(value) for key, value in words.items()
    }
    plain = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=rows[0]["lr"])
    scheduler = ReduceLROnPlateau(plain, "min", threshold_mode=mode, **numbers)  # type: ignore[arg-type]
    expected = []
    for value in VALUES:
        expected.append(plain.param_groups[0]["lr"])
        scheduler.step(value)
    assert [row["lr"] for row in rows] == expected
    assert expected[-1] < expected[0]


def test_plateau_reads_the_direction_and_waits_for_validation() -> None:
    trainer = tiny_trainer(plugins=["plateau:monitor=val_accuracy,patience=0,factor=0.5"], metrics=["accuracy"], train_data=tiny_batches(2))
    rows = trainer.fit(epochs=6, val_every="3 epochs")
    assert len({row["lr"] for row in rows[:5]}) == 1, "an epoch without validation is no miss"
    with pytest.raises(FitError, match="plateau monitors 'val_acuracy', but the row has: .*; did you mean 'val_accuracy'"):
        tiny_trainer(plugins=["plateau:monitor=val_acuracy,mode=max"], metrics=["accuracy"]).fit(epochs=1)
    with pytest.raises(FitError, match="plateau cannot know whether more of 'said' is better"):
        tiny_trainer(plugins=["plateau:monitor=said"]).fit(epochs=1)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("plateau:factor=1", "factor must be between 0 and 1, not 1"),
        ("plateau:patience=-1", "patience must not be negative"),
        ("stop-after:time=3 epochs", "stop-after needs a time, such as '2 h' or '30 minutes', not '3 epochs'"),
        ("early-stopping:relative_delta=-1", "relative_delta must not be negative"),
    ],
)
def test_wrong_options(what: str, message: str) -> None:
    with pytest.raises(FitError, match=message):
        tiny_trainer(plugins=[what])


def test_everything_resumes() -> None:
    def build() -> Trainer:
        plugins = ["plateau:monitor=loss,patience=0,factor=0.5,threshold=1", "stop-after:time=1 h", "stop-at:monitor=loss,target=-1"]
        return tiny_trainer(plugins=plugins, seed=1, train_data=tiny_batches(3))

    check_resume(build, epochs=4)


def test_a_target() -> None:
    trainer = tiny_trainer(plugins=["stop-at:monitor=said,target=3,mode=min", Says(list(VALUES))])
    assert len(trainer.fit(epochs=10)) == 6
    assert trainer.current_state().stop_reason == "said is 3.0000, and the target was 3.0000"
    rows = tiny_trainer(plugins=["stop-at:monitor=accuracy,target=0"], metrics=["accuracy"]).fit(epochs=3)
    assert len(rows) == 1, "of an accuracy more is better"


def test_time() -> None:
    class Slow:
        @hookimpl
        def on_batch_end(self) -> None:
            time.sleep(0.05)

    trainer = tiny_trainer(plugins=["stop-after:time=0.12 seconds", Slow()], train_data=tiny_batches(10))
    assert trainer.fit(epochs=5) == []
    assert trainer.current_state().stop_reason == "0.12 seconds are over"
    assert 2 <= trainer.current_state().batch_count <= 4
    trainer.fit(epochs=1)
    assert trainer.current_state().batch_count >= 4, "another call has time of its own"


@pytest.mark.parametrize(
    ("higher", "values", "misses"), [(True, [-2.0, -1.999, -1.9], 0), (False, [-2.0, -2.001, -2.1], 0), (True, [100.0, 100.5, 102.0], 0)]
)
def test_a_relative_difference_of_values_of_any_sign(higher: bool, values: list[float], misses: int) -> None:
    patience = Patience(9, relative_delta=0.01, higher_is_better=higher)
    assert not patience.over(values[0], 1)
    assert not patience.over(values[1], 2)
    assert (patience.best, patience.misses) == (values[0], 1), "less than a hundredth"
    assert not patience.over(values[2], 3)
    assert (patience.best, patience.misses) == (values[2], misses)

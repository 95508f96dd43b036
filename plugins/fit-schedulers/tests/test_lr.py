"""The learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import tiny_batches
from fit_schedulers import LR
from fit_schedulers.schedules import constant, cosine, in_a_row, warm_up

TinyTrainer = Callable[..., Trainer]


class Rates:
    """Notes the rate that each step is made with, and each that an epoch ends with."""

    runs_before = ("lr",)

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.rows: list[float] = []

    @hookimpl
    def on_step_start(self, state: State) -> None:
        assert state.update is not None
        self.steps.append(float(state.update.next_lr))

    @hookimpl
    def on_epoch_end(self, row: Any) -> None:
        self.rows.append(row["lr"])


def rates_of(tiny_trainer: TinyTrainer, plugin: Any, *fits: dict[str, Any], batches: int = 5, **changes: Any) -> Rates:
    rates = Rates()
    trainer = tiny_trainer(plugins=[plugin, rates], train_data=tiny_batches(batches), **changes)
    for arguments in fits or [{"epochs": 2}]:
        trainer.fit(**arguments)
        trainer.evaluate()
    return rates


def test_cosine_falls_to_zero_over_the_run(tiny_trainer: TinyTrainer) -> None:
    steps = rates_of(tiny_trainer, LR("cosine")).steps
    assert steps == pytest.approx([0.1 * 0.5 * (1 + math.cos(math.pi * i / 10)) for i in range(10)])


@pytest.mark.parametrize("warmup", [0.2, 2])
def test_warm_up_rises_first(tiny_trainer: TinyTrainer, warmup: float) -> None:
    steps = rates_of(tiny_trainer, LR("constant", warmup=warmup)).steps
    assert steps == pytest.approx([0.1 / 3, 0.2 / 3, *[0.1] * 8])
    steps = rates_of(tiny_trainer, f"lr:schedule=cosine,warmup={warmup}").steps
    assert steps[:3] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1])
    assert steps[-1] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 7 / 8)))


TORCH_SCHEDULES: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 3, "gamma": 0.5},
    "MultiStepLR": {"milestones": [2, 5], "gamma": 0.1},
    "ConstantLR": {"factor": 0.5, "total_iters": 4},
    "LinearLR": {"total_iters": 7},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {"total_iters": 8, "power": 2.0},
    "CosineAnnealingLR": {"T_max": 6},
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2},
    "OneCycleLR": {"max_lr": 0.2, "total_steps": 10},
}


def as_text(value: Any) -> str:
    return "[" + ",".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


@pytest.mark.parity("C20", "C21")
@pytest.mark.parametrize("name", TORCH_SCHEDULES)
def test_schedules_of_torch_by_name_equal_torchs_own(tiny_trainer: TinyTrainer, name: str) -> None:
    options = TORCH_SCHEDULES[name]
    spec = f"lr:schedule={name}," + ",".join(f"{key}={as_text(value)}" for key, value in options.items())
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1, momentum=0.9)
    scheduler = getattr(lr_scheduler, name)(optimizer, **options)
    expected = []
    for _ in range(9):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates_of(tiny_trainer, spec, {"epochs": 1}, batches=9).steps == pytest.approx(expected)
    assert rates_of(tiny_trainer, LR(name, **options), {"epochs": 1}, batches=9).steps == pytest.approx(expected)


@pytest.mark.parity("B4")
def test_a_cycle_counts_steps_whatever_the_loss_is(tiny_trainer: TinyTrainer) -> None:
    losses = iter([5.0, 0.1, 300.0, -2.0, 0.0, 7.0])

    @hookimpl
    def on_loss_end(state: State) -> None:
        if state.phase == "train":
            state.loss = state.loss * 0 + next(losses)

    rates = Rates()
    cycle = LR("CyclicLR", base_lr=0.1, max_lr=0.4, step_size_up=3)
    tiny_trainer(plugins=[cycle, on_loss_end, rates], train_data=tiny_batches(6)).fit(epochs=1)
    assert rates.steps == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.3, 0.2])


def test_every_scheduler_that_numbers_can_build_is_known_by_name() -> None:
    from fit_schedulers.walked import TORCH

    assert set(TORCH) == {*TORCH_SCHEDULES}


def test_per_epoch(tiny_trainer: TinyTrainer) -> None:
    rates = rates_of(tiny_trainer, LR("StepLR", every="epoch", step_size=2), {"epochs": 5}, batches=2)
    assert rates.rows == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])
    assert rates.steps == pytest.approx([0.1] * 4 + [0.01] * 4 + [0.001] * 2)


@pytest.mark.parity("B3")
def test_over_repeated_fits_a_schedule_of_its_own_length_goes_on(tiny_trainer: TinyTrainer) -> None:
    together = rates_of(tiny_trainer, LR("StepLR", step_size=3), {"epochs": 4}, batches=2)
    one_by_one = rates_of(tiny_trainer, LR("StepLR", step_size=3), *[{"epochs": 1}] * 4, batches=2)
    assert one_by_one.steps == together.steps


def test_over_repeated_fits_a_schedule_sized_from_the_run_starts_anew(tiny_trainer: TinyTrainer) -> None:
    steps = rates_of(tiny_trainer, LR("cosine", warmup=0.2), {"epochs": 2}, {"epochs": 2}).steps
    assert steps[10:] == pytest.approx(steps[:10])
    assert steps[10] < 0.1


def test_a_skipped_step_advances_nothing(tiny_trainer: TinyTrainer) -> None:
    batches = tiny_batches(6)
    batches[2][0][0, 0] = float("nan")
    rates = Rates()
    trainer = tiny_trainer(plugins=[LR("ExponentialLR", gamma=0.5), rates], train_data=batches, finite="skip")
    trainer.fit(epochs=1)
    assert rates.steps == pytest.approx([0.1 * 0.5**i for i in range(5)])


def test_the_row_has_the_rate_of_the_last_step(tiny_trainer: TinyTrainer) -> None:
    rates = rates_of(tiny_trainer, LR("cosine"))
    assert rates.rows == pytest.approx([rates.steps[4], rates.steps[9]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "cosin"}, r"no schedule 'cosin' \(known: .*\); did you mean 'cosine'\?"),
        ({"schedule": "LambdaLR"}, "no schedule 'LambdaLR'"),
        ({"schedule": "StepLR"}, "schedule 'StepLR' needs a value for 'step_size'"),
        ({"schedule": "StepLR", "stepsize": 3}, "schedule 'StepLR' has no option 'stepsize' .*; did you mean 'step_size'"),
        ({"schedul": "StepLR"}, "schedule 'cosine' has no option 'schedul'; did you mean 'schedule'"),
        ({"warmup": -1}, "warmup must not be negative"),
        ({"schedule": "OneCycleLR", "max_lr": 0.1, "warmup": 5}, "OneCycleLR rises by itself: leave out warmup"),
        ({"schedule": "linear 5 weeks"}, "cannot read the length '5 weeks'; write '100 steps', '2 epochs' or '10 %'"),
        ({"schedule": ["linear", "cosine"]}, "only the last phase can do without a length"),
        ({"schedule": ["linear 60 %", "cosine 50 %"]}, "the phases take 110 % of the run"),
        ({"schedule": []}, "there is no phase"),
        ({"schedule": "linear end=low"}, "option 'end' of 'linear' must be a number, not 'low'"),
        ({"schedule": "linear stop=1"}, r"schedule 'linear' has no option 'stop' \(options: start, end\)"),
        ({"schedule": "exponential end=0"}, "'exponential' needs start and end above 0"),
        ({"schedule": "time-decay", "end": 2.0}, "'time-decay' falls: its end must be above 0 and below its start, not 2 after 1"),
        ({"schedule": "one-cycle", "rise": 1.0}, "rise of 'one-cycle' must be between 0 and 1, not 1"),
        ({"schedule": "cosine end=-1"}, "end of 'cosine' must be a number from 0 up, not -1"),
        ({"schedule": ["constant 5 epochs", "StepLR"]}, "no schedule 'StepLR' .*; for several schedulers of torch pass a SequentialLR"),
        (
            {"schedule": "StepLR step_size=2"},
            "StepLR is a scheduler of torch: give its options beside it, as in lr:schedule=StepLR,step_size=2",
        ),
        ({"schedule": "constant 10 steps", "every": "epoch"}, "with every=epoch phases are counted in epochs"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        LR(**options)


def test_cosine_needs_to_know_the_length(tiny_trainer: TinyTrainer) -> None:
    trainer = tiny_trainer(plugins=["lr"], train_data=iter(tiny_batches(2)))
    with pytest.raises(
        FitError, match="the schedule of lr cannot be sized from the run, whose length in steps is unknown: pass fit.steps="
    ):
        trainer.fit(epochs=1)


def test_schedules_are_functions_of_the_step() -> None:
    assert [constant(5)(i) for i in (0, 9)] == [1, 1]
    assert [round(cosine(4)(i), 4) for i in range(6)] == [1.0, 0.8536, 0.5, 0.1464, 0.0, 0.0]
    assert [warm_up(3)(i) for i in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [warm_up(0)(i) for i in range(2)] == [1.0, 1.0]
    assert [in_a_row([(warm_up(1), 1)], cosine(2))(i) for i in range(4)] == pytest.approx([0.5, 1.0, 0.5, 0.0])

"""What a review has found, and a few things that it has tried in vain."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adagrad, lr_scheduler

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.explain import said_of_run
from fit_core.testing import check_resume, tiny_batches, tiny_trainer
from fit_schedulers import LR, EarlyStopping, Length, LRFinder, Phase, Plateau, ScheduledValue, StopAfter


class Seen:
    """Notes the rate of every step."""

    passive = True

    def __init__(self) -> None:
        self.rates: list[float] = []

    @hookimpl
    def on_step_start(self, state: State) -> None:
        assert state.update is not None
        self.rates.append(float(state.update.next_lr))


class Says:
    """Makes the loss of each epoch what it is told."""

    def __init__(self, losses: list[float]) -> None:
        self.losses = losses

    @hookimpl
    def on_loss_end(self, state: State) -> None:
        state.loss = state.loss * 0 + self.losses[state.epoch - 1]


class Penalty:
    """A term with a weight of its own."""

    def __init__(self) -> None:
        self.weight = 2.0
        self.weights: list[float] = []

    @hookimpl
    def on_loss_end(self, trainer: Trainer) -> None:
        if not trainer.is_rehearsal:
            self.weights.append(self.weight)


SGDM = partial(SGD, lr=0.1, momentum=0.9)


def rates_of(plugin: Any, batches: int = 10, optimizer: Any = SGDM, **length: Any) -> list[float]:
    seen = Seen()
    tiny_trainer(plugins=[plugin, seen], train_data=tiny_batches(batches), optimizer=optimizer, val_data=None).fit(
        **(length or {"epochs": 1})
    )
    return seen.rates


# -------------------------------------------------------------------------------------------- nothing left of a rehearsal


def test_a_search_leaves_a_ready_scheduler_where_it_was() -> None:
    def trained(*others: Any) -> tuple[list[float], int]:
        torch.manual_seed(0)
        model, seen = nn.Linear(4, 3), Seen()
        optimizer = SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        data = tiny_batches(10)
        tiny_trainer(model=model, optimizer=optimizer, plugins=[LR(scheduler), seen, *others], train_data=data).fit(epochs=1)
        return seen.rates, scheduler.last_epoch

    assert trained(LRFinder(steps=30)) == trained()


def test_a_search_leaves_an_attribute_what_it_was() -> None:
    def weights(*others: Any) -> list[float]:
        penalty = Penalty()
        plugins = [("penalty", penalty), ScheduledValue("penalty.weight", "linear", start=0, end=1), *others]
        tiny_trainer(plugins=plugins, train_data=tiny_batches(4), val_data=None).fit(epochs=1)
        return penalty.weights

    assert weights(LRFinder(steps=30)) == weights() == pytest.approx([0, 0.5, 1, 1.5])


class Rehearses:
    """Trains two batches for nothing, in the midst of a run or after other plugins have begun it."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    @hookimpl
    def on_fit_start(self, trainer: Trainer) -> None:
        if not self.batch:
            trainer.rehearse(Once(), without=[self])

    @hookimpl
    def on_safe_point(self, trainer: Trainer, state: State) -> None:
        if state.batch_count == self.batch:
            trainer.rehearse(Once(), without=[self])


class Once:
    @hookimpl
    def on_batch_end(self, trainer: Trainer) -> None:
        trainer.stop("enough")


@pytest.mark.parametrize("batch", [0, 3, 4])
@pytest.mark.parametrize("ready", [True, False])
def test_schedules_go_on_after_a_rehearsal_in_the_midst(batch: int, ready: bool) -> None:
    def trained(*others: Any) -> tuple[list[float], list[float]]:
        torch.manual_seed(0)
        model, seen, penalty = nn.Linear(4, 3), Seen(), Penalty()
        optimizer = SGD(model.parameters(), lr=0.1)
        schedule: Any = lr_scheduler.StepLR(optimizer, 3) if ready else "cosine"
        plugins = [
            LR(schedule),
            ("penalty", penalty),
            ScheduledValue("penalty.weight", "linear"),
            "plateau:monitor=loss,patience=0,threshold=9",
            "stop-after:time=1 h",
        ]
        data = tiny_batches(4)
        trainer = tiny_trainer(model=model, optimizer=optimizer, plugins=[*plugins, seen, *others], train_data=data, val_data=None)
        assert len(trainer.fit(epochs=3)) == 3
        return seen.rates, penalty.weights

    assert trained(Rehearses(batch)) == trained()


def test_a_search_makes_a_step_with_each_rate_of_an_optimizer_with_a_closure_too() -> None:
    """LBFGS evaluates the batch several times in a step, and reads its rate before the first."""
    seen: list[float] = []

    class Rate(LBFGS):
        def step(self, closure: Any) -> Any:
            seen.append(self.param_groups[0]["lr"])
            return super().step(closure)

    finder = LRFinder(steps=20, max_lr=0.1)
    data = tiny_batches(10)
    tiny_trainer(plugins=[finder], optimizer=partial(Rate, lr=1.0, max_iter=3), train_data=data, val_data=None).fit(steps=1)
    assert finder.result is not None
    assert seen[:-1] == list(finder.result.rates)
    assert seen[-1] == 1.0


# ------------------------------------------------------------------------------------------------------ longer runs


@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("case", [{"schedule": "OneCycleLR", "max_lr": 0.2}, {"schedule": "CosineAnnealingLR", "eta_min": 0.01}])
def test_schedulers_of_torch_that_are_sized_from_the_run_are_stretched_too(case: dict[str, Any], every: Any, tmp_path: Path) -> None:
    def trained(epochs: int, resume: Path | None = None) -> tuple[Trainer, list[float]]:
        seen = Seen()
        trainer = tiny_trainer(plugins=[LR(**case, every=every), seen], train_data=tiny_batches(5), optimizer=SGDM, seed=1)
        trainer.fit(epochs=epochs, resume=resume)
        return trainer, seen.rates

    trained(2)[0].save(tmp_path / "saved")
    assert trained(4, tmp_path / "saved")[1] == trained(4)[1][10:]


# -------------------------------------------------------------------------------------------------- plateau, patience


@pytest.mark.parametrize(("mode", "value"), [("min", -1.0), ("max", -1.0), ("min", 1.0), ("max", 1.0)])
def test_a_plateau_of_negative_values(mode: Any, value: float) -> None:
    plugins = [Plateau(monitor="loss", patience=1, mode=mode), Says([value] * 6)]
    rows = tiny_trainer(plugins=plugins, train_data=tiny_batches(1), val_data=None).fit(epochs=6)
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_the_options_of_a_plateau_are_those_of_the_resumed_run(tmp_path: Path) -> None:
    def trainer(factor: float) -> Trainer:
        plugins = [Plateau(monitor="loss", patience=0, factor=factor), Says([1.0] * 6)]
        return tiny_trainer(plugins=plugins, train_data=tiny_batches(1), val_data=None)

    first = trainer(0.1)
    first.fit(epochs=2)
    first.save(tmp_path / "saved")
    rows = trainer(0.5).fit(epochs=4, resume=tmp_path / "saved", allow_changes=True)
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.1, 0.01, 0.005])


def test_what_is_finite_improves_on_what_is_not() -> None:
    plugins = [EarlyStopping(monitor="loss", patience=2), Says([math.inf, 5, 4, 3, 2])]
    trainer = tiny_trainer(plugins=plugins, train_data=tiny_batches(1), val_data=None, finite="off")
    assert len(trainer.fit(epochs=5)) == 5


# ---------------------------------------------------------------------------------------------------------- lengths


def test_nothing_is_lost_between_phases() -> None:
    """33 % and 33 % of 10 steps are 7 steps, not twice 3, so that the last phase does not end before the run."""
    rates = rates_of(LR(["constant 33 %", "constant 33 %", "linear 34 %"]))
    assert rates == pytest.approx([0.1] * 7 + [0.1, 0.1 * 2 / 3, 0.1 / 3])


def test_a_length_that_is_not_known_names_the_argument_that_says_it() -> None:
    with pytest.raises(FitError, match=r"whose length in epochs is unknown: pass fit\(epochs=...\)"):
        rates_of(LR("cosine", every="epoch"), steps=5)
    with pytest.raises(FitError, match=r"a phase of 1 epochs needs a run whose length is known; pass fit\(epochs=...\)"):
        rates_of(LR(["constant 1 epochs", "linear"]), steps=5)


# --------------------------------------------------------------------------------------------------------- previews


def test_a_preview_between_two_runs_changes_nothing() -> None:
    def rates(look: bool) -> list[float]:
        seen = Seen()
        trainer = tiny_trainer(plugins=[LR("StepLR", step_size=3), seen], train_data=tiny_batches(4), epochs=1)
        trainer.fit()
        if look:
            said_of_run(trainer)
        trainer.fit()
        return seen.rates

    assert rates(look=True) == rates(look=False)


def test_a_mistake_in_one_schedule_is_not_said_of_another() -> None:
    said = said_of_run(tiny_trainer(plugins=[LR("linear"), ("b", ScheduledValue("no.x"))], epochs=1))
    assert said["lr"][0] == "linear, per step"
    assert said["b"][0].startswith("no preview: scheduled-value: there is no 'no'")
    short = said_of_run(tiny_trainer(plugins=[LR("OneCycleLR", max_lr=0.1, total_steps=1)], epochs=2, optimizer=SGDM))
    assert short["lr"][0].startswith("no preview: lr: OneCycleLR cannot go on after 1 steps: Tried to step 2 times")


# --------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": ""}, "no schedule ''"),
        ({"schedule": 5}, "a schedule is a name, a list of phases, a scheduler of torch or a function, not 5"),
        ({"schedule": [5]}, r"a schedule is a name, a list of phases, .*, not \[5\]"),
        ({"schedule": None}, "a schedule is a name, .*, not None"),
        ({"schedule": lr_scheduler.StepLR}, "StepLR is a class: give its name, or one that is ready"),
        ({"schedule": "cosine", "every": "epochs"}, "lr: every must be 'step' or 'epoch', not 'epochs'"),
        ({"warmup": math.inf}, "warmup must not be negative, but a part of the run below 1 or a number of steps, not inf"),
        ({"warmup": "0.1"}, "warmup must not be negative, .* not '0.1'"),
        ({"schedule": "linear end=nan"}, "end of 'linear' must be a number from 0 up"),
        ({"schedule": "linear end=inf"}, "end of 'linear' must be a number from 0 up"),
        ({"schedule": Phase("linear", "5 %")}, "'5 %' is no length: Length takes a number above 0 and '%', 'steps' or 'epochs'"),  # type: ignore[arg-type]
        ({"schedule": Phase("linear", Length(0, "steps"))}, "is no length"),
        ({"schedule": Phase("linear", Length(2, "epoch"))}, "is no length"),
        ({"schedule": Phase("linear", Length(0.5, "steps"))}, "a phase has whole steps, not 0.5"),
        ({"schedule": "cosine 100 %", "warmup": 0.5}, "the phases take 100 % of the run, after a warm-up of 50 %"),
    ],
)
def test_mistakes_when_built(options: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        LR(**options)


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (LR("OneCycleLR", max_lr=0.1, pct_start=2), "lr: OneCycleLR: Expected float between 0 and 1 pct_start, but got 2"),
        (LR("OneCycleLR", max_lr=0.1, total_steps=4), "lr: OneCycleLR cannot go on after 4 steps"),
        (LR("MultiStepLR", milestones=3), "lr: MultiStepLR: 'int' object is not iterable"),
        (LR("StepLR", step_size=0), "lr: StepLR cannot go on after 0 steps"),
        (ScheduledValue("nesterov"), r"SGD has no number 'nesterov' \(it has dampening, momentum, weight_decay\)"),
    ],
)
def test_mistakes_at_the_start(plugin: Any, message: str) -> None:
    with pytest.raises(FitError, match=message):
        rates_of(plugin)


def test_more_mistakes() -> None:
    with pytest.raises(FitError, match="OneCycleLR: optimizer must support momentum"):
        rates_of(LR("OneCycleLR", max_lr=0.1), optimizer=partial(Adagrad, lr=0.1))
    with pytest.raises(FitError, match="threshold_mode must be 'rel' or 'abs', not 'relative'"):
        Plateau(threshold_mode="relative")  # type: ignore[arg-type]
    with pytest.raises(FitError, match="model.p is in no parameter group: leave out groups"):
        ScheduledValue("model.p", groups=[0])
    for plugin in (EarlyStopping(mode="maximum"), Plateau(mode="maximum")):  # type: ignore[arg-type]
        with pytest.raises(FitError, match="mode must be 'min', 'max' or 'auto', not 'maximum'"):
            tiny_trainer(plugins=[plugin]).fit(epochs=1)


def test_a_time_may_be_text() -> None:
    assert StopAfter("2 h").time.timed


def test_the_time_after_a_run_is_not_counted() -> None:
    plugin = StopAfter("1 h")
    tiny_trainer(plugins=[plugin]).fit(epochs=1)
    assert plugin.state_dict() == plugin.state_dict()


def test_one_group_needs_no_list() -> None:
    assert rates_of(LR("linear", groups=0)) == rates_of(LR("linear", groups=[0])) == rates_of("lr:schedule=linear,groups=[0]")


@pytest.mark.parametrize("kind", ["sequential", "chained", "lambda"])
def test_ready_schedulers_of_every_kind_resume(kind: str) -> None:
    def make() -> Trainer:
        model = nn.Linear(4, 3)
        optimizer = SGD(model.parameters(), lr=0.1)
        two = [lr_scheduler.ConstantLR(optimizer, 0.1, 10), lr_scheduler.ExponentialLR(optimizer, 0.5)]
        scheduler: Any = (
            lr_scheduler.SequentialLR(optimizer, two, milestones=[3])
            if kind == "sequential"
            else lr_scheduler.ChainedScheduler(two)
            if kind == "chained"
            else lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
        )
        return tiny_trainer(model=model, optimizer=optimizer, plugins=[LR(scheduler)], train_data=tiny_batches(4), seed=1)

    check_resume(make)

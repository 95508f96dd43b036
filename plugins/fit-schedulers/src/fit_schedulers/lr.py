"""The learning rate over a run."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, cast

from torch.optim import Optimizer, lr_scheduler

from fit_core import FitError, State, Update, hookimpl
from fit_core.errors import did_you_mean, listed
from fit_core.options import bind
from fit_schedulers.schedules import Schedule, after, constant, cosine, warm_up

SIZED = ("constant", "cosine")
NOT_BY_NAME = ("LRScheduler", "ReduceLROnPlateau", "SequentialLR", "ChainedScheduler", "LambdaLR", "MultiplicativeLR")
"""Schedulers that a name and numbers cannot build."""
TORCH: dict[str, type[lr_scheduler.LRScheduler]] = {
    name: scheduler
    for name, scheduler in vars(lr_scheduler).items()
    if inspect.isclass(scheduler) and issubclass(scheduler, lr_scheduler.LRScheduler) and name not in NOT_BY_NAME and name[0] != "_"
}


class LR:
    """Sets the learning rate of every parameter group, per step or per epoch.

    Over repeated calls of `fit` a schedule with a length of its own goes on; one sized from the run starts anew.

    Args:
        schedule: "cosine" (to zero over the run), "constant", or the name of a scheduler of `torch.optim.lr_scheduler`.
        warmup: a linear rise at the beginning: below 1 a part of the run, from 1 on a number of steps.
        every: whether a scheduler of torch counts steps or epochs; warm-up and "cosine" always count steps.
        options: the arguments of torch's scheduler, such as `step_size=30`.

    Raises:
        FitError: the schedule or one of its options does not exist, or they do not go together.
    """

    name = "lr"

    def __init__(self, schedule: str = "cosine", warmup: float = 0.0, every: Literal["step", "epoch"] = "step", **options: Any) -> None:
        known = [*SIZED, *TORCH]
        if schedule not in known:
            raise FitError(f"no schedule {schedule!r} (known: {listed(known)}){did_you_mean(schedule, known)}")
        if warmup < 0:
            raise FitError(f"warmup must not be negative, but is {warmup}")
        if every == "epoch" and (warmup or schedule in SIZED):
            raise FitError(f"warm-up and the schedule {schedule!r} count steps: leave out every=epoch")
        self.schedule = schedule
        self.warmup = warmup
        self.every = every
        self.options = _checked(schedule, options)
        self._schedulers: dict[str, list[lr_scheduler.LRScheduler]] = {}
        self._origins: dict[str, int] = {}
        self._totals: dict[str, int | None] = {}
        self._saved: Mapping[str, Any] = {}

    @property
    def sized_from_run(self) -> bool:
        """Whether the schedule depends on the length of the run."""
        return self.schedule == "cosine" or 0 < self.warmup < 1

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        saved, self._saved = self._saved, {}
        goes_on = bool(saved) and (state.resumed or not self.sized_from_run)
        self._totals = {name: update.steps_total for name, update in state.updates.items()}
        if not goes_on and self._schedulers and not self.sized_from_run:
            return
        self._origins = dict(saved["origins"]) if goes_on else {name: update.steps for name, update in state.updates.items()}
        self._schedulers = {
            name: [self._build(optimizer, update, saved if goes_on else {}, i) for i, optimizer in enumerate(update.optimizers)]
            for name, update in state.updates.items()
        }

    @hookimpl
    def on_step_end(self, state: State) -> None:
        assert state.update is not None
        if self.every == "step":
            self._advance(state.update.name)

    @hookimpl
    def on_epoch_end(self) -> None:
        if self.every == "epoch":
            for name in self._schedulers:
                self._advance(name)

    def _advance(self, update: str) -> None:
        for scheduler in self._schedulers[update]:
            scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return where every scheduler is, and the step it began at."""
        if self._saved:
            return dict(self._saved)
        schedulers = {name: [each.state_dict() for each in several] for name, several in self._schedulers.items()}
        return {"origins": dict(self._origins), "totals": dict(self._totals), "schedulers": copy.deepcopy(schedulers)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned, once the next `fit` begins."""
        self._schedulers, self._saved = {}, state if state["schedulers"] else {}

    def _build(self, optimizer: Optimizer, update: Update, saved: Mapping[str, Any], place: int) -> lr_scheduler.LRScheduler:
        """Make the scheduler of an optimizer; or one that goes on, which leaves the optimizer as it is."""
        before = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        scheduler = self._begin(optimizer, update)
        if saved and update.name in saved["schedulers"]:
            scheduler.load_state_dict(copy.deepcopy(saved["schedulers"][update.name][place]))
            for group, values in zip(optimizer.param_groups, before, strict=True):
                group.update(values)
            longer = self.sized_from_run and saved["totals"].get(update.name) != update.steps_total
            if longer and isinstance(scheduler, lr_scheduler.LambdaLR):
                _stretch(scheduler)  # the run is longer now, or shorter
        return scheduler

    def _begin(self, optimizer: Optimizer, update: Update) -> lr_scheduler.LRScheduler:
        total = self._steps(update) if self.sized_from_run else 0
        warm = round(self.warmup * total) if self.warmup < 1 else int(self.warmup)
        if self.schedule in SIZED:
            schedule = after(warm_up(warm), warm, self._own(max(total - warm, 1)))
            return lr_scheduler.LambdaLR(optimizer, schedule)
        scheduler = TORCH[self.schedule](optimizer, **self.options)
        if not warm:
            return scheduler
        rise = lr_scheduler.LambdaLR(optimizer, warm_up(warm))
        return lr_scheduler.SequentialLR(optimizer, [rise, scheduler], milestones=[warm])

    def _steps(self, update: Update) -> int:
        """Return how many steps an update makes in this run, with those before an interruption."""
        if update.steps_total is None:
            raise FitError(
                "the learning rate cannot be sized from the run, whose length is unknown: pass fit(steps=...), or another schedule"
            )
        return max(update.steps_total - self._origins.get(update.name, update.steps), 1)

    def _own(self, steps: int) -> Schedule:
        return cosine(steps) if self.schedule == "cosine" else constant()


def _stretch(scheduler: lr_scheduler.LambdaLR) -> None:
    """Set the rates that a schedule has at the step it is at."""
    for group, base, factor in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
        group["lr"] = base * factor(scheduler.last_epoch)


def _checked(schedule: str, options: dict[str, Any]) -> dict[str, Any]:
    """Convert the options of a scheduler of torch; a schedule of our own has none."""
    if schedule in SIZED:
        if options:
            word = next(iter(options))
            raise FitError(f"schedule {schedule!r} has no option {word!r}{did_you_mean(word, ('schedule', 'warmup', 'every'))}")
        return {}
    return bind(partial(TORCH[schedule], cast("Any", None)), options, f"schedule {schedule!r}")

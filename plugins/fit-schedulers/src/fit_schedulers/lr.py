"""The learning rate over a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from torch.optim import lr_scheduler

from fit_core import FitError, State, Update
from fit_schedulers.course import Course
from fit_schedulers.groups import chosen_groups, names_of_groups
from fit_schedulers.phases import Phase
from fit_schedulers.scheduled import Place, Scheduled
from fit_schedulers.schedules import Schedule
from fit_schedulers.slots import GroupSlot
from fit_schedulers.stepped import Stepped
from fit_schedulers.walked import Walk, shadowed
from fit_schedulers.written import WrittenSchedule

if TYPE_CHECKING:
    from fit_core import Trainer

OPTIONS = ("schedule", "warmup", "every", "update", "groups")


class LR(Scheduled):
    """Sets the learning rate of parameter groups, per step or per epoch.

    Over repeated calls of `fit` a schedule with a length of its own goes on; one sized from the run starts anew, from the rates it
    began with, or from others that were set in between. A rate that somebody else changes in a run scales what is left of the schedule.

    Args:
        schedule: constant, linear, cosine, polynomial, exponential, inverse-sqrt, time-decay or one-cycle, over the run; the name of a
            scheduler of `torch.optim.lr_scheduler`, or a ready one; phases in a row: `[linear 5 % start=0.1 end=1, constant 50 %,
            cosine]`; or a function from the step (0 is the first) to the factor of the rate.
        warmup: a linear rise at the beginning: below 1 a part of the run, from 1 on a number of steps.
        every: whether the schedule counts steps or epochs; warm-up counts steps.
        update: the update, or a list of them, whose optimizers' rates are set; none: all.
        groups: which of its parameter groups, by number (from 0) or by the value of their key "name"; none: all.
        options: those of the schedule: `start`, `end` (factors of the rate), `power`, `rise`, or those of torch's scheduler, such as
            `step_size=30`; OneCycleLR and CosineAnnealingLR take the length of the run if they are given none.

    Raises:
        FitError: the schedule or one of its options does not exist, or they do not go together.
    """

    name = "lr"

    def __init__(
        self,
        schedule: str | Sequence[str | Phase] | lr_scheduler.LRScheduler | Schedule = "cosine",
        warmup: float = 0.0,
        every: Literal["step", "epoch"] = "step",
        update: str | Sequence[str] | None = None,
        groups: int | str | Sequence[int | str] | None = None,
        **options: Any,
    ) -> None:
        self.scheduler = schedule if isinstance(schedule, lr_scheduler.LRScheduler) else None
        self.groups = [groups] if isinstance(groups, (int, str)) else groups
        written = None
        if self.scheduler is not None:
            _check_ready(self.scheduler, {**options, "warmup": warmup, "update": update, "groups": groups})
        elif not isinstance(schedule, lr_scheduler.LRScheduler):
            written = WrittenSchedule(schedule, warmup, every, options, OPTIONS)
        super().__init__(written, every, [update] if isinstance(update, str) else update, "lr")

    def chosen(self, state: State) -> dict[str, Update]:
        """Return the updates whose steps count; of a ready scheduler that of its optimizer."""
        found = super().chosen(state)
        if self.scheduler is None:
            return found
        held = {name: update for name, update in found.items() if any(one is self.scheduler.optimizer for one in update.optimizers)}
        if not held:
            raise FitError("lr: the scheduler belongs to another optimizer than the trainer's; make it of the one that Trainer is given")
        return held

    def places(self, trainer: Trainer, update: Update) -> list[Place]:
        """Return the rates of the parameter groups."""
        del trainer
        found = [(optimizer, chosen_groups(self.name, update, optimizer, self.groups)) for optimizer in update.optimizers]
        return [
            Place(names_of_groups(update, groups), [GroupSlot(group, "lr") for group in groups], groups)
            for optimizer, groups in found
            if groups
        ]

    def _build(self, trainer: Trainer, state: State, update: Update) -> list[Course | Stepped]:
        if self.scheduler is None:
            return super()._build(trainer, state, update)
        self._warm[update.name] = 0
        return [Stepped(self.scheduler)]

    def _previewed(self, trainer: Trainer, state: State, update: Update) -> list[tuple[Sequence[str], Course]]:
        if self.scheduler is None:
            return super()._previewed(trainer, state, update)
        self._warm[update.name] = 0
        groups = self.scheduler.optimizer.param_groups
        slots = [GroupSlot(group, "lr") for group in groups]
        return [(names_of_groups(update, groups), Course(slots, Walk(shadowed(self.scheduler), groups)))]

    @property
    def said(self) -> str:
        """The schedule in words."""
        return super().said if self.scheduler is None else f"{type(self.scheduler).__name__}, per {self.every}"


def _check_ready(scheduler: lr_scheduler.LRScheduler, options: Mapping[str, Any]) -> None:
    """Refuse a ready scheduler that needs a value of the row, and options that it cannot take."""
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        raise FitError("ReduceLROnPlateau needs a value of the row: use the plugin 'plateau'")
    for name, value in options.items():
        if value:
            raise FitError(f"a ready scheduler takes no {name}: give lr its name instead, or make a SequentialLR")

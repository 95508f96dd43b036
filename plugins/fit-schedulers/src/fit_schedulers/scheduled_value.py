"""Any other number over a run: momentum, weight decay, the weight of a loss."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from fit_core import FitError, State, Update, hookimpl
from fit_core.errors import did_you_mean, listed
from fit_schedulers.course import Course
from fit_schedulers.groups import chosen_groups, names_of_groups
from fit_schedulers.phases import Phase
from fit_schedulers.scheduled import Place, Scheduled
from fit_schedulers.schedules import Schedule
from fit_schedulers.slots import AttributeSlot, GroupSlot
from fit_schedulers.written import WrittenSchedule

if TYPE_CHECKING:
    from fit_core import Trainer

OPTIONS = ("of", "schedule", "warmup", "every", "update", "groups", "base")


class ScheduledValue(Scheduled):
    """Sets a number by a schedule, in the grammar of `lr`: of parameter groups, or any attribute of a plugin, the model or the loss.

    What it sets goes to trackers under the name that `of` says.

    Args:
        of: `momentum` (of Adam and its like the first beta) or `weight_decay`, or another number of parameter groups; or an attribute:
            `gradient-penalty.weight` of the plugin `gradient-penalty`, `model.dropout.p`, `loss_fn.label_smoothing`.
        schedule: as of `lr`: a name, phases in a row, or a function from the step to the factor; schedulers of torch set rates only.
        warmup: a linear rise at the beginning: below 1 a part of the run, from 1 on a number of steps.
        every: whether the schedule counts steps or epochs; warm-up counts steps.
        update: the update whose optimizers' values are set; of an attribute the one whose steps count, the first if there are several.
        groups: which parameter groups, by number (from 0) or by the value of their key "name"; none: all.
        base: what factors multiply; none: the number that is there. With 1, factors are the values themselves.
        options: of the schedule: `start`, `end`, `power`, `rise`.

    Raises:
        FitError: the schedule or one of its options does not exist; or, at the start of `fit`, there is no such number.
    """

    name = "scheduled-value"

    def __init__(
        self,
        of: str,
        schedule: str | Sequence[str | Phase] | Schedule = "linear",
        warmup: float = 0.0,
        every: Literal["step", "epoch"] = "step",
        update: str | Sequence[str] | None = None,
        groups: int | str | Sequence[int | str] | None = None,
        base: float | None = None,
        **options: Any,
    ) -> None:
        self.of, self.groups, self.base = of, [groups] if isinstance(groups, (int, str)) else groups, base
        written = WrittenSchedule(schedule, warmup, every, options, OPTIONS, torchs=False)
        super().__init__(written, every, [update] if isinstance(update, str) else update, of.rpartition(".")[2])
        if self.is_attribute and groups is not None:
            raise FitError(f"scheduled-value: {of} is in no parameter group: leave out groups")
        if of == "lr":
            raise FitError("scheduled-value: the learning rate is set by the plugin 'lr'")

    @hookimpl
    def on_step_start(self, trainer: Trainer, state: State) -> None:
        assert state.update is not None
        courses = self._courses.get(state.update.name, [])
        if courses and isinstance(courses[0], Course):
            name = self.of if len(self._courses) == 1 else f"{state.update.name}_{self.of}"
            trainer.log({name: courses[0].held(0)})

    def bases(self, place: Place) -> list[float]:
        """Return the values that factors multiply."""
        return super().bases(place) if self.base is None else [self.base] * len(place.slots)

    @property
    def is_attribute(self) -> bool:
        """Whether it sets an attribute of an object, not a value of parameter groups."""
        return "." in self.of

    def chosen(self, state: State) -> dict[str, Update]:
        """Return the updates whose steps count: one of an attribute."""
        found = super().chosen(state)
        return dict(list(found.items())[:1]) if self.is_attribute else found

    def places(self, trainer: Trainer, update: Update) -> list[Place]:
        """Return the values of parameter groups, or the attribute."""
        if self.is_attribute:
            return [Place([self.of], [AttributeSlot(*self._owner(trainer))])]
        places = []
        for optimizer in update.optimizers:
            groups = chosen_groups(self.name, update, optimizer, self.groups)
            for group in groups:
                if not GroupSlot.fits(group, self.key):
                    known = [key for key in group if GroupSlot.fits(group, key) and key != "lr"]
                    made = type(optimizer).__name__
                    raise FitError(
                        f"scheduled-value: {made} has no number {self.key!r} (it has {listed(known)}){did_you_mean(self.key, known)}"
                    )
            if groups:
                slots = [GroupSlot(group, self.key) for group in groups]
                places.append(Place(names_of_groups(update, groups), slots, groups))
        return places

    def _owner(self, trainer: Trainer) -> tuple[Any, str]:
        """Return the object that `of` leads to, and the name of its attribute."""
        first, *path = self.of.split(".")
        known = {**trainer.plugins, "model": trainer.model, "loss_fn": trainer.loss_fn}
        if first not in known:
            raise FitError(f"scheduled-value: there is no {first!r} to set {self.of!r} of ({listed(known)}){did_you_mean(first, known)}")
        owner = known[first]
        for part in path[:-1]:
            owner = self._attribute(owner, part)
        value = self._attribute(owner, path[-1])
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number and not (isinstance(value, Tensor) and value.numel() == 1):
            raise FitError(f"scheduled-value: {self.of} is {type(value).__name__}, not a number")
        return owner, path[-1]

    def _attribute(self, owner: Any, name: str) -> Any:
        if not hasattr(owner, name):
            known = [key for key in vars(owner) if not key.startswith("_")]
            raise FitError(f"scheduled-value: {type(owner).__name__} has no {name!r} ({listed(known)}){did_you_mean(name, known)}")
        return getattr(owner, name)

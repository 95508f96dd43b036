"""What all schedules share: when values are set, and where they go on."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fit_core import FitError, State, Update, hookimpl
from fit_core.errors import did_you_mean, listed
from fit_schedulers.course import Course, is_as_left
from fit_schedulers.phases import Unreadable
from fit_schedulers.preview import preview
from fit_schedulers.slots import GroupSlot, Slot
from fit_schedulers.stepped import Stepped
from fit_schedulers.walked import Walk
from fit_schedulers.written import Span, WrittenSchedule

if TYPE_CHECKING:
    from fit_core import Trainer


@dataclass(frozen=True)
class Place:
    """Numbers that follow one line.

    Attributes:
        names: what a preview calls each.
        slots: where they are.
        groups: the parameter groups that they belong to; none for an attribute.
    """

    names: Sequence[str]
    slots: Sequence[Slot]
    groups: Sequence[dict[str, Any]] = ()


class Scheduled(ABC):
    """A plugin that sets numbers by a schedule.

    Args:
        written: the schedule; None for a ready scheduler of torch.
        every: what it counts.
        updates: the names of the updates whose steps count; None: of all.
        key: of the value.
    """

    name: str

    def __init__(self, written: WrittenSchedule | None, every: Literal["step", "epoch"], updates: Sequence[str] | None, key: str) -> None:
        if every not in ("step", "epoch"):
            raise FitError(f"{self.name}: every must be 'step' or 'epoch', not {every!r}")
        self.written, self.every, self.updates, self.key = written, every, updates, key
        self._courses: dict[str, list[Course | Stepped]] = {}
        self._claims: set[tuple[int, str]] = set()
        self._bases: dict[str, list[list[float]]] = {}
        self._origins: dict[str, int] = {}
        self._totals: dict[str, int | None] = {}
        self._warm: dict[str, int] = {}
        self._epochs = self._origin_epoch = 0
        self._saved: Mapping[str, Any] = {}

    @abstractmethod
    def places(self, trainer: Trainer, update: Update) -> list[Place]:
        """Return what it sets as an update goes on."""

    def bases(self, place: Place) -> list[float]:
        """Return the values that factors multiply."""
        return [slot.get() for slot in place.slots]

    @property
    def sized_from_run(self) -> bool:
        """Whether the schedule depends on the length of the run."""
        return self.written is not None and self.written.sized_from_run

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        saved, self._saved = self._saved, {}
        goes_on = bool(saved) and (state.resumed or not self.sized_from_run)
        if not goes_on and self._courses and not self.sized_from_run:
            return
        chosen = self.chosen(state)
        self._claim(trainer, chosen)
        before = saved or self._state()
        if goes_on:
            self._epochs, self._origin_epoch, self._origins = saved["epochs"], saved["origin_epoch"], dict(saved["origins"])
        else:
            self._epochs, self._origin_epoch = 0, state.epoch
            self._origins = {name: update.steps for name, update in chosen.items()}
        self._totals = {name: update.steps_total for name, update in chosen.items()}
        for name, update in chosen.items():
            known, old = before.get("courses", {}).get(name, []), before.get("bases", {}).get(name, [])
            self._bases[name] = old if goes_on else self._beginnings(self.places(trainer, update), old, known)
            self._courses[name] = self._build(trainer, state, update)
            stretched = goes_on and self.sized_from_run and saved["totals"][name] != update.steps_total
            for course, each in zip(self._courses[name], known, strict=False):
                if goes_on:
                    course.load_state_dict({**each, "line": None} if stretched else each)
                elif isinstance(course, Course):
                    course.begin_again(each)
            if stretched or not goes_on:
                self._advance(update)

    def _beginnings(self, places: Sequence[Place], old: Sequence[Sequence[float]], known: Sequence[Mapping[str, Any]]) -> list[list[float]]:
        """Return the values to begin with: those of an earlier call of `fit`, but for what somebody has set since."""
        if not known:
            return [self.bases(place) for place in places]
        return [
            [base if is_as_left(place.slots[i], each, i) else self.bases(place)[i] for i, base in enumerate(bases)]
            for place, bases, each in zip(places, old, known, strict=True)
        ]

    @hookimpl
    def on_fit_end(self, trainer: Trainer) -> None:
        for course in (course for courses in self._courses.values() for course in courses):
            if trainer.is_rehearsal:
                course.undo()
            elif isinstance(course, Course):
                course.scales = course.found()  # what is changed from now on is a new beginning

    @hookimpl
    def on_step_end(self, state: State) -> None:
        update = state.update
        assert update is not None
        if update.name in self._courses and (self.every == "step" or self._done(update) <= self._warm[update.name]):
            self._advance(update)

    @hookimpl
    def on_epoch_end(self, state: State) -> None:
        self._epochs += 1
        if self.every == "epoch":
            for name in self._courses:
                self._advance(state.updates[name])

    def chosen(self, state: State) -> dict[str, Update]:
        """Return the updates whose steps count.

        Raises:
            FitError: there is no update of a name.
        """
        for name in self.updates or ():
            if name not in state.updates:
                hint = did_you_mean(name, state.updates)
                raise FitError(f"{self.name}: there is no update {name!r} (updates: {listed(state.updates)}){hint}")
        return {name: update for name, update in state.updates.items() if self.updates is None or name in self.updates}

    def _claim(self, trainer: Trainer, chosen: Mapping[str, Update]) -> None:
        """Note what it sets; refuse what another schedule sets already."""
        keys = [self.key, "momentum"] if self.written is not None and self.written.sets_momentum else [self.key]
        places = [place for update in chosen.values() for place in self.places(trainer, update)]
        self._claims = {(id(slot.owner), key) for place in places for slot in place.slots for key in keys}
        for name, other in trainer.plugins.items():
            both = {key for _, key in other._claims & self._claims} if isinstance(other, Scheduled) and other is not self else ()
            if both:
                raise FitError(f"{self.name} sets the same {min(both)} as plugin {name!r}: give each an update or groups of its own")

    def _build(self, trainer: Trainer, state: State, update: Update) -> list[Course | Stepped]:
        """Make the courses of an update."""
        assert self.written is not None
        places, span = self.places(trainer, update), self._span(state, update)
        self._warm[update.name] = warm = self.written.warm(span, self.name)
        return [self._course(place, bases, span, warm) for place, bases in zip(places, self._bases[update.name], strict=True)]

    def _course(self, place: Place, bases: Sequence[float], span: Span, warm: int) -> Course:
        assert self.written is not None
        groups = [{**group, self.key: base} for group, base in zip(place.groups or [{}], bases, strict=True)]
        line = self.written.line(span, warm, groups, self.key, self.name)
        momenta = [GroupSlot(group, "momentum") for group in place.groups] if isinstance(line, Walk) and line.sets_momentum else []
        return Course([*place.slots, *momenta], line, warm)

    def _span(self, state: State, update: Update) -> Span:
        """Return how long the run is, with what came before an interruption."""
        steps = None if update.steps_total is None else update.steps_total - self._origins[update.name]
        return Span(steps, None if math.isinf(state.epochs) else int(state.epochs) - self._origin_epoch)

    def _done(self, update: Update) -> int:
        return update.steps - self._origins[update.name]

    def _advance(self, update: Update) -> None:
        step, warm = update.steps - self._origins[update.name], self._warm[update.name]
        count = self._epochs if self.every == "epoch" else max(step - warm, 0)
        try:
            for course in self._courses[update.name]:
                course.go_to(count, step)
        except Unreadable as error:
            raise FitError(f"{self.name}: {error}") from error

    def explained(self, trainer: Trainer, state: State) -> list[str]:
        """Return a preview of the values at some points of the run, for `fit explain`."""
        fresh = copy.copy(self)
        chosen = self.chosen(state)
        fresh._bases, fresh._warm, fresh._origin_epoch = {}, {}, state.epoch
        fresh._origins = {name: update.steps for name, update in chosen.items()}
        lines = [self.said]
        for name, update in chosen.items():
            fresh._bases[name] = [self.bases(place) for place in self.places(trainer, update)]
            courses = fresh._previewed(trainer, state, update)
            try:
                lines += preview(courses, fresh._span(state, update), fresh._warm[name], self.every)
            except Unreadable as error:
                raise FitError(f"{self.name}: {error}") from error
        return lines

    @property
    def said(self) -> str:
        """The schedule in words."""
        return str(self.written)

    def _previewed(self, trainer: Trainer, state: State, update: Update) -> list[tuple[Sequence[str], Course]]:
        """Return courses that can be walked without setting anything, with the names of their values."""
        courses = [course for course in self._build(trainer, state, update) if isinstance(course, Course)]
        return [(place.names, course) for place, course in zip(self.places(trainer, update), courses, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return where every schedule is, and where it began."""
        if self._saved or not self._courses:
            return dict(self._saved)
        state = self._state()
        return {**state, "courses": {name: [course.state_dict() for course in courses] for name, courses in self._courses.items()}}

    def _state(self) -> dict[str, Any]:
        """Return where every schedule was when it last set something."""
        if not self._courses:
            return {}
        return {
            "epochs": self._epochs,
            "origin_epoch": self._origin_epoch,
            "origins": dict(self._origins),
            "totals": dict(self._totals),
            "bases": {name: [list(bases) for bases in each] for name, each in self._bases.items()},
            "courses": {
                name: [course.left() for course in courses if isinstance(course, Course)] for name, courses in self._courses.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned, once the next `fit` begins."""
        self._courses, self._bases, self._saved = {}, {}, state

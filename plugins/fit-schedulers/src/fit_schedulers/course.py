"""The values that some places take over a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from operator import mul
from typing import Any, Protocol

from fit_schedulers.schedules import Schedule, warm_up
from fit_schedulers.slots import AttributeSlot, Slot
from fit_schedulers.walked import Walk


class Line(Protocol):
    """What each place is to hold at a step; steps only go up."""

    def at(self, step: int) -> list[float]:
        """Return a value for each place."""


class Multiples:
    """Each place's own value, times a schedule.

    Args:
        bases: the values.
        schedule: the factor.
    """

    __slots__ = ("bases", "schedule")

    def __init__(self, bases: Sequence[float], schedule: Schedule) -> None:
        self.bases, self.schedule = list(bases), schedule

    def at(self, step: int) -> list[float]:
        """Return a value for each place."""
        return list(map(mul, self.bases, repeat(self.schedule(step))))


class Course:
    """Sets places to what a line says, step by step.

    A value that somebody else changes in between (another plugin, a hook of yours) scales what is left of the line: where a
    plateau has halved a rate, it stays half of what it would be. One that a tensor holds is not looked at, but set.

    Args:
        slots: the places.
        line: what they are to hold.
        warm: how many steps a warm-up takes, in which a factor rises to 1.
    """

    __slots__ = ("began", "line", "scales", "slots", "values", "warm")

    def __init__(self, slots: Sequence[Slot], line: Line, warm: int = 0) -> None:
        self.slots, self.line, self.warm = list(slots), line, warm
        self.began = [slot.get() for slot in slots]
        self.values = list(self.began)
        self.scales = [1.0] * len(self.slots)

    def at(self, count: int, step: int) -> list[float]:
        """Return what the places are to hold, as far as nobody else changes it.

        Args:
            count: of what the line counts: steps or epochs.
            step: of the run, for the warm-up.
        """
        values = self.line.at(count)
        if step >= self.warm:
            return values
        factor = warm_up(self.warm)(step)
        return [value * factor for value in values]

    def go_to(self, count: int, step: int) -> None:
        """Set every place to its value; the arguments are those of `at`."""
        values = self.line.at(count) if step >= self.warm else self.at(count, step)
        for i, value in enumerate(values):
            if value != self.values[i]:
                slot = self.slots[i]
                if slot.seen() != self.values[i] * self.scales[i]:
                    self.scales[i] = self.scale(i)
                self.values[i] = value
                slot.set(value * self.scales[i])

    def scale(self, i: int) -> float:
        """Return what the values of a place are multiplied with, since others have changed them."""
        left, found = self.values[i] * self.scales[i], self.slots[i].seen()
        return self.scales[i] if found is None or found == left or not left else self.scales[i] * found / left

    def held(self, i: int) -> float:
        """Return what a place holds; of a tensor, what it was set to."""
        found = self.slots[i].seen()
        return self.values[i] * self.scales[i] if found is None else found

    def found(self) -> list[float]:
        """Return the scales of all places, with what others have changed."""
        return [self.scale(i) for i in range(len(self.slots))]

    def left(self) -> dict[str, Any]:
        """Return what was set last."""
        return {"values": list(self.values), "scales": list(self.scales)}

    def undo(self) -> None:
        """Put attributes back to what they held at the beginning; parameter groups are the optimizer's to restore."""
        for slot, value in zip(self.slots, self.began, strict=True):
            if isinstance(slot, AttributeSlot):
                slot.set(value)

    def begin_again(self, left: Mapping[str, Any]) -> None:
        """Keep the scales of an earlier course at those places that hold what it left there."""
        for i, slot in enumerate(self.slots):
            if is_as_left(slot, left, i):
                self.scales[i] = left["scales"][i]
                self.values[i] = left["values"][i]

    def state_dict(self) -> dict[str, Any]:
        """Return where it is."""
        line = self.line.state_dict() if isinstance(self.line, Walk) else None
        return {"values": list(self.values), "scales": self.found(), "line": line}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another one was: parameter groups are restored already, and attributes are set.

        A line that is None is walked from its beginning.
        """
        self.values, self.scales = list(state["values"]), list(state["scales"])
        for slot, value, scale in zip(self.slots, self.values, self.scales, strict=True):
            if isinstance(slot, AttributeSlot):
                slot.set(value * scale)
        if isinstance(self.line, Walk) and state["line"] is not None:
            self.line.load_state_dict(state["line"])


def is_as_left(slot: Slot, left: Mapping[str, Any], i: int) -> bool:
    """Tell whether a place holds what a course set last (`Course.left`), or cannot be looked at."""
    found = slot.seen()
    return found is None or found == left["values"][i] * left["scales"][i]

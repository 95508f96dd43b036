"""Schedules as they are written: `cosine end=0.1`, or phases in a row: `[linear 5 % start=0.1 end=1, constant 50 %, cosine]`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature

from fit_schedulers import schedules
from fit_schedulers.schedules import Schedule, in_a_row

OWN: dict[str, Callable[..., Schedule]] = {
    "constant": schedules.constant,
    "linear": schedules.linear,
    "cosine": schedules.cosine,
    "polynomial": schedules.polynomial,
    "exponential": schedules.exponential,
    "inverse-sqrt": schedules.inverse_sqrt,
    "time-decay": schedules.time_decay,
    "one-cycle": schedules.one_cycle,
}
"""Our own schedules by name."""
LENGTH = re.compile(r"(\d+(?:\.\d+)?) ?(%|steps?|epochs?)?")


class Unreadable(ValueError):
    """A schedule that is not written as it should be; the message says what is wrong."""


@dataclass(frozen=True)
class Length:
    """How long a phase is.

    Attributes:
        number: how many.
        unit: "%" of the run, "steps" or "epochs".
    """

    number: float
    unit: str

    def steps(self, total: int | None, per_epoch: float | None) -> float:
        """Return it in steps, not rounded.

        Args:
            total: steps of the run; None if unknown.
            per_epoch: steps of an epoch; None if unknown.

        Raises:
            Unreadable: that is not known.
        """
        if self.unit == "steps":
            return self.number
        scale = per_epoch if self.unit == "epochs" else None if total is None else total / 100
        if scale is None:
            raise Unreadable(f"a phase of {self} needs a run whose length is known")
        return self.number * scale

    def __str__(self) -> str:
        return f"{self.number:g} {self.unit}"


@dataclass(frozen=True)
class Phase:
    """A schedule, and how long it goes on.

    Attributes:
        schedule: a name in `OWN`.
        length: None for what is left of the run.
        options: of the schedule.
    """

    schedule: str
    length: Length | None = None
    options: Mapping[str, float] = field(default_factory=dict)

    @property
    def sized_from_run(self) -> bool:
        """Whether it depends on the length of the run."""
        return self.schedule != "constant" if self.length is None else self.length.unit == "%"

    def __str__(self) -> str:
        return " ".join([self.schedule, *([str(self.length)] if self.length else []), *(f"{k}={v:g}" for k, v in self.options.items())])


def parse(text: str) -> Phase:
    """Read a phase: the name of a schedule, a length, options.

    Raises:
        Unreadable: it is not one.
    """
    name, *words = text.split() or [""]
    options: dict[str, float] = {}
    for word in [word for word in words if "=" in word]:
        key, _, value = word.partition("=")
        try:
            options[key] = float(value)
        except ValueError:
            raise Unreadable(f"option {key!r} of {name!r} must be a number, not {value!r}") from None
    return Phase(name, length_of(" ".join(word for word in words if "=" not in word)), options)


def length_of(text: str) -> Length | None:
    """Read a length: `100 steps`, `2 epochs`, `10 %`; nothing is what is left.

    Raises:
        Unreadable: it is none.
    """
    if not text:
        return None
    match = LENGTH.fullmatch(text)
    if match is None or not float(match[1]):
        raise Unreadable(f"cannot read the length {text!r}; write '100 steps', '2 epochs' or '10 %'")
    unit = {"s": "steps", "e": "epochs", "%": "%"}[(match[2] or "steps")[0]]
    length = Length(float(match[1]), unit)
    _check_length(length)
    return length


def check(phases: Sequence[Phase], warmup: float = 0.0) -> None:
    """Look at phases before a run.

    Args:
        phases: in a row.
        warmup: what comes before them, in % of the run.

    Raises:
        Unreadable: an option does not exist or is out of its range, a phase in the middle has no length, or they are longer than a run.
    """
    for phase in phases:
        known = [name for name in signature(OWN[phase.schedule]).parameters if name != "steps"]
        for key, value in phase.options.items():
            if key not in known:
                raise Unreadable(f"schedule {phase.schedule!r} has no option {key!r} (options: {', '.join(known)})")
            if not 0 <= value < math.inf:
                raise Unreadable(f"{key} of {phase.schedule!r} must be a number from 0 up, not {value:g}")
        if phase.length is not None:
            _check_length(phase.length)
    _check_ends(phases)
    if any(phase.length is None for phase in phases[:-1]):
        raise Unreadable("only the last phase can do without a length")
    parts = sum(phase.length.number for phase in phases if phase.length is not None and phase.length.unit == "%")
    if parts + warmup > 100 + 1e-9 and parts:
        raise Unreadable(f"the phases take {parts:g} % of the run{f', after a warm-up of {warmup:g} %' if warmup else ''}")


def _check_length(length: Length) -> None:
    """Refuse a length that was made by hand, and is none."""
    if not isinstance(length, Length) or length.unit not in ("%", "steps", "epochs") or not 0 < length.number < math.inf:
        raise Unreadable(f"{length!r} is no length: Length takes a number above 0 and '%', 'steps' or 'epochs'")
    if length.unit == "steps" and not float(length.number).is_integer():
        raise Unreadable(f"a phase has whole steps, not {length.number:g}")


def _check_ends(phases: Sequence[Phase]) -> None:
    """Refuse ends that a schedule cannot reach."""
    at = 1.0
    for phase in phases:
        given = bound(phase, at)
        start, end, name = given["start"], given.get("end", given["start"]), phase.schedule
        if name == "exponential" and not start * end:
            raise Unreadable("'exponential' needs start and end above 0")
        if name in ("inverse-sqrt", "time-decay") and not 0 < end < start:
            raise Unreadable(f"{name!r} falls: its end must be above 0 and below its start, not {end:g} after {start:g}")
        if name == "one-cycle" and not 0 < given["rise"] < 1:
            raise Unreadable(f"rise of 'one-cycle' must be between 0 and 1, not {given['rise']:g}")
        at = end


def bound(phase: Phase, at: float) -> dict[str, float]:
    """Return all options of a phase's schedule; it starts where the one before it ended, unless it says otherwise."""
    defaults = {name: p.default for name, p in signature(OWN[phase.schedule]).parameters.items() if name != "steps"}
    return {**defaults, **({"start": at} if defaults["start"] == 1 else {}), **phase.options}


def build(phases: Sequence[Phase], total: int | None, per_epoch: float | None, before: int = 0) -> Schedule:
    """Make one schedule of phases.

    Args:
        phases: checked.
        total: steps of the run, or epochs if epochs are counted; None if unknown.
        per_epoch: steps of an epoch; None if unknown.
        before: steps of the run that a warm-up takes.

    Raises:
        Unreadable: a length is needed that is not known.
    """
    parts: list[tuple[Schedule, int]] = []
    at, begin, done = 1.0, float(before), before
    for phase in phases:
        if phase.length is not None:
            end = begin + phase.length.steps(total, per_epoch)
        elif total is None and phase.sized_from_run:
            raise Unreadable(f"{phase.schedule!r} needs a run whose length is known")
        else:
            end = float(total or 0)
        steps = max(round(end) - done, 1)  # only ends are rounded, so that the phases together are as long as they should be
        schedule = OWN[phase.schedule](steps, **bound(phase, at))
        parts.append((schedule, steps))
        at, begin, done = schedule(steps), end, done + steps
    return in_a_row(parts[:-1], parts[-1][0])

"""How often: one grammar for intervals, and decorators that make a hook act only when it is due."""

from __future__ import annotations

import inspect
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol, TypeVar

from fit_core.errors import FitError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])

COUNTERS: dict[str, tuple[str, float]] = {
    "step": ("state.step", 1),
    "batch": ("state.batch_count", 1),
    "epoch": ("state.epoch", 1),
    "second": ("now_()", 1),
    "minute": ("now_()", 60),
    "hour": ("now_()", 3600),
}
"""Each unit: where its counter is read, as source for the plan, and how much of it one unit is."""

PLURALS = {"batches": "batch"} | {f"{unit}s": unit for unit in COUNTERS if unit != "batch"}
SHORT = {"s": "second", "sec": "second", "min": "minute", "h": "hour"}
MARK = "fit_cadences"


class Every:
    """An interval: `Every("100 steps")`, `"1 epoch"`, `"500 batches"`, `"30 minutes"` (or `"30 min"`, `"4 h"`).

    Args:
        text: a number above 0 and a unit: steps, batches, epochs, seconds, minutes or hours.

    Attributes:
        number: how many units.
        unit: in the singular.

    Raises:
        FitError: it is not of this form.
    """

    def __init__(self, text: str | Every) -> None:
        if isinstance(text, Every):
            text = str(text)
        if not isinstance(text, str):
            raise FitError(f"cannot read the interval {text!r}; write a number and a unit, such as '100 steps'")
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text)
        if match is None:
            raise FitError(f"cannot read the interval {text!r}; write a number and a unit, such as '100 steps', '1 epoch' or '30 minutes'")
        unit = (PLURALS | SHORT).get(match[2], match[2])
        if unit not in COUNTERS:
            raise FitError(
                f"cannot read the interval {text!r}: there is no unit {match[2]!r}{did_you_mean(match[2], [*COUNTERS, *PLURALS])}"
            )
        self.unit = unit
        self.number = float(match[1])
        if self.number == 0 or (not self.timed and self.number % 1):
            raise FitError(f"cannot read the interval {text!r}: it must be {'above 0' if self.timed else 'a whole number above 0'}")

    @property
    def timed(self) -> bool:
        """Whether it is measured by the clock."""
        return COUNTERS[self.unit][0] == "now_()"

    @property
    def length(self) -> float:
        """The interval in steps, batches, epochs or seconds."""
        return self.number * COUNTERS[self.unit][1]

    def __str__(self) -> str:
        number = f"{self.number:.0f}" if self.number % 1 == 0 else f"{self.number:f}".rstrip("0")
        return f"{number} {self.unit}" + ("" if self.number == 1 else "es" if self.unit == "batch" else "s")

    def __repr__(self) -> str:
        return f"Every({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Every) and (self.unit, self.number) == (other.unit, other.number)

    def __hash__(self) -> int:
        return hash((self.unit, self.number))


@dataclass(frozen=True)
class Cadence:
    """What a decorator noted: read and checked when the plugin is registered.

    Attributes:
        kind: "every", "once", "once per epoch" or "only if".
        interval: for "every", as it was written.
        after: units before counting begins.
        before: units from which on it is never due.
        predicate: for "only if".
    """

    kind: str
    interval: str | Every = "1 epoch"
    after: float = 0
    before: float = math.inf
    predicate: Callable[..., bool] | None = None

    def __str__(self) -> str:
        if self.kind != "every":
            name = getattr(self.predicate, "__name__", "")
            return f"{self.kind} {name}".strip()
        bounds = [f"after {self.after:g}"] * bool(self.after) + [f"before {self.before:g}"] * math.isfinite(self.before)
        return " ".join([f"every {Every(self.interval)}", *bounds])


def every(interval: str | Every, *, after: float = 0, before: float = math.inf) -> Callable[[F], F]:
    """Let a hook act every so often: `@every("100 steps")` at steps 100, 200 and so on.

    Goes above or below `@hookimpl`, on methods and functions, and with the other decorators of its kind.

    Args:
        interval: see `Every`.
        after: counting begins there: `@every("2 epochs", after=1)` acts in epochs 3, 5, 7.
        before: never from there on: `@every("1 epoch", before=3)` acts in epochs 1 and 2.
    """
    if callable(interval):
        raise FitError("@every needs an interval: @every('100 steps')")
    return _marker(Cadence("every", interval, after, before))


def once(function: F) -> F:
    """Let a hook act the first time only."""
    return _marker(Cadence("once"))(function)


def once_per_epoch(function: F) -> F:
    """Let a hook act the first time in each epoch only."""
    return _marker(Cadence("once per epoch"))(function)


def only_if(predicate: Callable[..., bool]) -> Callable[[F], F]:
    """Let a hook act only when a predicate of its arguments holds: `@only_if(lambda state: state.batch > 3)`.

    Args:
        predicate: a function that names the arguments of the hook it uses.
    """
    if not callable(predicate) or hasattr(predicate, "fit_impl"):
        raise FitError("@only_if needs a predicate: @only_if(lambda state: state.batch > 3)")
    return _marker(Cadence("only if", predicate=predicate))


def _marker(cadence: Cadence) -> Callable[[F], F]:
    def mark(function: F) -> F:
        setattr(function, MARK, (*getattr(function, MARK, ()), cadence))
        return function

    return mark


def cadences_of(function: Callable[..., Any]) -> tuple[Cadence, ...]:
    """Return what decorators noted on a function, the outermost last."""
    noted: tuple[Cadence, ...] = getattr(function, MARK, ())
    return noted


class Gate:
    """Knows when one hook of one plugin is due next.

    Attributes:
        counter: where its counter is read, as source for the plan.
        next: the value of the counter from which on it is due.
        end: the value from which on it is never due.
    """

    def __init__(self, cadence: Cadence) -> None:
        self.cadence = cadence
        self.counter = "state.epoch"
        self.next = -math.inf
        self.end = math.inf
        self.arguments: tuple[str, ...] = ()
        self._timed = False
        self._origin = 0.0
        if cadence.kind == "every":
            interval = Every(cadence.interval)
            if not 0 <= cadence.after < cadence.before:
                raise FitError(
                    f"cannot act after {cadence.after!r} and before {cadence.before!r}: give numbers of {interval.unit}s in this order"
                )
            self.counter, unit = COUNTERS[interval.unit]
            self._timed = interval.timed
            self._length = interval.length
            self._origin = cadence.after * unit
            self.next = self._origin + self._length
            self.end = cadence.before * unit

    def start(self) -> None:
        """Start the clock of an interval of time, when the first run begins."""
        if self._timed:
            now = time.monotonic()
            self._origin += now
            self.next += now
            self.end += now
            self._timed = False

    def state_dict(self) -> dict[str, float]:
        """Return when it is due next; for an interval of time, in how many seconds."""
        timed = self.counter == "now_()" and not self._timed
        return {"next": self.next - time.monotonic() if timed else self.next}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take up what `state_dict` returned; a clock goes on from here."""
        timed = self.counter == "now_()"
        now = time.monotonic() if timed else 0
        self.end += state["next"] + now - self.next if timed else 0
        self._origin = now if timed else self._origin
        self.next = state["next"] + now
        self._timed = False

    def condition(self, name: str) -> str:
        """Return the source of the test whether it is due; one comparison, unless there is an end."""
        ending = "" if math.isinf(self.end) else f" and {self.counter} < {name}.end"
        return f"{self.counter} >= {name}.next{ending}"

    def advance(self, count: float) -> None:
        """Set the next time, after it has acted at this value of its counter."""
        if self.cadence.kind == "every":
            self.next = self._origin + ((count - self._origin) // self._length + 1) * self._length
        else:
            self.next = count + 1 if self.cadence.kind == "once per epoch" else math.inf

    def __str__(self) -> str:
        return str(self.cadence)


class Condition(Gate):
    """A gate that a predicate of the hook's arguments opens."""

    def __init__(self, cadence: Cadence) -> None:
        super().__init__(cadence)
        assert cadence.predicate is not None
        self.predicate = cadence.predicate
        parameters = inspect.signature(self.predicate).parameters.values()
        self.arguments = tuple(p.name for p in parameters if p.default is p.empty)

    def condition(self, name: str) -> str:
        """Return the source of a call of the predicate."""
        return f"{name}.predicate({', '.join(f'{argument}={argument}' for argument in self.arguments)})"

    def advance(self, count: float) -> None:
        """Do nothing: only the predicate decides."""


class Delay(Gate):
    """A gate that opens once and stays open."""

    def __init__(self, interval: Every) -> None:
        super().__init__(Cadence("every", interval))
        # An epoch or batch is counted when it begins, a step when it is done.
        self.next = self._origin + self._length + (interval.unit in ("epoch", "batch"))

    def advance(self, count: float) -> None:
        """Stay open."""

    def __str__(self) -> str:
        return f"delayed by {self.cadence.interval}"


COUNTS = {"step": attrgetter("step"), "batch": attrgetter("batch_count"), "epoch": attrgetter("epoch")}


class Counts(Protocol):
    """Counters of a run, such as a `State` has them."""

    @property
    def step(self) -> int:
        """Finished steps."""

    @property
    def batch_count(self) -> int:
        """Batches over all epochs."""

    @property
    def epoch(self) -> int:
        """The epoch at work."""


class Due:
    """When something is done at safe points: after a batch, or at the end of an epoch.

    Args:
        interval: how often.
        progress: of the run; the counting goes on from where it is.
    """

    def __init__(self, interval: str | Every, progress: Counts) -> None:
        interval = Every(interval)
        self.in_batches = interval.unit != "epoch"
        self._read: Callable[[Counts], float] = COUNTS.get(interval.unit, lambda _: time.monotonic())
        self._gate = Gate(Cadence("every", interval))
        self._gate.start()
        self._gate.advance(self._read(progress))

    def after_batch(self, progress: Counts) -> bool:
        """Whether it is due now that a batch is done."""
        return self.in_batches and self._read(progress) >= self._gate.next

    def after_epoch(self, progress: Counts) -> bool:
        """Whether it is due now that an epoch's training is done."""
        return not self.in_batches and self._read(progress) >= self._gate.next

    def advance(self, progress: Counts) -> None:
        """Count on, now that it is done."""
        self._gate.advance(self._read(progress))

    def state_dict(self) -> dict[str, Any]:
        """Return how often, and when it is due next."""
        return {"interval": str(self._gate), "gate": self._gate.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned, if it was of the same interval."""
        if state["interval"] == str(self._gate):
            self._gate.load_state_dict(state["gate"])


def gate(cadence: Cadence) -> Gate:
    """Return a new gate for what a decorator noted."""
    return Condition(cadence) if cadence.kind == "only if" else Gate(cadence)


@dataclass(frozen=True, eq=False)
class Delayed:
    """A plugin whose hooks act only later: `Delayed(EarlyStopping(), "3 epochs")` from the fourth epoch on.

    Only hooks within epochs wait; those before the first and after the last are called as ever, so that the plugin can
    set itself up.

    Args:
        plugin: any plugin: an object, a function or a name with options.
        interval: how much training to wait for; see `Every`.
    """

    plugin: Any
    interval: str | Every

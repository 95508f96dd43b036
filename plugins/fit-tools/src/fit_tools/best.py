"""The best value of each column of a history, where it is known what is better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fit_core.errors import FitError, did_you_mean, listed
from fit_core.text import number
from fit_tools.found import Found

Mode = Literal["min", "max"] | None
NOT_COMPARED = ("epoch", "lr", "seconds")
PASSES = ("val_", "test_")
"""How names of values begin that are not of training; no metric has such a name."""


@dataclass(frozen=True)
class At:
    """A value.

    Attributes:
        value: itself.
        epoch: when; None if it is not of an epoch.
    """

    value: float
    epoch: int | None

    def text(self, name: str) -> str:
        """Write the value, and its epoch after an @."""
        return number(name, self.value) + ("" if self.epoch is None else f" @{self.epoch}")


@dataclass(frozen=True)
class Extremes:
    """The least and the greatest value of a column.

    Attributes:
        least: the first one, if there are several.
        most: likewise.
        more_is_better: None if nobody knows.
    """

    least: At
    most: At
    more_is_better: bool | None

    @property
    def best(self) -> At | None:
        """The best one; None if nobody knows which it is."""
        return None if self.more_is_better is None else self.most if self.more_is_better else self.least

    def text(self, name: str) -> str:
        """Write the best value, or both if nobody knows."""
        if self.best is not None or self.least == self.most:
            return (self.best or self.least).text(name)
        return f"{self.least.text(name)} to {self.most.text(name)}"


def direction(run: Found, name: str, mode: Mode = None) -> bool | None:
    """Tell whether more of a value is better: as the run says, of losses never, else by `mode`."""
    known = run.manifest.get("directions", {})
    said: bool | None = known.get(name)
    if said is None and name not in known and (name == "loss" or name.endswith("_loss")):
        return False
    return said if isinstance(said, bool) else None if mode is None else mode == "max"


def extremes(run: Found, name: str, mode: Mode = None) -> Extremes | None:
    """Return the least and greatest value of a run; None if it has none. What is no number counts only if all are."""
    values = [At(row[name], int(row["epoch"])) for row in run.rows if name in row]
    values = values or ([At(run.test[name], None)] if name in run.test else [])
    numbers = [at for at in values if not math.isnan(at.value)] or values[:1]
    if not numbers:
        return None
    return Extremes(min(numbers, key=lambda at: at.value), max(numbers, key=lambda at: at.value), direction(run, name, mode))


def names_of(runs: Iterable[Found]) -> list[str]:
    """Return the names of all values: of validation first, then those of tests, then those of training."""
    names = dict.fromkeys(name for run in runs for name in (*(name for row in run.rows for name in row), *run.test))
    return sorted(names, key=lambda name: next((i for i, prefix in enumerate(PASSES) if name.startswith(prefix)), len(PASSES)))


def compared(names: Iterable[str]) -> list[str]:
    """Return those names whose values are compared if nobody asks for others: no rates, no clocks."""
    return [name for name in names if name not in NOT_COMPARED and not name.endswith(("_lr", "_seconds"))]


def chosen(runs: Sequence[Found], asked: Sequence[str]) -> list[str]:
    """Return the names that were asked for, or those that are compared.

    Raises:
        FitError: no run has a value of this name.
    """
    names = names_of(runs)
    for name in asked:
        if name not in names:
            raise FitError(f"no run has a value {name!r} (there are: {listed(names)}){did_you_mean(name, names)}")
    return list(asked) or compared(names)


def by_value(runs: Sequence[Found], name: str, mode: Mode) -> list[Found]:
    """Return runs by a value, the best first; those without come last.

    Raises:
        FitError: nobody knows which direction is better, or runs disagree.
    """
    found: Mapping[int, Extremes | None] = {id(run): extremes(run, name, mode) for run in runs}
    known = {each.more_is_better for each in found.values() if each is not None}
    if len(known) != 1 or None in known:
        raise FitError(f"it is not known of every run whether more of {name!r} is better; say so: --mode min or --mode max")
    sign = -1 if known.pop() else 1

    def place(run: Found) -> tuple[bool, float]:
        each = found[id(run)]
        value = math.nan if each is None or each.best is None else sign * each.best.value
        return math.isnan(value), 0.0 if math.isnan(value) else value

    return sorted(runs, key=place)

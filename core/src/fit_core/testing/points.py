"""The safe points of a run, and what was found at each. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fit_core.errors import FitError


@dataclass(frozen=True)
class Point:
    """A safe point of a run, and what was found there.

    Attributes:
        epoch: where it is.
        batch: likewise.
        step: likewise.
        stage: likewise: "train", "evaluate" or "ended".
        interrupted: whether the run was asked to end here.
        leaves: what a checkpoint would hold, by kind and path: digests, and small values as they are.
        outside: likewise what lies in attributes, closures and globals, whether or not something saves it.
    """

    epoch: int
    batch: int
    step: int
    stage: str
    interrupted: bool
    leaves: Mapping[str, Mapping[str, str]]
    outside: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> tuple[int, int, int, str]:
        """Where it is, to be compared."""
        return (self.epoch, self.batch, self.step, self.stage)

    def __str__(self) -> str:
        return f"after epoch {self.epoch}" if self.stage == "ended" else f"in epoch {self.epoch}, batch {self.batch}"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def usual_numbers(points: Sequence[Point]) -> dict[str, int]:
    """Return the numbers of those safe points of a run that say most when it is interrupted there.

    Returns:
        `early`: after the first batch; `midst`: in the midst of the last epoch; `last batch`: of the first epoch; `after`: after the
        first epoch, if another one follows.
    """
    possible = possible_numbers(points)
    first, last = ([i for i in possible if points[i].stage == "train" and points[i].epoch == points[at].epoch] for at in (0, -1))
    found = {"early": first[0], "midst": last[len(last) // 2], "last batch": first[-1]}
    after = next((i for i in possible if points[i].stage == "ended" and i + 1 < len(points)), None)
    return found if after is None else {**found, "after": after}


def possible_numbers(points: Sequence[Point]) -> list[int]:
    """Return the numbers of the safe points at which a run can be interrupted: not after a window that was dropped."""
    return [i for i, point in enumerate(points) if not i or point.stage == "ended" or point.place != points[i - 1].place]


def number_of_step(points: Sequence[Point], step: int) -> int:
    """Return the number of the first safe point after a step.

    Raises:
        FitError: there is none.
    """
    found = next((i for i in possible_numbers(points) if points[i].step >= step), None)
    if found is None:
        raise FitError(f"the run cannot be interrupted at step {step}: it has {points[-1].step} steps; choose an earlier one")
    return found

"""What was asked for while a run is going on, by whom it matters not, but why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fit_core.optimizers import Update

Kind = Literal["stop", "end_epoch", "skip_batch", "skip_step"]


@dataclass(slots=True)
class Asked:
    """A request to the loop: what, why, where it was first made, and how often.

    Attributes:
        kind: "stop", "end_epoch", "skip_batch" or "skip_step".
        reason: what the caller said.
        where: the place of the first one.
        count: how often it was made for this reason.
    """

    kind: Kind
    reason: str
    where: str
    count: int = 0


@dataclass(slots=True)
class Control:
    """Requests to the loop, and what the core checks about a step.

    Attributes:
        asked: every request so far, by kind and reason.
        end_epoch: whether the training pass ends with this batch.
        skip_step: whether the next step is skipped.
        updates_run: how many updates ran on this batch.
        came_to_step: whether the update at work called `maybe_step`.
    """

    asked: dict[tuple[Kind, str], Asked] = field(default_factory=dict)
    end_epoch: bool = False
    skip_step: bool = False
    updates_run: int = 0
    came_to_step: bool = False

    def end_batch(self, updates: Iterable[Update]) -> None:
        """Drop a request to skip a step if there is no gradient left that it could be about."""
        if self.skip_step and not any(update.window.batches for update in updates):
            self.skip_step = False

    def note(self, kind: Kind, reason: str, where: str) -> None:
        """Remember a request."""
        self.asked.setdefault((kind, reason), Asked(kind, reason, where)).count += 1

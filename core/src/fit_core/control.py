"""What was asked for while a run is going on, by whom it matters not, but why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from fit_core.updates import Update

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
        skip_step: whether every window that this batch enters is thrown away.
        updates_run: how many updates ran on this batch.
        came_to_step: whether the update at work called `maybe_step`.
        losses: of the updates that ran on this batch, by their name in the row.
    """

    asked: dict[tuple[Kind, str], Asked] = field(default_factory=dict)
    end_epoch: bool = False
    skip_step: bool = False
    updates_run: int = 0
    came_to_step: bool = False
    losses: dict[str, Tensor] = field(default_factory=dict)

    def end_batch(self, updates: Iterable[Update]) -> None:
        """Forget what was about this batch, and requests to skip a step of which no gradient is left."""
        self.skip_step = False
        self.losses.clear()
        for update in updates:
            if update.window.skip and not update.window.batches:
                update.window.skip = False

    def note(self, kind: Kind, reason: str, where: str) -> None:
        """Remember a request."""
        self.asked.setdefault((kind, reason), Asked(kind, reason, where)).count += 1

"""A scheduler that the user made of an optimizer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch.optim import lr_scheduler


class Stepped:
    """A ready scheduler of torch: it is stepped, and sets its optimizer's rates itself.

    Args:
        scheduler: ready.
    """

    def __init__(self, scheduler: lr_scheduler.LRScheduler) -> None:
        self.scheduler = scheduler
        self.steps = 0
        self.began = copy.deepcopy(scheduler.state_dict())

    def go_to(self, count: int, step: int) -> None:
        """Step as often as it takes.

        Args:
            count: of what it counts: steps or epochs.
            step: of the run; it counts for warm-ups alone.
        """
        del step
        while self.steps < count:
            self.scheduler.step()
            self.steps += 1

    def undo(self) -> None:
        """Put the scheduler back to where it was at the beginning."""
        self.scheduler.load_state_dict(copy.deepcopy(self.began))

    def state_dict(self) -> dict[str, Any]:
        """Return where it is."""
        return {"steps": self.steps, "scheduler": copy.deepcopy(self.scheduler.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another one was; rates stay as they are."""
        self.steps = state["steps"]
        self.scheduler.load_state_dict(copy.deepcopy(state["scheduler"]))

"""What was asked for while a run is going on."""

from dataclasses import dataclass


@dataclass(slots=True)
class Control:
    """Requests to the loop, and what the core checks about a step.

    Attributes:
        stop_reason: why to stop as soon as this batch or epoch is done; None to go on.
        updates_run: how many updates ran on this batch.
        came_to_step: whether the update at work called `maybe_step`.
    """

    stop_reason: str | None = None
    updates_run: int = 0
    came_to_step: bool = False

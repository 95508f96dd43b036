"""Stopping when a target is reached, or when time is up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from fit_core import Every, FitError, State, hookimpl
from fit_core.metric_list import higher_is_better
from fit_core.text import number
from fit_schedulers.watched import watched

if TYPE_CHECKING:
    from fit_core import Trainer


class StopAt:
    """Stops the run when a value of the row reaches a target.

    Args:
        monitor: the name of a value in the row.
        target: the value that is enough.
        mode: "min" or "max" is better; "auto" asks the metric, and takes losses as better when they are lower.
    """

    name = "stop-at"

    def __init__(self, monitor: str, target: float, mode: Literal["auto", "min", "max"] = "auto") -> None:
        self.monitor, self.target, self.mode = monitor, target, mode
        self._more = False

    @hookimpl
    def on_fit_start(self, trainer: Trainer) -> None:
        self._more = higher_is_better("stop-at", self.monitor, self.mode, trainer.metrics)

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State, row: Mapping[str, float]) -> None:
        value = watched("stop-at", self.monitor, row, state)
        if value is not None and (value >= self.target if self._more else value <= self.target):
            trainer.stop(f"{self.monitor} is {number(self.monitor, value)}, and the target was {number(self.monitor, self.target)}")


class StopAfter:
    """Stops the run when it has taken some time, over all parts of a run that was interrupted. The epoch at work is not finished.

    `fit train --max-time` interrupts a run instead, so that it can go on.

    Args:
        time: such as "30 minutes" or "2 h".

    Raises:
        FitError: it is no time.
    """

    name = "stop-after"

    def __init__(self, time: Every | str) -> None:
        self.time = Every(time) if isinstance(time, str) else time
        if not self.time.timed:
            raise FitError(f"stop-after needs a time, such as '2 h' or '30 minutes', not '{time}'")
        self._spent = self._began = 0.0

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        self._began = time.perf_counter()
        if not state.resumed:
            self._spent = 0.0

    @hookimpl
    def on_batch_end(self, trainer: Trainer) -> None:
        if self._taken() >= self.time.length:
            trainer.stop(f"{self.time} are over")

    @hookimpl
    def on_fit_end(self) -> None:
        self._spent, self._began = self._taken(), 0.0

    def _taken(self) -> float:
        return self._spent + (time.perf_counter() - self._began if self._began else 0.0)

    def state_dict(self) -> dict[str, float]:
        """Return how many seconds the run has taken."""
        return {"seconds": self._taken()}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take up what `state_dict` returned."""
        self._spent, self._began = state["seconds"], 0.0

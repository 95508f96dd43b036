"""An exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch.optim.swa_utils import get_ema_multi_avg_fn

from fit_core import FitError, State, hookimpl
from fit_optim.averages import Averaging
from fit_optim.averaging import warmed_up

if TYPE_CHECKING:
    from fit_core import Trainer


class EMA(Averaging):
    """Keeps an exponential moving average of the weights, taken after every step (of the first update, if there are several).

    Validation, test, predictions and weights-only files use it; the model that is trained is never touched.

    Args:
        decay: how much of the average stays at every step.
        warmup: let the decay rise to this: after t steps it is (1 + t) / (10 + t) at most.
        buffers: average buffers (statistics of batch norm) too, instead of copying them.
        use: evaluate, predict and export with the average; otherwise it is only kept, as the plugin's `averaged`.

    Raises:
        FitError: decay is out of range, or another average is used too.
    """

    name = "ema"

    def __init__(self, decay: float = 0.999, warmup: bool = True, buffers: bool = True, use: bool = True) -> None:
        if not 0 <= decay < 1:
            raise FitError(f"decay must be from 0 to below 1, not {decay}")
        super().__init__(self._approach, buffers, use)
        self.decay = decay
        self.warmup = warmup
        self._count = 0

    @hookimpl
    def on_step_end(self, trainer: Trainer, state: State) -> None:
        if state.update is next(iter(state.updates.values())):
            self.take_in(trainer)
            self._count += 1

    def _approach(self, averaged: Any, current: Any, count: Any) -> None:
        decay = warmed_up(self.decay, self._count - 1) if self.warmup else self.decay  # the first one was copied
        get_ema_multi_avg_fn(decay)(averaged, current, count)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and how many are in."""
        return {"average": super().state_dict(), "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        super().load_state_dict(state["average"])
        self._count = state["count"]

"""How often a producer of pictures looks: one rule for batches, epochs and passes."""

from __future__ import annotations

import math
import time

from fit_core import Every, State


class Schedule:
    """When something is looked at: when 0, n, 2n, ... units are finished, so that the first batch is always looked at.

    At the ends of epochs and of validation passes, "2 epochs" means epochs 2, 4, 6. A resumed run looks when the uninterrupted one would.

    Args:
        every: an interval, such as "100 steps" or "1 epoch".

    Raises:
        FitError: it is none.
    """

    def __init__(self, every: str | Every) -> None:
        self.every = Every(every)
        self._next = 0.0
        self._began = time.monotonic()
        self._at: tuple[int, ...] | None = None

    def begin(self, state: State) -> None:
        """Begin, when a call of `fit` does."""
        self._began = time.monotonic()
        finished = 0.0 if self.every.timed else self._finished(state, between=True)
        self._next = math.ceil(finished / self.every.length) * self.every.length

    def batch(self, state: State) -> bool:
        """Whether the training batch that begins is one to look at; then the next one is an interval away."""
        return self._due(self._finished(state, between=False))

    def end(self, state: State) -> bool:
        """Whether the epoch or pass that ends (or the pass that begins) is one to look at.

        Several validation sets at one moment are alike. What is no part of training, such as `trainer.evaluate`, is always looked at.
        """
        if state.phase not in ("train", "validate"):
            return True
        if self.every.unit == "epoch":
            return state.epoch % self.every.length == 0
        moment = (state.epoch, state.batch_count, state.step)
        if moment != self._at and self._due(self._finished(state, between=True)):
            self._at = moment
        return moment == self._at

    def _due(self, finished: float) -> bool:
        if finished < self._next:
            return False
        self._next = (finished // self.every.length + 1) * self.every.length
        return True

    def _finished(self, state: State, between: bool) -> float:
        """Return how many units are finished; the batch and the epoch at work are not, unless the state is between them."""
        if self.every.timed:
            return time.monotonic() - self._began
        if self.every.unit == "step":
            return state.step
        return (state.epoch if self.every.unit == "epoch" else state.batch_count) - (not between)

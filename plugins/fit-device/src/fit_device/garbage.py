"""Garbage collection, kept out of the step."""

from __future__ import annotations

import gc

from fit_core import Every, State, hookimpl
from fit_core.cadence import Due
from fit_device.collector import COLLECTOR, EVERYTHING, YOUNG

EVALUATED = 10
"""After how many batches of an evaluation it is collected: they have no safe points."""


class GarbageCollection:
    """Switches Python's cyclic garbage collector off while `fit` runs, and collects between batches instead.

    What is alive when `fit` begins, such as a large data set, is left out of collections until it ends; then everything is put back. Every
    so often what is new is looked at, after an epoch also what has stayed since `fit` began. Of use where many Python objects are alive or
    are kept: a step never waits for a collection. It takes a full collection when `fit` begins.

    Args:
        every: how often, such as "10 steps" or "30 seconds". Cycles that hold tensors keep their memory until then.
    """

    name = "gc"
    passive = True

    def __init__(self, every: str | Every = "10 steps") -> None:
        self.every = Every(every)
        self._due: Due | None = None

    @hookimpl(trylast=True)  # what other plugins make is there
    def on_fit_start(self, state: State) -> None:
        COLLECTOR.hold()
        self._due = Due(self.every, state)

    @hookimpl
    def on_safe_point(self, state: State) -> None:
        assert self._due is not None
        if state.position == "epoch":
            gc.collect(EVERYTHING)
        elif self._due.after_batch(state):
            gc.collect(YOUNG)
            self._due.advance(state)

    @hookimpl
    def on_eval_batch_end(self, state: State) -> None:
        if self._due is not None and state.batch % EVALUATED == 0:
            gc.collect(YOUNG)

    @hookimpl
    def on_fit_end(self) -> None:
        if self._due is not None:  # it had begun
            self._due = None
            COLLECTOR.release()

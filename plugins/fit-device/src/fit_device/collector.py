"""Python's cyclic garbage collector: off while someone holds it, and put back when nobody does.

It belongs to the process, and so does the note of who holds it.
"""

from __future__ import annotations

import gc
import os

YOUNG, EVERYTHING = 1, 2
"""Generations: what was made since the last collection, which is cheap whatever else there is; and all that is not frozen."""


class Collector:
    """The collector of the process.

    Attributes:
        held: how often it is held now.
    """

    def __init__(self) -> None:
        self.held = 0
        self._enabled = False

    def hold(self) -> None:
        """Collect, switch the automatic collector off, and leave what is alive now out of later collections.

        It is collected first, since garbage would stay too.
        """
        self.held += 1
        if self.held > 1:
            return
        self._enabled = gc.isenabled()
        gc.collect()
        gc.disable()
        gc.freeze()

    def release(self) -> None:
        """Put everything back as it was, if nobody else holds it. What was frozen before thaws too: Python cannot tell it apart."""
        self.held -= 1
        if self.held:
            return
        gc.unfreeze()
        if self._enabled:
            gc.enable()

    def work_on(self) -> None:
        """Let it work in a process that was forked meanwhile, such as a loader's worker, which nobody tells when to collect."""
        if self.held and self._enabled:
            gc.enable()


COLLECTOR = Collector()
"""The one there is."""

if hasattr(os, "register_at_fork"):  # not on Windows, where nothing is forked
    os.register_at_fork(after_in_child=COLLECTOR.work_on)

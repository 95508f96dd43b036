"""Every call of a hook on a line: who acted, and what of the state they changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fit_core.batch import describe
from fit_core.plan import DEFAULTS
from fit_core.traced.around import Watcher

if TYPE_CHECKING:
    from fit_core.state import State

WATCHED = ("inputs", "targets", "outputs", "loss", "weight", "model")
"""Attributes of the state whose changes are told."""


class Calls(Watcher):
    """Writes a line for each call, in the first batches of every pass, and outside of batches.

    Args:
        write: takes a line.
        batches: how many batches of each pass are told.
    """

    def __init__(self, write: Callable[[str], None], batches: int = 1) -> None:
        self.write, self.batches = write, batches
        self._state: State | None = None
        self._lines: list[str] = []
        self._depth = 0

    @contextmanager
    def around(self, hook: str, plugin: str | None, arguments: tuple[Any, ...]) -> Iterator[list[Any] | None]:
        """Tell of a call; those within are told after it, further to the right."""
        if plugin is None:
            before, self._state = self._state, arguments[1]
            try:
                yield None
            finally:
                self._state = before
        elif self._state is None or self._state.batch > self.batches:
            yield None
        else:
            with self._told(self._state, hook, plugin) as results:
                yield results

    @contextmanager
    def _told(self, state: State, hook: str, plugin: str) -> Iterator[list[Any]]:
        place, results = len(self._lines), list[Any]()
        self._lines.append("")
        held, stored, began = {name: getattr(state, name) for name in WATCHED}, set(state._store), time.perf_counter()
        where = f"{state.phase} {state.epoch}.{state.batch}"
        indent = "  " * self._depth
        self._depth += 1
        try:
            yield results
        finally:
            self._depth -= 1
            took = (time.perf_counter() - began) * 1e6
            changes = [f"-> {describe(result)}" for result in results if result is not None and result is not True]
            changes += [f"{name} = {describe(getattr(state, name))}" for name in WATCHED if getattr(state, name) is not held[name]]
            changes += [f"{key.name} = {describe(value)}" for key, value in state._store.items() if key not in stored]
            who = "the core" if plugin == DEFAULTS else plugin
            self._lines[place] = f"{where:14}{indent + hook:24} {who:20}{took:9.0f} us  {', '.join(changes)}".rstrip()
            if not self._depth:
                for line in self._lines:
                    self.write(line)
                self._lines.clear()

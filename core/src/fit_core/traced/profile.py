"""Where the time of a run goes: by plugin and hook, with calls and waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fit_core.plan import DEFAULTS
from fit_core.traced.around import Watcher
from fit_core.traced.waits import Waits, of_training

WARM_UP = 5
"""Training batches at the beginning in which waits are counted, and no times are taken: looking for waits takes time itself."""
DATA = ("data", "waiting for batches")
CORE = ("the core", "between hooks")


@dataclass
class Spent:
    """What a plugin did in a hook.

    Attributes:
        calls: how often it was called, in measured batches or outside of batches.
        seconds: how long it took, without what was called in between.
        in_batches: how much of that was in training batches.
        waits: for the device, in the batches in which they were counted.
    """

    calls: int = 0
    seconds: float = 0.0
    in_batches: float = 0.0
    waits: int = 0


@dataclass
class Frame:
    """A call that is going on.

    Attributes:
        key: plugin and hook.
        began: when.
        within: how long what was called in between took.
    """

    key: tuple[str, str]
    began: float
    within: float = 0.0


class Profile(Watcher):
    """Measures every call of every implementation, on the host.

    Attributes:
        spent: by plugin and hook.
        batches: how many training batches were measured.
        batch_seconds: how long they took, with the wait for their data.
        counted: in how many batches waits were counted.
    """

    def __init__(self) -> None:
        self.spent: dict[tuple[str, str], Spent] = {}
        self.batches = self.counted = 0
        self.batch_seconds = 0.0
        self._stack: list[Frame] = []
        self._began: float | None = None
        self._waits: Waits | None = None

    @contextmanager
    def around(self, hook: str, plugin: str | None, arguments: tuple[Any, ...]) -> Iterator[None]:
        """Measure a call."""
        if plugin is None:
            with self._hook(hook, arguments):
                yield
        else:
            with self.measured((CORE[0] if plugin == DEFAULTS else plugin, hook)):
                yield

    def result(self, hook: str, result: Any) -> Any:
        """Measure the wait for data too."""
        return Measured(result, self) if hook == "iter_batches" else result

    @contextmanager
    def measured(self, key: tuple[str, str]) -> Iterator[None]:
        """Measure what happens in the block, without what is measured within."""
        frame = Frame(key, time.perf_counter())
        self._stack.append(frame)
        try:
            yield
        finally:
            took = time.perf_counter() - frame.began
            self._stack.pop()
            if self._stack:
                self._stack[-1].within += took
            self._enter(key, took - frame.within)

    @contextmanager
    def _hook(self, hook: str, arguments: tuple[Any, ...]) -> Iterator[None]:
        """Follow the run: a batch begins with the wait for its data, and ends with `on_safe_point`."""
        if hook == "prepare_batch" and of_training(arguments) and self._began is None:
            self._begin_batch()
        try:
            yield
        finally:
            if hook == "on_safe_point":
                self._end_batch()
            elif hook in ("on_exception", "on_fit_end"):
                self._stop_counting()

    def _begin_batch(self) -> None:
        self._began = time.perf_counter()
        if self.counted < WARM_UP:
            self.counted += 1
            self._waits = Waits(self._waited)
            self._waits.begin()

    def _end_batch(self) -> None:
        if self._began is not None and self._waits is None:
            self.batches += 1
            self.batch_seconds += time.perf_counter() - self._began
        self._stop_counting()
        self._began = None

    def _stop_counting(self) -> None:
        if self._waits is not None:
            self._waits.end()
            self._waits = None

    def _waited(self, operation: str) -> None:
        del operation
        self._of(self._stack[-1].key if self._stack else CORE).waits += 1

    def _enter(self, key: tuple[str, str], seconds: float) -> None:
        spent = self._of(key)
        if self._waits is not None or (key == DATA and self.counted < WARM_UP):
            return
        spent.calls += 1
        spent.seconds += seconds
        if self._began is not None:
            spent.in_batches += seconds
        elif key == DATA:
            spent.in_batches += seconds
            self.batch_seconds += seconds

    def _of(self, key: tuple[str, str]) -> Spent:
        return self.spent.setdefault(key, Spent())

    def rows(self) -> list[dict[str, Any]]:
        """Return what was measured, the longest in batches first, then outside of them.

        Each row has `plugin`, `hook`, `calls`, `seconds`, `share` (of training batches), `per_batch` (microseconds) and `waits`
        (per training batch).
        """
        spent = dict(self.spent)
        within = sum(each.in_batches for each in spent.values())
        core = spent.get(CORE, Spent())
        spent[CORE] = Spent(self.batches, self.batch_seconds - within, max(self.batch_seconds - within, 0.0), core.waits)
        found = [
            {
                "plugin": plugin,
                "hook": hook,
                "calls": each.calls,
                "seconds": each.seconds,
                "share": each.in_batches / self.batch_seconds if self.batch_seconds else 0.0,
                "per_batch": each.in_batches / self.batches * 1e6 if self.batches else 0.0,
                "waits": each.waits / self.counted if self.counted else 0.0,
            }
            for (plugin, hook), each in spent.items()
        ]
        return sorted(found, key=lambda row: (-row["share"], -row["seconds"]))

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for a file."""
        return {"batches": self.batches, "seconds": self.batch_seconds, "waits_counted_in": self.counted, "hooks": self.rows()}


class Measured:
    """An iterator whose waits are measured.

    Args:
        iterator: over batches.
        profile: to measure by.
    """

    def __init__(self, iterator: Iterator[Any], profile: Profile) -> None:
        self.iterator, self.profile = iterator, profile

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self.profile.measured(DATA):
            return next(self.iterator)


def as_text(profile: Profile) -> str:
    """Format a profile as a table."""
    if not profile.batches:
        return f"--profile: nothing was measured: the first {WARM_UP} batches are for counting waits; train for longer"
    rows = [row for row in profile.rows() if row["calls"] or row["waits"]]
    lines = [
        f"{profile.batches} training batches of {profile.batch_seconds / profile.batches * 1e3:.3g} ms, on the host; "
        f"waits for the device counted in the first {profile.counted}",
        f"{'plugin':22}{'hook':24}{'share':>8}{'us/batch':>11}{'waits':>8}{'calls':>9}{'in all':>11}",
    ]
    for row in rows:
        share = f"{row['share']:.1%}" if row["share"] else ""
        each = f"{row['per_batch']:.1f}" if row["share"] else ""
        waits = f"{row['waits']:.2g}" if row["waits"] else ""
        lines.append(f"{row['plugin']:22}{row['hook']:24}{share:>8}{each:>11}{waits:>8}{row['calls']:>9}{row['seconds'] * 1e3:>8.1f} ms")
    return "\n".join(lines)

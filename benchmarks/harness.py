"""Ratios to a plain loop, measured pair by pair in one run, so that a busy machine slows both."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

torch.set_num_threads(1)


def ratio(ours: Callable[[], float], plain: Callable[[], float], pairs: int = 15) -> float:
    """Return the median of `ours() / plain()` over so many pairs.

    Args:
        ours: runs and returns its seconds.
        plain: likewise, what it is compared with.
        pairs: how often; a pair runs one right after the other, in turns first.
    """
    ours()
    plain()
    found = []
    for i in range(pairs):
        first, second = (ours, plain) if i % 2 else (plain, ours)
        seconds = {first: first(), second: second()}
        found.append(seconds[ours] / seconds[plain])
    return statistics.median(found)


def interleaved(runs: list[Callable[[], float]], rounds: int = 7) -> list[float]:
    """Return the median seconds of each run; they take turns, after one round that does not count."""
    found = [[run() for run in runs] for _ in range(rounds + 1)][1:]
    return [statistics.median(seconds) for seconds in zip(*found, strict=True)]


def table(rows: dict[str, float]) -> str:
    """Format ratios for people."""
    width = max(map(len, rows))
    return "\n".join(f"{name:{width}}  {value:5.2f}" for name, value in rows.items())

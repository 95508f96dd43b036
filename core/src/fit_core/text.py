"""Numbers as people read them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fit_core.state import State

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


def number(name: str, value: float) -> str:
    """Format a value of a row: four digits that count, seconds with a unit."""
    if name == "seconds" or name.endswith("_seconds"):
        if value < 1:
            return f"{value * 1000:.{int(value < 0.01)}f}ms"
        return f"{value:.1f}s" if value < 600 else f"{value / 60:.1f}min"
    if isinstance(value, int):
        return str(value)
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5) and math.isfinite(value):
        return f"{value:.2e}"
    return f"{value:.4f}"


def ending(trainer: Trainer, state: State) -> list[str]:
    """Say in lines what was asked for in a run and why: skips, ended epochs, a stop."""
    lines = [f"{a.kind} {a.count} times, first {a.where}: {a.reason}" for a in trainer.requests if a.kind != "stop"]
    if state.stop_reason is not None:
        measured = "  ".join(f"{name} {number(name, value)}" for name, value in (trainer.unfinished or {}).items())
        lines.append(f"stopped {state.where()}: {state.stop_reason}" + (f" (so far: {measured})" if measured else ""))
    return lines


def epoch_of(state: State) -> str:
    """Format the epoch as `3/10`, or `3` if the end is open."""
    return str(state.epoch) if math.isinf(state.epochs) else f"{state.epoch}/{int(state.epochs)}"

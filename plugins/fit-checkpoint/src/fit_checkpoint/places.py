"""Where a run is, and what it may have left there before it was killed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fit_checkpoint.naming import numbered
from fit_core import FitError, State
from fit_core.checkpoint import Checkpoint, find_checkpoint

if TYPE_CHECKING:
    from fit_core import Trainer


def place_of(state: State) -> list[Any]:
    """Return what tells the places apart at which something can be saved."""
    return [state.batch_count, state.step, state.position]


def row_of(trainer: Trainer, state: State) -> Mapping[str, float]:
    """Return the row of the epoch at whose end a resumed run is; an empty one elsewhere."""
    ended = bool(trainer.history) and trainer.history[-1]["epoch"] == state.epoch
    return trainer.history[-1] if ended else {}


def is_over(state: State) -> bool:
    """Tell whether this is the last safe point of the run, as far as can be told."""
    if state.stop_reason is not None or state.position == "batch":
        return state.stop_reason is not None
    return state.epoch >= state.epochs or (state.steps_total is not None and state.step >= state.steps_total)


def goes_on_here(trainer: Trainer, state: State) -> bool:
    """Tell whether the run was resumed from a checkpoint of its own folder."""
    return state.resumed and trainer.checkpoints.resumed_from is not None


def lost_here(folder: Path, wanted: str, known: Collection[str], state: State) -> str | None:
    """Return the name of weights of this very place that nobody knows of: the run was killed later, and resumed further back.

    Args:
        folder: of the run's checkpoints.
        wanted: what weights of this place are called, but for a number.
        known: names that are somebody's.
        state: of the run.
    """
    for path in numbered(folder, wanted):
        found = None if path.name in known else _read(path)
        if found is not None and not found.full and (found.manifest["epoch"], found.manifest["step"]) == (state.epoch, state.step):
            return path.name
    return None


def _read(folder: Path) -> Checkpoint | None:
    try:
        return find_checkpoint(folder)
    except FitError:  # damaged, or no checkpoint at all
        return None

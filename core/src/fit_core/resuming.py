"""Going on with a run: which checkpoint, whether it fits, and how a trainer takes it up."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fit_core import weights
from fit_core.capture import capture, differences, facts, restore
from fit_core.checkpoint import FOLDER, Checkpoint, find_checkpoint, latest, newest_first, remove_drafts
from fit_core.ending import ending
from fit_core.errors import FitError
from fit_core.meter import Meter
from fit_core.saving import paired

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

AUTO = "auto"


def find(trainer: Trainer, resume: str | Path) -> Checkpoint | None:
    """Return the checkpoint to go on from; None for "auto" where nothing was saved yet.

    Args:
        trainer: whose run folder "auto" looks into.
        resume: "auto", or a path as for `find_checkpoint`.

    Raises:
        FitError: there is none at the path, or "auto" has no run folder to look into.
        TrainingError: there were some, and none is whole.
    """
    if resume != AUTO:
        return find_checkpoint(Path(resume), full=True)
    if trainer.run_dir is None:
        raise FitError("resume='auto' looks into the run folder: pass Trainer(run_dir=...)")
    folder = trainer.run_dir / FOLDER
    return latest(folder, full=True) if newest_first(folder) else None


def take_up(trainer: Trainer, checkpoint: Checkpoint, batches: int | None, allow_changes: bool) -> Mapping[str, Any]:
    """Bring a trainer to where a checkpoint was saved, and return the call of `fit` that was going on.

    Args:
        trainer: as it was built.
        checkpoint: verified.
        batches: of a training pass now; None if unknown.
        allow_changes: go on even if something differs.

    Raises:
        FitError: something differs; the message lists it.
    """
    checkpoint.warn_of_skipped()
    state = checkpoint.state()
    if state["call"] is None:
        raise FitError(f"{checkpoint.folder} was saved before any fit began, so there is nothing to go on with; use trainer.load")
    make_ready(trainer)
    changed = differences(checkpoint.manifest["facts"], facts(trainer, batches))
    if changed and not allow_changes:
        raise FitError(f"{checkpoint.folder} was made otherwise: {'; '.join(changed)}. Go on with allow_changes=True (--allow-changes)")
    _load(trainer, checkpoint, state)
    own = trainer.run_dir is not None and checkpoint.folder.parent.resolve() == (trainer.run_dir / FOLDER).resolve()
    trainer.checkpoints.resumed_from = checkpoint.folder.name if own else None
    if own:
        remove_drafts(checkpoint.folder.parent)
    call: Mapping[str, Any] = state["call"]
    return call


def load(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Give a trainer the whole state of a checkpoint."""
    checkpoint.warn_of_skipped()
    state = checkpoint.state()
    make_ready(trainer)
    _load(trainer, checkpoint, state)


def _load(trainer: Trainer, checkpoint: Checkpoint, state: Mapping[str, Any]) -> None:
    found = paired(trainer, checkpoint)
    for file, (module, tensors) in found.items():
        weights.check_fits(module, tensors, f"the {file}")
    restore(trainer, state)
    for file, (module, tensors) in found.items():
        weights.put(module, tensors, {}, f"the {file}")


def state_dict(trainer: Trainer) -> dict[str, Any]:
    """Return a copy of everything that a checkpoint holds, in memory."""
    make_savable(trainer)
    modules = {name: module.state_dict() for name, module in trainer.named_modules().items()}
    return copy.deepcopy({"modules": {name: dict(tensors) for name, tensors in modules.items()}, **capture(trainer)})


def load_state_dict(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Give a trainer what `state_dict` returned.

    Raises:
        FitError: it was of another model, or of other updates.
    """
    if "modules" not in state:
        raise FitError("this is no state that trainer.state_dict() returned; weights alone go into trainer.model.load_state_dict")
    make_ready(trainer)
    state = copy.deepcopy(dict(state))
    for name, module in trainer.named_modules().items():
        if name not in state["modules"]:
            raise FitError(f"the state has no tensors of the {name}")
        weights.check_fits(module, state["modules"][name], f"the {name}")
    restore(trainer, state)
    for name, module in trainer.named_modules().items():
        weights.put(module, state["modules"][name], {}, f"the {name}")


def make_savable(trainer: Trainer) -> None:
    """Make the optimizers, unless a `fit` did: what is saved before the first one is all that a trainer has."""
    if not trainer._passes and not trainer.updates and trainer.optimizer is not None:
        make_ready(trainer)


def make_ready(trainer: Trainer, updates: bool = True) -> None:
    """Set plugins up and make the optimizers, as `fit` does before it starts; without `updates` as `evaluate` does."""
    if trainer._passes:
        raise FitError("a state cannot be loaded from a hook: the run that is going on would lose its place")
    meter = Meter(())
    state = trainer._new_state(trainer._progress, meter)
    with trainer._entered(state, meter), ending(trainer, state, fit=False):
        trainer._prepare(state)
        if updates and trainer.optimizer is not None:
            trainer._build_updates(state, meter)

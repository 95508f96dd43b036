"""What a checkpoint of a trainer holds, and the plugin that keeps the last one under `fit train`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from fit_core import weights
from fit_core.checkpoint import FOLDER, Checkpoint, point, write_checkpoint
from fit_core.errors import FitError
from fit_core.hookspecs import hookimpl
from fit_core.state import State

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


class SaveLast:
    """Keeps one checkpoint, `last`, at the end of each epoch and when a run stops.

    Args:
        run: how the run was started, for `fit evaluate` and `fit predict`.
    """

    name = "save-last"

    def __init__(self, run: Mapping[str, Any]) -> None:
        self.run = run
        self._last: Path | None = None

    @hookimpl
    def on_fit_start(self, trainer: Trainer) -> None:
        for file, module in saved_modules(trainer).items():  # not after the first epoch
            try:
                weights.checked(module, f"the {file}", lazy=True)
            except FitError as error:
                raise FitError(f"{error}; or train with --no-save") from None

    @hookimpl(trylast=True)
    def on_safe_point(self, trainer: Trainer, state: State) -> None:
        if state.position == "epoch" or state.stop_reason is not None:
            folder = save_weights(trainer, trainer.ensure_run_dir() / FOLDER, state, self.run)
            point(folder.parent, "last", folder.name)
            if self._last not in (None, folder):
                shutil.rmtree(self._last)
            self._last = folder


def save_weights(trainer: Trainer, parent: Path, state: State, run: Mapping[str, Any]) -> Path:
    """Write the weights of the model, and of a loss with parameters, as a checkpoint named by the step."""
    files, aliases = {}, {}
    for file, module in saved_modules(trainer).items():
        files[file], aliases[file] = weights.take(module, f"the {file}")
    notes = {"step": state.step, "epoch": state.epoch, "aliases": aliases, "run": run}
    return write_checkpoint(parent, f"step-{state.step:08}", files, notes)


def load_weights(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Copy the weights of a checkpoint into the model, and into a loss with parameters.

    Raises:
        FitError: they don't fit.
    """
    for file, module in saved_modules(trainer).items():
        if file not in checkpoint.manifest["aliases"]:
            raise FitError(f"{checkpoint.folder} has no weights of the {file}; build the trainer with the options it was trained with")
        weights.put(module, checkpoint.tensors(file), checkpoint.manifest["aliases"][file], f"the {file}")


def saved_modules(trainer: Trainer) -> dict[str, nn.Module]:
    """Return what has weights, by the file that holds them."""
    return {"model": trainer.model, **{name: loss for name, loss in trainer.losses().items() if loss.state_dict()}}

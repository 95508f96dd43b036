"""What a checkpoint of a trainer holds, the checkpoints of a run, and the plugin that keeps the last one under `fit train`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fit_core import weights
from fit_core.capture import PARTS, capture, facts
from fit_core.checkpoint import FOLDER, Checkpoint, WriteError, find_checkpoint, point, remove, write_checkpoint
from fit_core.codec import Encoder
from fit_core.errors import FitError
from fit_core.hookspecs import hookimpl
from fit_core.meter import Meter
from fit_core.position import keeps_its_place, unsure
from fit_core.state import State

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


class Checkpoints:
    """The checkpoints of a run: each written once, whoever asks for it, and removed when nobody holds it any more.

    Args:
        trainer: whose run it is.

    Attributes:
        resumed_from: the checkpoint that the run goes on from, if it is one of its own.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._held: dict[str, set[str]] = {}
        self._written: tuple[tuple[Any, ...], str] = ((), "")
        self.resumed_from: str | None = None

    @property
    def folder(self) -> Path:
        """Where they lie: `checkpoints` in the run folder, which is made if need be.

        Raises:
            WriteError: it cannot be made.
        """
        try:
            return self._trainer.ensure_run_dir() / FOLDER
        except FitError as error:
            raise WriteError(str(error)) from error

    def forget(self) -> None:
        """Forget what was saved where: a run begins, or goes on from elsewhere."""
        self._written = ((), "")

    def name(self, wanted: str | None = None) -> str:
        """Return the name that a checkpoint gets which is saved now: that of one which was saved here already, or a free one.

        Args:
            wanted: None for "step-00001200"; a number is added if there is one of this name.
        """
        if self._is_written():
            return self._written[1]
        return self.free(wanted or f"step-{self._trainer._progress.step:08}")

    def free(self, wanted: str) -> str:
        """Return a name that no checkpoint has: the wanted one, or that with a number."""
        number, name = 1, wanted
        while (self.folder / name).exists():
            number += 1
            name = f"{wanted}-{number}"
        return name

    def save(self, name: str | None = None) -> str:
        """Save the whole state, unless it was saved here already, and return the checkpoint's name.

        Args:
            name: as `name` returned it; None asks it.

        Raises:
            FitError: a batch is at work, or something cannot be saved.
            WriteError: it cannot be written.
        """
        if not self._is_written():
            folder = save(self._trainer, self.folder / (name or self.name()))
            self._written = (self._here(), folder.name)
        return self._written[1]

    def hold(self, owner: str, names: Iterable[str]) -> None:
        """Say which checkpoints a plugin needs. Those that it needed before, and nobody needs now, are removed.

        Args:
            owner: the plugin's name.
            names: of checkpoints.
        """
        before, now = self._held.get(owner, set()), set(names)
        self._held[owner] = now
        for name in before - set().union(*self._held.values()):
            remove(self.folder / name)

    def point(self, pointer: str, name: str) -> None:
        """Let the small file `pointer` ("best", say) name a checkpoint."""
        point(self.folder, pointer, name)

    def _is_written(self) -> bool:
        """Whether a checkpoint was saved here already, and is still there."""
        return self._written[0] == self._here() and (self.folder / self._written[1]).exists()

    def _here(self) -> tuple[Any, ...]:
        progress = self._trainer._progress
        return (progress.epoch, progress.batch, progress.batch_count, progress.step, progress.stage, progress.stop_reason)


class SaveLast:
    """Keeps one checkpoint, `last`: when a run begins, at the end of each epoch and when it stops.

    If one cannot be written, the run goes on, and the next one is tried; it is an error if the last one fails.
    """

    name = "save-last"
    passive = True

    def __init__(self) -> None:
        self._held: list[str] = []
        self._failed: WriteError | None = None

    @hookimpl(trylast=True)
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        self._failed = None
        if state.resumed:
            own = trainer.checkpoints.resumed_from
            self._held = [] if own is None else [*self._held, own]  # names in another folder are others
            trainer.checkpoints.hold(self.name, self._held)
            return
        try:
            for file, module in trainer.named_modules().items():
                weights.checked(module, f"the {file}", lazy=True)
            meter = Meter(trainer.metrics)
            meter.begin(state)
            Encoder().encode(meter.state_dict()["metrics"], "metrics")  # which are saved in the midst of an epoch only
            if not any(is_lazy(p) for module in trainer.named_modules().values() for p in module.parameters()):
                self._save(trainer)
        except WriteError:
            raise
        except FitError as error:
            raise FitError(f"{error}; or train with --no-save") from None

    @hookimpl(trylast=True)
    def on_safe_point(self, trainer: Trainer, state: State) -> None:
        if state.position == "epoch" or state.stop_reason is not None:
            try:
                self._save(trainer)
                self._failed = None
            except WriteError as error:
                self._failed = error
                warnings.warn(f"{error}; the run goes on", stacklevel=2)

    @hookimpl
    def on_fit_end(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _save(self, trainer: Trainer) -> None:
        name = trainer.checkpoints.save()
        trainer.checkpoints.point("last", name)
        self._held = [name]
        trainer.checkpoints.hold(self.name, self._held)

    def state_dict(self) -> dict[str, Any]:
        """Return which checkpoints were kept."""
        return {"held": list(self._held)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._held = list(state["held"])


def save(trainer: Trainer, folder: Path, weights_only: bool = False) -> Path:
    """Write a checkpoint of a trainer.

    Args:
        trainer: between two batches, unless only weights are saved.
        folder: of the checkpoint; one that is there is replaced when the new one is complete.
        weights_only: leave all else out; the weights are those that the stage `export_model` chooses.

    Raises:
        FitError: a batch is at work, or something cannot be saved; the message names it.
        WriteError: it cannot be written.
    """
    modules = dict(trainer.named_modules())
    state = trainer.current_state()
    encoded = None
    notes: dict[str, Any] = {
        "step": state.step,
        "epoch": state.epoch,
        "batch": state.batch,
        "batch_count": state.batch_count,
        "run": trainer.run_info,
    }
    if weights_only:
        modules["model"] = trainer.hooks.export_model(trainer, state)
    else:
        weights.check_prepared(trainer.model, state.model)
        warn_if_unsure(trainer)
        trainer._guard.check(wait=True)
        captured = capture(trainer)
        call = captured["call"]
        notes["facts"] = facts(trainer, call and call["batches"])
        notes["call"] = call and {key: call[key] for key in ("position", "length", "origin", "stopped")}
        encoded = encode(captured)
    files, aliases = {}, {}
    for file, module in modules.items():
        files[file], aliases[file] = weights.take(module, f"the {file}")
    return write_checkpoint(folder.parent, folder.name, files, {**notes, "aliases": aliases}, encoded)


def warn_if_unsure(trainer: Trainer) -> None:
    """Say that a run which goes on from the midst of this epoch may see other batches, if so."""
    progress, call = trainer._progress, trainer._call
    if isinstance(call, Mapping) or call is None or progress.stage != "train" or progress.batch in (0, progress.batches):
        return
    reason = unsure(call.batches)
    if reason is None and trainer.hooks.altered("iter_batches") and keeps_its_place(call.batches):
        reason = "a plugin that acts in iter_batches may have read ahead of where the data says it is"
    if reason is not None:
        warnings.warn(f"saved inside an epoch, a resumed run may go on with other batches: {reason}", stacklevel=4)


def encode(captured: Mapping[str, Any]) -> tuple[Any, Encoder]:
    """Return captured state as JSON, and the encoder that holds its tensors; an error names the plugin and the key."""
    encoder = Encoder()
    parts = {part: encoder.encode(captured[part], part) for part in PARTS if part != "plugins"}
    plugins = {
        name: {part: encoder.encode(value, f"plugin {name!r}" if part == "own" else f"{part} of {name!r}") for part, value in own.items()}
        for name, own in captured["plugins"].items()
    }
    return {**parts, "plugins": plugins}, encoder


def load_weights(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Copy the weights of a checkpoint into the model, and into a loss with parameters.

    Raises:
        FitError: they don't fit.
    """
    for file, (module, tensors) in paired(trainer, checkpoint).items():
        weights.put(module, tensors, {}, f"the {file}")


def load_plugins(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Give the plugins of a trainer what they have kept in a checkpoint: nothing if it holds weights alone."""
    kept = checkpoint.state()["plugins"] if checkpoint.full else {}
    for member in trainer.members:
        if member.name in kept:
            member.load_state_dict(kept[member.name])


def paired(trainer: Trainer, checkpoint: Checkpoint) -> dict[str, tuple[nn.Module, dict[str, Tensor]]]:
    """Return each module with its tensors in a checkpoint, tied ones under every name.

    Raises:
        FitError: a module has none there.
    """
    found = {}
    for file, module in trainer.named_modules().items():
        if file not in checkpoint.manifest["aliases"]:
            raise FitError(f"{checkpoint.folder} has no weights of the {file}; build the trainer with the options it was trained with")
        tensors, aliases = checkpoint.tensors(file), checkpoint.manifest["aliases"][file]
        found[file] = (module, {**tensors, **{name: tensors[source] for name, source in aliases.items()}})
    return found


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the model's weights from a checkpoint, a `.safetensors` file, or a state dict that torch has saved.

    Raises:
        FitError: it is none of these.
    """
    if path.is_file() and path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise FitError(f"cannot read {path}: {error}") from error
    if path.is_file() and path.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        plain = f"{path} holds no plain state dict of names and tensors; save one with torch.save(model.state_dict(), path)"
        if not is_zipfile(path):
            raise FitError(plain)
        try:
            read = torch.load(path, map_location="cpu", weights_only=True)
        except (UnpicklingError, RuntimeError) as error:
            raise FitError(plain) from error
        if not isinstance(read, Mapping) or not all(isinstance(value, Tensor) for value in read.values()):
            raise FitError(plain)
        return dict(read)
    checkpoint = find_checkpoint(path)
    checkpoint.warn_of_skipped()
    tensors, aliases = checkpoint.tensors("model"), checkpoint.manifest["aliases"]["model"]
    return {**tensors, **{name: tensors[source] for name, source in aliases.items()}}

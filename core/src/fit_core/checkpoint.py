"""Checkpoints on disk: folders that are whole or not there, and small files that point to them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fit_core.codec import Encoder, decode
from fit_core.errors import FitError, TrainingError
from fit_core.run_folder import is_alive, plain

FORMAT = 1
MANIFEST = "manifest.json"
FOLDER = "checkpoints"
STATE = "state"
LONGEST_POINTER = 256
"""Bytes: a file that is longer is no pointer."""


class Damaged(TrainingError):
    """A checkpoint is not as it was written."""


class WriteError(TrainingError):
    """The disk is at fault; what was there before is whole."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are as they were written.

    Attributes:
        folder: where it lies.
        manifest: what it says about itself.
        skipped: what is wrong with newer ones that were passed over.
    """

    folder: Path
    manifest: Mapping[str, Any]
    skipped: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Whether a run can go on from it; else it holds weights alone."""
        return f"{STATE}.json" in self.manifest["files"]

    def warn_of_skipped(self) -> None:
        """Say which newer ones were passed over, and why."""
        for said in self.skipped:
            warnings.warn(f"skipped: {said}", stacklevel=4)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one of its files, on the CPU, each in memory of its own."""
        return {key: value.clone() for key, value in load_file(self.folder / f"{name}.safetensors").items()}

    def state(self) -> dict[str, Any]:
        """Return the state beside the weights.

        Raises:
            FitError: it holds weights alone.
        """
        if not self.full:
            raise FitError(f"{self.folder} holds weights alone, from which no run can go on; begin one with --weights {self.folder}")
        read: dict[str, Any] = decode(json.loads((self.folder / f"{STATE}.json").read_text()), self.tensors(STATE))
        return read


def write_checkpoint(
    parent: Path,
    name: str,
    tensors: Mapping[str, Mapping[str, Tensor]],
    notes: Mapping[str, Any],
    state: tuple[Any, Encoder] | None = None,
) -> Path:
    """Write a checkpoint beside its final name, sync it, and rename it: a reader sees all of it or nothing.

    Args:
        parent: the folder of all checkpoints of a run; made if it is not there.
        name: of the checkpoint's folder; one that is there already is replaced.
        tensors: by file (without suffix) and name; each its own memory, on the CPU.
        notes: what the manifest says besides sizes and hashes; JSON.
        state: as JSON, and the encoder that has its tensors; None if only weights are kept.

    Returns:
        The folder.

    Raises:
        WriteError: it cannot be written; then nothing is left of it.
        FitError: something else than a checkpoint is there.
    """
    if (parent / name).exists() and not _holds_checkpoint(parent / name):
        raise FitError(f"{parent / name} is there, and is no checkpoint; choose another path to save to")
    draft, final, old = parent / f".{name}.{os.getpid()}", parent / name, parent / f".{name}.{os.getpid()}.old"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for left in (draft, old):
            shutil.rmtree(left, ignore_errors=True)
        with removed_on_error(draft):
            draft.mkdir()
            for file, content in {**tensors, **({} if state is None else {STATE: state[1].tensors})}.items():
                save_file(dict(content), draft / f"{file}.safetensors")
            if state is not None:
                (draft / f"{STATE}.json").write_text(json.dumps(state[0], allow_nan=False) + "\n")
            write_notes(draft, notes)
            for path in [*draft.iterdir(), draft]:
                sync(path)
            replace(draft, final, old)
            sync(parent)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise WriteError(f"cannot write the checkpoint {final}: {why}; nothing older was removed") from error
    return final


def replace(draft: Path, final: Path, old: Path) -> None:
    """Let a folder take its final name, and the place of another one if there is one; if that fails, that one is put back."""
    if final.exists():
        final.rename(old)
    try:
        draft.rename(final)
    except OSError:
        if old.exists():
            old.rename(final)
        raise


def _holds_checkpoint(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and "files" in manifest


def write_notes(folder: Path, notes: Mapping[str, Any]) -> None:
    """Write the manifest of a checkpoint whose other files are complete."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": digest(path)} for path in sorted(folder.iterdir())}
    manifest = plain({"format": FORMAT, "saved": time.time(), "files": files, **notes})
    text = json.dumps({**manifest, "sha256": digest_of(manifest)}, indent=2, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n")


@contextmanager
def removed_on_error(folder: Path) -> Iterator[None]:
    """Leave nothing of a folder behind if the block raises, be it Ctrl-C."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def point(parent: Path, pointer: str, name: str) -> None:
    """Let the small file `pointer` name a checkpoint, replacing it as a whole.

    Raises:
        WriteError: it cannot be written.
    """
    draft = parent / f".{pointer}.{os.getpid()}"
    try:
        draft.write_text(name + "\n")
        sync(draft)
        draft.replace(parent / pointer)
        sync(parent)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise WriteError(f"cannot write {parent / pointer}: {error.strerror}") from error


def find_checkpoint(path: Path, full: bool = False) -> Checkpoint:
    """Return the checkpoint that a path means, once its files are verified.

    Args:
        path: a checkpoint's folder, a pointer such as `checkpoints/best`, or a run folder, which means its newest one that
            is whole.
        full: of a run folder, pass over those that hold weights alone.

    Raises:
        FitError: there is none.
        Damaged: a file is not as it was written.
    """
    if (path / FOLDER).is_dir():
        return latest(path / FOLDER, full)
    if path.name == FOLDER and path.is_dir():
        return latest(path, full)
    folder = followed(path)
    if not folder.is_dir():
        raise FitError(f"there is no checkpoint at {path}; give its folder, a pointer such as checkpoints/best, or a run folder")
    return verified(folder)


def latest(parent: Path, full: bool = False) -> Checkpoint:
    """Return the newest checkpoint in a folder that is whole; it tells which newer ones were skipped, and why.

    Args:
        parent: the folder of all checkpoints of a run.
        full: pass over those that hold weights alone.

    Raises:
        FitError: there is none.
        TrainingError: there is none left.
    """
    skipped, vanished = [], False
    for folder in newest_first(parent):
        try:
            found = verified(folder)
        except Damaged as error:
            if folder.exists():
                skipped.append(str(error))
            else:
                vanished = True  # a run that goes on has removed it, once a newer one was there
            continue
        if found.full or not full:
            return Checkpoint(folder, found.manifest, tuple(skipped))
    if vanished:
        return latest(parent, full)
    if skipped:
        raise TrainingError(f"no checkpoint is left in {parent}: {'; '.join(skipped)}")
    raise FitError(f"there is no checkpoint in {parent}")


def newest_first(parent: Path) -> list[Path]:
    """Return the folders of all checkpoints, whole or not, by when they were saved."""
    folders = [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")] if parent.is_dir() else []
    return sorted(folders, key=saved_at, reverse=True)


def saved_at(folder: Path) -> float:
    """Return when a checkpoint was saved, in seconds since the Unix epoch; as far as can still be told."""
    try:
        return float(json.loads((folder / MANIFEST).read_text())["saved"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder.stat().st_mtime if folder.exists() else 0.0


def verified(folder: Path, only: Collection[str] | None = None) -> Checkpoint:
    """Return the checkpoint in a folder, whose every file is as it was written.

    Args:
        folder: where it lies.
        only: look at no other files than these; None: at all of them.

    Raises:
        Damaged: one is not.
        FitError: it has another format.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except OSError as error:
        raise Damaged(f"{folder} is damaged: {MANIFEST}: {error.strerror}") from None
    except ValueError as error:
        raise Damaged(f"{folder} is damaged: {MANIFEST} cannot be read ({error})") from None
    if isinstance(manifest, dict) and "command" in manifest and "files" not in manifest:
        raise FitError(f"{folder} is the folder of a run that has kept no checkpoint")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise Damaged(f"{folder} is no checkpoint: {MANIFEST} does not say what it holds")
    if digest_of({key: value for key, value in manifest.items() if key != "sha256"}) != manifest.get("sha256"):
        raise Damaged(f"{folder} is damaged: {MANIFEST} is not as it was written")
    if manifest["format"] != FORMAT:
        raise FitError(f"{folder} has format {manifest['format']}, and this fit-core reads format {FORMAT}; use the one that wrote it")
    for name, said in manifest["files"].items():
        if only is not None and name not in only:
            continue
        try:
            same = (folder / name).stat().st_size == said["bytes"] and digest(folder / name) == said["sha256"]
        except OSError as error:
            raise Damaged(f"{folder} is damaged: {name}: {error.strerror}") from None
        if not same:
            raise Damaged(f"{folder} is damaged: {name} is not as it was written")
    return Checkpoint(folder, manifest)


def followed(path: Path) -> Path:
    """Return the folder that a path means: of a pointer, what it names; of a checkpoint that was just being replaced, the old one."""
    if not path.exists():
        return max(path.parent.glob(f".{path.name}.*.old"), key=saved_at, default=path)
    if not path.is_file() or path.stat().st_size > LONGEST_POINTER:
        return path
    named = path.read_bytes().decode(errors="replace").strip()
    return path.parent / named if re.fullmatch(r"[\w.=+-]+", named) else path


def remove(folder: Path) -> None:
    """Remove a checkpoint: at once for whoever looks, then from the disk.

    Raises:
        WriteError: it cannot be removed.
    """
    gone = folder.with_name(f".{folder.name}.{os.getpid()}.gone")
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    except OSError as error:
        raise WriteError(f"cannot remove the checkpoint {folder}: {error.strerror}") from error
    shutil.rmtree(gone, ignore_errors=True)


def remove_drafts(parent: Path) -> None:
    """Remove what processes left in a folder of checkpoints that were killed while they saved; put back what one was replacing."""
    for old in parent.glob(".*.old"):
        name = old.name[1:].rsplit(".", 2)[0]
        if not (parent / name).exists():
            old.rename(parent / name)
    for path in parent.glob(".*") if parent.is_dir() else []:
        left = re.fullmatch(r"\..+\.(\d+)(\.old|\.gone)?", path.name)
        if left is None or (int(left[1]) != os.getpid() and is_alive(int(left[1]))):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a manifest says, however it is laid out."""
    read = json.loads(json.dumps(manifest))
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


def sync(path: Path) -> None:
    """Bring a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

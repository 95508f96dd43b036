"""Checkpoints on disk: folders that are whole or not there, and small files that point to them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from fit_core.errors import FitError
from fit_core.run_folder import plain

FORMAT = 1
MANIFEST = "manifest.json"
FOLDER = "checkpoints"
LONGEST_POINTER = 256
"""Bytes: a file that is longer is no pointer."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are as they were written.

    Attributes:
        folder: where it lies.
        manifest: what it says about itself.
    """

    folder: Path
    manifest: Mapping[str, Any]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one of its files, on the CPU."""
        return load_file(self.folder / f"{name}.safetensors")


def write_checkpoint(parent: Path, name: str, tensors: Mapping[str, Mapping[str, Tensor]], notes: Mapping[str, Any]) -> Path:
    """Write a checkpoint beside its final name, sync it, and rename it: a reader sees all of it or nothing.

    Args:
        parent: the folder of all checkpoints of a run; made if it is not there.
        name: of the checkpoint's folder; one that is there already is replaced.
        tensors: by file (without suffix) and name; each its own memory, on the CPU.
        notes: what the manifest says besides sizes and hashes; JSON.

    Returns:
        The folder.

    Raises:
        FitError: it cannot be written.
    """
    draft, final, old = parent / f".{name}.{os.getpid()}", parent / name, parent / f".{name}.{os.getpid()}.old"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for left in (draft, old):
            shutil.rmtree(left, ignore_errors=True)
        draft.mkdir()
        for file, content in tensors.items():
            save_file(dict(content), draft / f"{file}.safetensors")
        files = {path.name: {"bytes": path.stat().st_size, "sha256": digest(path)} for path in sorted(draft.iterdir())}
        (draft / MANIFEST).write_text(json.dumps(plain({"format": FORMAT, "files": files, **notes}), indent=2, allow_nan=False) + "\n")
        for path in [*draft.iterdir(), draft]:
            sync(path)
        if final.exists():
            final.rename(old)
        draft.rename(final)
        sync(parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise FitError(f"cannot write the checkpoint {final}: {error.strerror or error}; nothing older was removed") from error
    return final


def point(parent: Path, pointer: str, name: str) -> None:
    """Let the small file `pointer` name a checkpoint, replacing it as a whole."""
    draft = parent / f".{pointer}.{os.getpid()}"
    draft.write_text(name + "\n")
    sync(draft)
    draft.replace(parent / pointer)
    sync(parent)


def find_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint that a path means, once its files are verified.

    Args:
        path: a checkpoint's folder, a pointer such as `checkpoints/last`, or a run folder, which means its last one.

    Raises:
        FitError: there is none, or a file is not as it was written.
    """
    folder = followed(path)
    if not (folder / MANIFEST).is_file():
        raise FitError(f"there is no checkpoint at {path}; give its folder, a pointer such as checkpoints/last, or a run folder")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except ValueError as error:
        raise FitError(f"{folder} is no checkpoint: its manifest cannot be read ({error})") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise FitError(f"{folder} is no checkpoint; if it is a run folder, the run kept none")
    files = manifest["files"]
    if manifest["format"] != FORMAT:
        raise FitError(f"{folder} has format {manifest['format']}, and this fit-core reads format {FORMAT}; use the one that wrote it")
    for name, said in files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != said["bytes"] or digest(file) != said["sha256"]:
            raise FitError(f"{folder} is damaged: {name} is not as it was written; use an older checkpoint")
    return Checkpoint(folder, manifest)


def followed(path: Path) -> Path:
    """Return the folder that a path means: of a run, its last checkpoint; of a pointer, what it names."""
    if (path / FOLDER).is_dir():
        path = path / FOLDER / "last"
    if not path.is_file() or path.stat().st_size > LONGEST_POINTER:
        return path
    named = path.read_bytes().decode(errors="replace").strip()
    return path.parent / named if re.fullmatch(r"[\w.-]+", named) else path


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Bring a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

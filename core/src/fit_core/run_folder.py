"""The run folder: where a run keeps its files, and the manifest that says what was run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fit_core.errors import FitError, TrainingError
from fit_core.options import NATIVE, as_text

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

MANIFEST = "manifest.json"
AGAIN = ("epochs", "accumulate", "limit_batches")
"""Options of `fit train` that a resumed run takes from the one that it goes on with."""


def new_run_folder(parent: Path) -> Path:
    """Make a folder named by the time; a number is added if another process was faster."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    number = 1
    while True:
        folder = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            make_folder(folder, exist_ok=False)
            return folder
        except FileExistsError:
            number += 1


def make_folder(folder: Path, exist_ok: bool = True) -> None:
    """Make a folder and those above it.

    Raises:
        FitError: it cannot be made.
        FileExistsError: it is there, and must not be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
    except OSError as error:
        if isinstance(error, FileExistsError) and not exist_ok:
            raise
        raise FitError(f"cannot make the run folder {folder}: {error.strerror}; choose another with run_dir or --run-dir") from error


def describe_process() -> dict[str, Any]:
    """Return which process trains."""
    return {"host": platform.node(), "pid": os.getpid(), "since": started_at(os.getpid())}


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def started_at(pid: int) -> str | None:
    """Return when a process began, in ticks since the machine did, where that can be told: numbers of processes come again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def describe_start(script: Path, options: Mapping[str, Any], items: list[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is needed to build the same trainer again.

    Args:
        script: its file, whose hash is kept.
        options: of the script.
        items: the plugins of the command line.
        values: fit's own options, of which the seed and `AGAIN` are kept.
    """
    return {
        "script": hashlib.sha256(script.read_bytes()).hexdigest(),
        "options": {name: value if type(value) in NATIVE else as_text(value) for name, value in options.items()},
        "items": items,
        "seed": values["seed"],
        "fit": {name: values[name] for name in AGAIN if values.get(name) is not None},
    }


def describe_run(trainer: Trainer, script: Path, command: list[str], start: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest says about a run before it starts: everything needed to run it again.

    Args:
        trainer: as it was built.
        script: its file.
        command: the words of the command line.
        start: of `describe_start`.
    """
    from fit_core.data import describe_data  # torch: only when something is trained
    from fit_core.feeding import several
    from fit_core.metric_list import row_directions

    losses = ["loss", *(name for name in trainer.row_names() if name.endswith("_loss"))]
    text = script.read_text()
    return {
        "format": 1,
        "status": "running",
        "started": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "command": command,
        "process": describe_process(),
        "script": {"path": str(script), "sha256": start["script"], "text": text},
        **{key: value for key, value in start.items() if key != "script"},
        "trainer_seed": trainer.seed,
        "total_epochs": trainer.epochs,
        "data": {name: describe_data(getattr(trainer, f"{name}_data")) for name in ("train", "val", "test")},
        "directions": row_directions(trainer.metrics, losses, [*several(trainer.val_data), "test_"]),
        "git": git_commit(script.parent),
        "plugins": [
            {"name": member.name, "distribution": member.distribution, "options": {k: repr(v) for k, v in member.options.items()}}
            for member in trainer.members
        ],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("torch", "fit-core", "pluggy")}},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cpus": os.cpu_count()},
    }


def describe_outcome(trainer: Trainer) -> dict[str, Any]:
    """Return what a manifest says about a run when it has ended, however it did."""
    return {
        "epochs": len(trainer.history),
        "steps": trainer.current_state().step,
        "last_row": trainer.history[-1] if trainer.history else None,
        "unfinished": trainer.unfinished,
        "requests": [dataclasses.asdict(asked) for asked in trainer.requests],
    }


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest so that a reader sees the old one or the new one, never half of it.

    Raises:
        TrainingError: it cannot be written.
    """
    draft = folder / f".{MANIFEST}.{os.getpid()}"
    try:
        draft.write_text(json.dumps(plain(manifest), indent=2, allow_nan=False) + "\n")
        draft.replace(folder / MANIFEST)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise TrainingError(f"cannot write {folder / MANIFEST}: {error.strerror}") from error


def refuse_used(folder: Path) -> None:
    """Refuse a folder that holds a run already.

    Raises:
        FitError: it does.
    """
    if (folder / MANIFEST).exists():
        raise FitError(f"{folder} holds a run already; go on with it (--resume), set it aside (--fresh), or choose another --run-dir")


def plain(value: Any) -> Any:
    """Write numbers that are not finite as text, which JSON can hold."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def git_commit(folder: Path) -> str | None:
    """Return the commit that a folder is at, with "+changes" if files differ from it; None outside of git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changes else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()

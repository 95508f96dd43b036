"""Runs on disk: which one `fit train --resume` goes on with."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fit_core.errors import FitError
from fit_core.run_folder import MANIFEST, is_alive, started_at

if TYPE_CHECKING:
    from fit_core.checkpoint import Checkpoint

FREE = (
    *("--resume", "--run-dir", "--epochs", "--max-time", "--no-save", "--allow-changes", "-q", "--quiet", "--full-trace"),
    *("--fresh", "--weights", "--dry-run"),  # which contradict --resume, as is said later
)
"""Options that say nothing about which run is meant."""
RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        folder: where it is.
        manifest: what it says.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.manifest.get("status") == "done"

    @property
    def alive(self) -> bool:
        """Whether the process that trains it is still there, as far as this machine can tell."""
        process = self.manifest.get("process")
        if self.manifest.get("status") != "running" or not isinstance(process, dict) or not isinstance(process.get("pid"), int):
            return False
        pid = process["pid"]
        if process.get("host") != platform.node() or pid == os.getpid() or not is_alive(pid):
            return False
        return process.get("since") in (None, started_at(pid))  # else the number is another process's now


def run_in(folder: Path) -> Run | None:
    """Return the run in a folder; None if there is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    is_one = isinstance(manifest, dict) and isinstance(manifest.get("script"), dict) and isinstance(manifest.get("command"), list)
    return Run(folder, manifest) if is_one else None


def run_of(checkpoint: Checkpoint) -> Run | None:
    """Return the run that a checkpoint lies in; None if it lies elsewhere."""
    from fit_core.checkpoint import FOLDER

    return run_in(checkpoint.folder.parent.parent) if checkpoint.folder.parent.name == FOLDER else None


def to_resume(script: Path, path: str, words: Sequence[str], run_dir: Path | None) -> Checkpoint:
    """Return the checkpoint to go on from.

    Args:
        script: the file of the script.
        path: what was written after `--resume`; empty if nothing was.
        words: the rest of the command line.
        run_dir: of `--run-dir`; it says which run if `path` does not.

    Raises:
        FitError: there is no such run.
        TrainingError: none of its checkpoints is whole.
    """
    from fit_core.checkpoint import find_checkpoint  # imports torch

    return find_checkpoint(Path(path) if path else run_dir or newest(script, words).folder, full=True)


def newest(script: Path, words: Sequence[str]) -> Run:
    """Return the newest run of a script that has the options of the command line: an unfinished one before a finished one.

    Raises:
        FitError: there is none.
    """
    runs = [run for run in runs_of(script) if not run.alive and list(run.folder.glob("checkpoints/*/"))]
    if not runs:
        raise FitError(f"there is no run of {script} to resume below {RUNS / script.stem}; start one without --resume, or name its folder")
    asked = pairs(words)
    fitting = [run for run in runs if asked <= pairs(run.manifest.get("command", [])[3:])]
    if not fitting:
        said = "; ".join(f"{run.folder}: {' '.join(run.manifest.get('command', [])[3:]) or 'no options'}" for run in runs[:3])
        options = " ".join(" ".join(pair) for pair in sorted(asked))
        raise FitError(f"no run of {script} was started with {options}; there are: {said}")
    return next((run for run in fitting if not run.finished), fitting[0])


def runs_of(script: Path) -> list[Run]:
    """Return the runs of a script below `runs`, the newest first."""
    folders = [folder for folder in (RUNS / script.stem).glob("*") if folder.is_dir()]
    runs = [run for run in map(run_in, folders) if run is not None and is_script(run, script)]
    return sorted(runs, key=lambda run: (run.manifest.get("started", ""), run.folder.name), reverse=True)


def is_script(run: Run, script: Path) -> bool:
    """Whether a run is of this script, and not of another one of its name."""
    return Path(str(run.manifest["script"].get("path"))).resolve() == script.resolve()


def pairs(words: Iterable[str]) -> set[tuple[str, str]]:
    """Return options with their values, as far as words alone tell, without those that may differ."""
    found: list[list[str]] = []
    for word in words:
        if word.startswith("-") and not word[1:2].isdigit():
            name, equals, value = word.partition("=")
            found.append([name, *([value] if equals and name.startswith("--") else [])])
        elif found:
            found[-1].append(word)
    return {(option[0], " ".join(option[1:])) for option in found if option[0] not in FREE}


def refuse_alive(run: Run) -> None:
    """Refuse to go on with a run that is going on.

    Raises:
        FitError: it is.
    """
    if run.alive:
        raise FitError(f"the run in {run.folder} is still going on (process {run.manifest['process']['pid']}); end it first")


def set_aside(folder: Path) -> Path:
    """Rename the folder of a run, so that another can begin in its place, and return where it is now."""
    folder, number = folder.resolve(), 1
    run = run_in(folder)
    if run is not None:
        refuse_alive(run)
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return Path(os.path.relpath(folder.rename(aside)))

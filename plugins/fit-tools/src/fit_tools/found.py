"""Runs in folders: what their manifests and rows say, and what is wrong with them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fit_core.cli.runs import Run
from fit_core.errors import FitError
from fit_core.run_folder import MANIFEST
from fit_tools.history import CHECKPOINTS, READERS, Rows, number, rows_in

KINDS: dict[str, type | tuple[type, ...]] = {
    "status": str,
    "started": str,
    "seconds": (int, float),
    "command": list,
    "script": dict,
    "options": dict,
    "fit": dict,
    "seed": int,
    "total_epochs": (int, float, str),  # "inf"
    "plugins": list,
    "versions": dict,
    "data": dict,
    "directions": dict,
    "test": dict,
    "resumed": list,
    "process": dict,
}
"""What is read of a manifest, and the types of it."""


@dataclass(frozen=True)
class Found:
    """A run.

    Attributes:
        folder: where it lies.
        status: done, failed, interrupted, running, killed, replayed (`fit replay` wrote it), or damaged if its manifest does not say.
        problems: what is wrong, in a line each.
        manifest: what is as it should be in it.
        rows: one per epoch.
        seconds: how long it took, or has taken; None if that cannot be told.
    """

    folder: Path
    status: str
    problems: tuple[str, ...]
    manifest: Mapping[str, Any]
    rows: Rows
    seconds: float | None

    @property
    def began(self) -> datetime | None:
        """When it began."""
        return moment(self.manifest.get("started"))

    @property
    def epochs(self) -> int:
        """How many epochs are complete."""
        return int(self.rows[-1]["epoch"]) if self.rows else 0

    @property
    def test(self) -> Mapping[str, float]:
        """What the evaluation of test data gave."""
        values = {name: number(value) for name, value in self.manifest.get("test", {}).items()}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def options(self) -> dict[str, str]:
        """The options of script, command and plugins as text: `lr`, `epochs`, `early-stopping.patience`."""
        own = {**self.manifest.get("options", {}), **self.manifest.get("fit", {})}
        of_plugins = {f"{name}.{key}": value for name, options in self.plugins.items() for key, value in options.items()}
        return {name: unquoted(str(value)) for name, value in {**own, **of_plugins}.items()}

    @property
    def plugins(self) -> dict[str, Mapping[str, str]]:
        """The options of each plugin by its name."""
        return {each["name"]: each.get("options", {}) for each in self.manifest.get("plugins", []) if "name" in each}

    @property
    def script(self) -> str:
        """The path of its script."""
        return str(self.manifest.get("script", {}).get("path", ""))


def runs_below(folder: Path, now: float) -> list[Found]:
    """Return every run in a folder and below it, the newest first; those that do not say when they began come last.

    Raises:
        FitError: there is none.
    """
    if not folder.is_dir():
        raise FitError(f"there is no folder {folder}; name a run folder, or one with runs below")
    runs = [found(each, now) for each in folders_below(folder)]
    if not runs:
        raise FitError(f"there are no runs in {folder}; name a run folder, or one with runs below")
    return sorted(runs, key=lambda run: (run.began.timestamp() if run.began else -1.0, str(run.folder)), reverse=True)


def run_at(folder: Path, now: float) -> Found:
    """Return the run in a folder.

    Raises:
        FitError: there is none, or nobody can tell what it was.
    """
    if not is_run(folder):
        raise FitError(f"there is no run in {folder}; name its folder: `fit runs` lists what there is")
    run = found(folder, now)
    if not run.manifest:
        raise FitError(f"{folder}: {run.problems[0]}, so nobody can tell what was run")
    return run


def folders_below(folder: Path) -> Iterator[Path]:
    """Yield the run folders in a folder and below it."""
    for place, names, files in os.walk(folder):
        if holds_run({*names, *files}):
            yield Path(place)
        names[:] = sorted(name for name in names if name != CHECKPOINTS and not name.startswith("."))


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, or what is left of one."""
    return folder.is_dir() and holds_run(set(os.listdir(folder)))  # noqa: PTH208  # names are enough


def holds_run(names: Collection[str]) -> bool:
    """Whether these are the files of a run, or some of them; a manifest may have been on its way."""
    return any(name in (MANIFEST, CHECKPOINTS, *READERS) or name.startswith(f".{MANIFEST}.") for name in names)


def found(folder: Path, now: float) -> Found:
    """Look at the run in a folder.

    Args:
        folder: its own.
        now: in seconds since the Unix epoch.
    """
    manifest, problems = read_manifest(folder)
    rows, more = rows_in(folder)
    status = status_of(folder, manifest)
    host = manifest.get("process", {}).get("host")
    if status == "running" and host != platform.node():
        problems.append(f"whether it still runs can be told only on {host or 'its machine'}")
    return Found(folder, status, (*problems, *more), manifest, rows, seconds_of(folder, manifest, status, now))


def read_manifest(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Return what can be used of a manifest, and what is wrong with it."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, [f"there is no {MANIFEST}"]
    except (OSError, ValueError) as error:
        return {}, [f"{MANIFEST} cannot be read ({error})"]
    if not isinstance(manifest, dict) or "status" not in manifest:
        return {}, [f"{MANIFEST} is not that of a run"]
    wrong = [key for key, kind in KINDS.items() if manifest.get(key) is not None and not isinstance(manifest[key], kind)]
    wrong += [] if "plugins" in wrong or all(isinstance(each, dict) for each in manifest.get("plugins") or ()) else ["plugins"]
    used = {key: value for key, value in manifest.items() if key not in wrong and value is not None}
    return used, [f"{MANIFEST}: {key!r} is not what fit writes there" for key in wrong]


def status_of(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Return what became of a run: its manifest says running also if its process was killed."""
    said = str(manifest.get("status", "damaged"))
    if said != "running" or Run(folder, manifest).alive:
        return said
    return "killed" if manifest.get("process", {}).get("host") == platform.node() else said


def seconds_of(folder: Path, manifest: Mapping[str, Any], status: str, now: float) -> float | None:
    """Return how long a run took; of one that was killed, until it last wrote a file."""
    before: float = manifest.get("seconds", 0)
    if status not in ("running", "killed"):
        return manifest.get("seconds")
    resumed = manifest.get("resumed", [])
    began = moment(resumed[-1].get("time") if resumed and isinstance(resumed[-1], dict) else manifest.get("started"))
    if began is None:
        return None
    until = now if status == "running" else last_sign(folder)
    return before + max(until - began.timestamp(), 0)


def last_sign(folder: Path) -> float:
    """Return when a run last wrote something, in seconds since the Unix epoch."""
    files = [folder / name for name in (MANIFEST, *READERS)] + [folder / CHECKPOINTS]
    return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)


def unquoted(text: str) -> str:
    """Return the text that a manifest has as Python writes it, in quotes."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == "'" else text


def moment(text: Any) -> datetime | None:
    """Return the time that a manifest says, in the zone of this machine; None if it says none."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (TypeError, ValueError):
        return None

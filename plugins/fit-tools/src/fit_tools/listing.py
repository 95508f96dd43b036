"""What checkpoints lie in the folders of runs, and in what state they are."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fit_core.checkpoint import FOLDER, MANIFEST, Damaged, followed, newest_first, saved_at, verified
from fit_core.errors import FitError


@dataclass(frozen=True)
class Entry:
    """A checkpoint.

    Attributes:
        name: of its folder.
        epoch: where it was saved; None if its manifest cannot be read. Likewise `batch` and `step`.
        batch: see above.
        step: see above.
        bytes: of all its files.
        saved: when, in seconds since the Unix epoch.
        pointers: the small files that name it, such as "last".
        resumable: whether a run can go on from it; else it holds weights alone. None if it is not whole.
        problem: what is wrong with it.
        damaged: whether it is not as it was written.
    """

    name: str
    epoch: int | None
    batch: int | None
    step: int | None
    bytes: int
    saved: float
    pointers: tuple[str, ...]
    resumable: bool | None
    problem: str | None = None
    damaged: bool = False


@dataclass(frozen=True)
class Listing:
    """The checkpoints of a run.

    Attributes:
        run: its folder.
        checkpoints: the newest first.
        dangling: pointers to what is not there, with what they name.
    """

    run: Path
    checkpoints: tuple[Entry, ...]
    dangling: Mapping[str, str]

    @property
    def damaged(self) -> bool:
        """Whether something is not as it was written."""
        return bool(self.dangling) or any(entry.damaged for entry in self.checkpoints)


def runs_in(path: Path) -> list[Path]:
    """Return the runs with checkpoints that a path means: a run folder, its folder of checkpoints, or a folder above runs.

    Raises:
        FitError: there is none.
    """
    if path.name == FOLDER and path.is_dir():
        return [path.parent]
    found = sorted(folder.parent for folder in path.glob(f"**/{FOLDER}") if folder.is_dir())
    if not found:
        what = "there are no checkpoints in" if path.is_dir() else "there is no folder"
        raise FitError(f"{what} {path}; name a run folder, or one with runs below")
    return found


def listing(run: Path) -> Listing:
    """Look at every checkpoint of a run."""
    folder = run / FOLDER
    pointers = pointers_in(folder)
    looked_at = [(path, entry(path, pointers)) for path in newest_first(folder)]
    entries = tuple(found for path, found in looked_at if path.exists())  # a run that goes on removes what it needs no longer
    names = {found.name for found in entries}
    return Listing(run, entries, {pointer: name for pointer, name in pointers_in(folder).items() if name not in names})


def pointers_in(folder: Path) -> dict[str, str]:
    """Return the small files in a folder of checkpoints that name one, with its name."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return {path.name: followed(path).name for path in files if followed(path) != path}


def entry(folder: Path, pointers: Mapping[str, str]) -> Entry:
    """Look at one checkpoint, and verify its files."""
    problem, resumable, damaged = None, None, False
    try:
        resumable = verified(folder).full
    except FitError as error:  # Damaged is one, too
        problem, damaged = str(error).removeprefix(f"{folder} is ").removeprefix(f"{folder} "), isinstance(error, Damaged)
    said = manifest_of(folder)
    epoch, batch, step = (said.get(name) if isinstance(said.get(name), int) else None for name in ("epoch", "batch", "step"))
    size = sum(path.stat().st_size for path in folder.glob("*") if path.is_file())
    named = tuple(pointer for pointer, name in pointers.items() if name == folder.name)
    saved = saved_at(folder) if folder.exists() else 0.0
    return Entry(folder.name, epoch, batch, step, size, saved, named, resumable, problem, damaged)


def manifest_of(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint says about itself, as far as it can be read."""
    try:
        said = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def lines(found: Listing, now: float) -> list[str]:
    """Return what is said about a run for people.

    Args:
        found: its checkpoints.
        now: in seconds since the Unix epoch.
    """
    head = ("name", "epoch", "batch", "step", "size", "saved", "age", "named by", "state")
    rows = [head, *(row(each, now) for each in found.checkpoints)]
    widths = [max(len(each[column]) for each in rows) for column in range(len(head))]
    table = ["  ".join(f"{text:{width}}" for text, width in zip(each, widths, strict=True)).rstrip() for each in rows]
    missing = [f"{pointer} names {name}, which is not there" for pointer, name in found.dangling.items()]
    return [str(found.run), *(f"  {line}" for line in [*table, *missing])]


def row(each: Entry, now: float) -> tuple[str, ...]:
    """Return the cells of one checkpoint."""
    counters = ["?" if number is None else str(number) for number in (each.epoch, each.batch, each.step)]
    saved = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.saved))
    state = each.problem or ("ok" if each.resumable else "ok, weights alone")
    return (each.name, *counters, size_text(each.bytes), saved, age_text(now - each.saved), ", ".join(each.pointers), state)


def size_text(count: float) -> str:
    """Write a number of bytes as people read it: `1.5 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def age_text(seconds: float) -> str:
    """Write a time as people read it: `12 min`."""
    for unit, length, end in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 48 * 3600)):
        if seconds < end:
            return f"{max(seconds, 0) / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"

"""What differs between runs, item by item."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fit_core.text import number
from fit_tools.best import Mode, compared, extremes, names_of
from fit_tools.found import Found
from fit_tools.table import Column, lines_of

Cells = dict[str, list[str]]
LONGEST = 20
"""Lines of a difference between scripts that are shown."""


@dataclass(frozen=True)
class Comparison:
    """What differs between runs.

    Attributes:
        runs: their folders.
        sections: by title and item, one cell per run.
        scripts: by the folder of each run whose script is not that of the first one, the lines of the difference.
    """

    runs: list[str]
    sections: dict[str, Cells]
    scripts: dict[str, list[str]]


def comparison(runs: Sequence[Found], mode: Mode = None) -> Comparison:
    """Compare runs with the first one. Values are always there, other sections only if something differs."""
    sections = {title: differing_items([part(run) for run in runs]) for title, part in PARTS.items()}
    sections["versions"] = {name: cells for name, cells in sections["versions"].items() if "-" not in cells}  # "plugins" tells the others
    sections["best values"] = {name: best_cells(runs, name, mode) for name in compared(names_of(runs))}
    return Comparison([str(run.folder) for run in runs], {title: items for title, items in sections.items() if items}, scripts_of(runs))


def run_itself(run: Found) -> dict[str, str]:
    """Return what became of a run."""
    seed = {"seed": str(run.manifest["seed"])} if "seed" in run.manifest else {}
    took = {} if run.seconds is None else {"took": number("seconds", run.seconds)}
    began = {"began": f"{run.began:%Y-%m-%d %H:%M:%S}"} if run.began else {}
    return {"status": run.status, **began, **took, "epochs": str(run.epochs), **seed}


def own_options(run: Found) -> dict[str, str]:
    """Return the options of the script and of the command."""
    return {name: value for name, value in run.options.items() if "." not in name}


def plugins(run: Found) -> dict[str, str]:
    """Return the options of each plugin in a line."""
    return {name: ", ".join(f"{key}={value}" for key, value in options.items()) or "yes" for name, options in run.plugins.items()}


def versions(run: Found) -> dict[str, str]:
    """Return what was run with: versions, and where the script's repository was."""
    of_plugins = {str(each.get("distribution", "")).rpartition(" ")[::2] for each in run.manifest.get("plugins", [])}
    packages = {name: version for name, version in sorted(of_plugins) if name and version[:1].isdigit()}
    git = {"git commit": str(run.manifest["git"])} if run.manifest.get("git") else {}
    return {**texts(run.manifest.get("versions", {})), **packages, **git}


def data(run: Found) -> dict[str, str]:
    """Return the type and the length of each set."""
    sets = {name: each for name, each in run.manifest.get("data", {}).items() if isinstance(each, Mapping)}
    return {name: f"{each.get('type')}, {each.get('length') or 'unknown'} long" for name, each in sets.items()}


PARTS: dict[str, Callable[[Found], Mapping[str, str]]] = {
    "run": run_itself,
    "options": own_options,
    "plugins": plugins,
    "versions": versions,
    "data": data,
}


def texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as text."""
    return {name: str(value) for name, value in values.items()}


def differing_items(each: Sequence[Mapping[str, str]]) -> Cells:
    """Return the items that are not the same everywhere."""
    names = dict.fromkeys(name for items in each for name in items)
    cells = {name: [items.get(name, "-") for items in each] for name in names}
    return {name: row for name, row in cells.items() if len(set(row)) > 1}


def best_cells(runs: Sequence[Found], name: str, mode: Mode) -> list[str]:
    """Return the best value of each run, with the difference from the first one's."""
    found = [extremes(run, name, mode) for run in runs]
    first = found[0].best if found[0] is not None else None
    cells = []
    for i, each in enumerate(found):
        text = "-" if each is None else each.text(name)
        if i and each is not None and each.best is not None and first is not None:
            text += f" ({difference(name, each.best.value - first.value, each.more_is_better)})"
        cells.append(text)
    return cells


def difference(name: str, value: float, more_is_better: bool | None) -> str:
    """Write a difference with its sign, and what it means."""
    if not value:
        return "equal"
    said = "" if value != value else " better" if (value > 0) == more_is_better else " worse"
    return f"{'+' if value > 0 else ''}{number(name, float(value))}{said}"


def scripts_of(runs: Sequence[Found]) -> dict[str, list[str]]:
    """Return how the scripts of the runs differ from the first one's."""
    hashes = [run.manifest.get("script", {}).get("sha256") for run in runs]
    first, *others = runs
    return {str(run.folder): script_difference(first, run) for run, digest in zip(others, hashes[1:], strict=True) if digest != hashes[0]}


def script_difference(first: Found, other: Found) -> list[str]:
    """Return how the text of a script differs from another; that it does, if one is unknown."""
    before, after = (str(run.manifest.get("script", {}).get("text", "")).splitlines() for run in (first, other))
    names = [f"{run.folder} {run.script}" for run in (first, other)]
    return list(difflib.unified_diff(before, after, names[0], names[1], lineterm="", n=1)) or ["the hashes of the scripts differ"]


def lines(found: Comparison, width: int | None = None, whole: bool = False) -> list[str]:
    """Return a comparison for people.

    Args:
        found: what differs.
        width: how many characters a line may have; None if any number. Where a table has more, each cell gets a line.
        whole: show all of what differs between scripts.
    """
    marks = [f"[{n}]" for n in range(1, len(found.runs) + 1)]
    said = [f"{mark} {run}" for mark, run in zip(marks, found.runs, strict=True)]
    for title, items in found.sections.items():
        said += ["", *table(title, items, marks, width)]
    for run, changes in found.scripts.items():
        shown = changes if whole or len(changes) <= LONGEST else [*changes[:LONGEST], f"... {len(changes) - LONGEST} more lines (--diff)"]
        said += ["", f"the script of {run} differs from that of {found.runs[0]}", *shown]
    return said


def table(title: str, items: Cells, marks: Sequence[str], width: int | None) -> list[str]:
    """Return a section: a line for each item if there is room, else one for each cell."""
    columns = [Column(mark, [cells[i] for cells in items.values()], 0) for i, mark in enumerate(marks)]
    wide = lines_of([Column(title, list(items), 0), *columns])
    if width is None or max(map(len, wide)) <= width:
        return wide
    return [title, *(line for name, cells in items.items() for line in (f"  {name}", *listed(marks, cells)))]


def listed(marks: Sequence[str], cells: Sequence[str]) -> list[str]:
    """Return cells in a line each."""
    return [f"    {mark} {cell}" for mark, cell in zip(marks, cells, strict=True)]

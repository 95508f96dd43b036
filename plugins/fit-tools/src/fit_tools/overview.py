"""Runs in one line each, for people and for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from fit_core.errors import FitError, did_you_mean
from fit_core.text import number
from fit_tools.best import Mode, by_value, chosen, compared, extremes, names_of
from fit_tools.differing import PLUGINS, SEED, differing, options_of, shown
from fit_tools.found import Found
from fit_tools.table import Column, fitting, lines_of

FIELDS = ("run", "status", "began", "took", "epochs")
RANKS = ("run", "status", "first", "option", "epochs", "value", "option of a plugin", PLUGINS, "took", "began", SEED)
"""Columns by what they tell most about; `first` is the first value."""


def lines(runs: Sequence[Found], names: Sequence[str], width: int | None, mode: Mode = None) -> list[str]:
    """Return a table of runs, what did not fit, and what is wrong with which.

    Args:
        runs: in their order.
        names: of values to show; none: all that are compared.
        width: how many characters a line may have; None if any number.
        mode: which direction is better where no run says.

    Raises:
        FitError: no run has a value of one of these names.
    """
    columns, hidden = fitting(columns_of(runs, chosen(runs, names), mode), width)
    said = [f"no room for: {', '.join(hidden)}"] if hidden else []
    wrong = [f"{run.folder}: {problem}" for run in runs for problem in run.problems]
    notes = [line for text in [*said, *wrong] for line in ([text] if width is None else textwrap.wrap(text, width, subsequent_indent="  "))]
    return [*lines_of(columns), *([""] * bool(notes)), *notes]


def columns_of(runs: Sequence[Found], names: Sequence[str], mode: Mode) -> list[Column]:
    """Return every column there is to show, in the order of `RANKS` where there is no room for all."""
    began = [f"{run.began:%Y-%m-%d %H:%M}" if run.began else "-" for run in runs]
    took = ["-" if run.seconds is None else number("seconds", run.seconds) for run in runs]
    options = [name for name in differing(runs) if name != "epochs"]
    kinds = [name if name in (PLUGINS, SEED) else "option of a plugin" if "." in name else "option" for name in options]
    return [
        Column("run", [str(run.folder) for run in runs], RANKS.index("run"), from_right=True),
        Column("status", [run.status for run in runs], RANKS.index("status")),
        Column("began", began, RANKS.index("began")),
        Column("took", took, RANKS.index("took")),
        Column("epochs", [epochs(run) for run in runs], RANKS.index("epochs")),
        *(Column(name, [cell(run, name, mode) for run in runs], RANKS.index("value" if i else "first")) for i, name in enumerate(names)),
        *(Column(name, shown(runs, name), RANKS.index(kind)) for name, kind in zip(options, kinds, strict=True)),
    ]


def epochs(run: Found) -> str:
    """Return how many epochs are complete, and of how many if it is fewer."""
    asked = run.manifest.get("total_epochs", run.epochs)
    return str(run.epochs) if asked == run.epochs else f"{run.epochs}/{asked}"


def cell(run: Found, name: str, mode: Mode) -> str:
    """Return the best value of a run as text."""
    found = extremes(run, name, mode)
    return "-" if found is None else found.text(name)


def ordered(runs: Sequence[Found], name: str | None, mode: Mode) -> list[Found]:
    """Return runs by a value (the best first), an option, or a field.

    Raises:
        FitError: nothing is called so.
    """
    if name is None:
        return list(runs)
    values, options = names_of(runs), dict.fromkeys(option for run in runs for option in options_of(run))
    if name in compared(values) or (name in values and name not in options and name not in FIELDS):
        return by_value(runs, name, mode)
    if name in options and name not in FIELDS:
        return sorted(runs, key=lambda run: natural(options_of(run).get(name)))
    keys: dict[str, Any] = {
        "run": lambda run: str(run.folder),
        "status": lambda run: run.status,
        "began": lambda run: -run.began.timestamp() if run.began else 0.0,
        "took": lambda run: -(run.seconds or 0.0),
        "epochs": lambda run: -run.epochs,
    }
    if name not in keys:
        known = dict.fromkeys([*FIELDS, *values, *options])
        raise FitError(f"cannot sort by {name!r} (there are: {', '.join(known)}){did_you_mean(name, known)}")
    return sorted(runs, key=keys[name])


def natural(value: str | None) -> tuple[int, float, str]:
    """Return what an option is sorted by: numbers, then text, then those that have none."""
    if value is None:
        return 2, 0.0, ""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def described(run: Found, mode: Mode = None) -> dict[str, Any]:
    """Return all there is to say about a run, for programs."""
    names = compared(names_of([run]))
    return {
        "run": str(run.folder),
        "status": run.status,
        "problems": list(run.problems),
        "began": run.began.isoformat() if run.began else None,
        "seconds": run.seconds,
        "epochs": run.epochs,
        "total_epochs": run.manifest.get("total_epochs"),
        "script": run.script or None,
        "options": run.options,
        "plugins": list(run.plugins),
        "seed": run.manifest.get("seed"),
        "values": {name: described_value(run, name, mode) for name in names},
        "test": dict(run.test),
        "rows": run.rows,
    }


def described_value(run: Found, name: str, mode: Mode) -> dict[str, Any]:
    """Return the extremes of a value, for programs."""
    found = extremes(run, name, mode)
    assert found is not None, name
    at = {"best": found.best, "min": found.least, "max": found.most}
    return {
        "more_is_better": found.more_is_better,
        **{key: each and {"value": each.value, "epoch": each.epoch} for key, each in at.items()},
    }

"""The rows of a run, from what lies in its folder."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fit_core.errors import FitError

Row = dict[str, float]
Rows = list[Row]
CHECKPOINTS = "checkpoints"
STATE = "state.json"


def rows_in(folder: Path) -> tuple[Rows, list[str]]:
    """Return the rows of the run in a folder, and what is wrong with them.

    They are read from `history.csv`, or else `history.jsonl`, or else the newest checkpoint that is whole.
    """
    for name, read in READERS.items():
        try:
            text = (folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            return [], [f"{name} cannot be read ({error})"]
        rows, problems = read(text)
        return rows, [f"{name}: {problem}" for problem in problems]
    try:
        return rows_of_checkpoints(folder / CHECKPOINTS) if (folder / CHECKPOINTS).is_dir() else ([], [])
    except OSError as error:
        return [], [f"{CHECKPOINTS} cannot be read ({error.strerror})"]


def rows_of_csv(text: str) -> tuple[Rows, list[str]]:
    """Return the rows of a CSV file with a heading; an empty cell means that the row lacks the value.

    A last line without end was torn when the process died, and is left out.
    """
    whole = text[: text.rfind("\n") + 1]
    torn = ["the last line is torn"] if whole != text else []
    try:
        written = list(csv.DictReader(io.StringIO(whole, newline=""), restval=None))
    except csv.Error as error:
        return [], [f"it is no CSV ({error})"]
    lines = [(n, {name: cell for name, cell in line.items() if name and cell}) for n, line in enumerate(written, 2)]
    rows, problems = checked(lines)
    return rows, problems + torn


def rows_of_json_lines(text: str) -> tuple[Rows, list[str]]:
    """Return the rows of a file with one JSON object a line; what is not finite may be null there."""
    lines, problems = [], []
    for n, line in enumerate(text.splitlines(), 1):
        try:
            values = json.loads(line)
        except ValueError:
            problems.append(f"line {n} is no JSON")
            continue
        items = values.items() if isinstance(values, dict) else ()
        lines.append((n, {name: math.nan if value is None else value for name, value in items}))
    rows, more = checked(lines)
    return rows, problems + more


READERS: dict[str, Callable[[str], tuple[Rows, list[str]]]] = {"history.csv": rows_of_csv, "history.jsonl": rows_of_json_lines}


def checked(lines: Iterable[tuple[int, Mapping[str, Any]]]) -> tuple[Rows, list[str]]:
    """Return lines as rows; those that have no epoch, or a value that is no number, are left out and named."""
    rows, problems = [], []
    for n, line in lines:
        values = {name: number(value) for name, value in line.items()}
        wrong = [name for name, value in values.items() if value is None]
        epoch = values.get("epoch")
        if wrong:
            problems.append(f"line {n}: {line[wrong[0]]!r} of {wrong[0]!r} is no number")
        elif epoch is None or not math.isfinite(epoch) or epoch != int(epoch):
            problems.append(f"line {n} has no epoch")
        else:
            rows.append({name: value for name, value in values.items() if value is not None} | {"epoch": int(epoch)})
    return rows, problems


def number(value: Any) -> float | None:
    """Return a number, or text that means one; None of anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return None


def rows_of_checkpoints(parent: Path) -> tuple[Rows, list[str]]:
    """Return the rows that the newest checkpoint has which is whole, as far as they need. Imports torch.

    Args:
        parent: the folder of all checkpoints of a run.
    """
    from fit_core.checkpoint import newest_first, verified
    from fit_core.codec import decode

    problems, vanished = [], False
    for folder in newest_first(parent):
        try:
            if not verified(folder, only=[STATE]).full:
                continue
            state = json.loads((folder / STATE).read_text())
        except (FitError, FileNotFoundError) as error:  # of damage, too
            if folder.exists():
                problems.append(str(error).replace(f"{folder}", f"{parent.name}/{folder.name}"))
            else:
                vanished = True  # a run that goes on has removed it, once a newer one was there
            continue
        return [dict(row) for row in decode(state["core"]["history"], {})], problems
    return rows_of_checkpoints(parent) if vanished else ([], problems)

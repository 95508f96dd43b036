"""Rows in CSV files."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a heading; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], append: bool = False) -> None:
    """Write rows; a new file replaces the old one only when it is complete.

    Args:
        path: the file; its folder is made if need be.
        columns: the heading, and the order of the values.
        rows: values by column; what a row lacks stays empty.
        append: add the rows to the file, which has this heading already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path if append else path.with_name(f".{path.name}.{os.getpid()}")
    with target.open("a" if append else "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if not append:
            writer.writeheader()
        writer.writerows(rows)
    if not append:
        target.replace(path)

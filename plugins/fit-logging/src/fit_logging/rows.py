"""Rows of numbers in files: comma-separated values with a heading, or one JSON object per line."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fit_core import FitError


class Format(Protocol):
    """How rows are written."""

    def heading(self, columns: Sequence[str]) -> str:
        """Return what goes before the first row."""

    def text(self, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
        """Return rows as text."""

    def read(self, text: str) -> list[dict[str, Any]]:
        """Return the complete rows of a text."""


class Commas:
    """CSV: what a row lacks stays empty."""

    def heading(self, columns: Sequence[str]) -> str:
        """Return the line with the names."""
        return self._lines([columns])

    def text(self, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
        """Return a line for each row."""
        return self._lines([row.get(name, "") for name in columns] for row in rows)

    def read(self, text: str) -> list[dict[str, Any]]:
        """Return the rows of lines that are complete."""
        return list(csv.DictReader(io.StringIO(complete(text), newline="")))

    def _lines(self, rows: Iterable[Sequence[Any]]) -> str:
        file = io.StringIO(newline="")
        csv.writer(file).writerows(rows)
        return file.getvalue()


class JSONLines:
    """One JSON object per line; numbers that are not finite are null, since JSON has none."""

    def heading(self, columns: Sequence[str]) -> str:
        """Return nothing: each line has its names."""
        del columns
        return ""

    def text(self, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
        """Return a line for each row."""
        del columns
        return "".join(json.dumps({name: finite(value) for name, value in row.items()}) + "\n" for row in rows)

    def read(self, text: str) -> list[dict[str, Any]]:
        """Return the rows of lines that are complete."""
        return [json.loads(line) for line in complete(text).splitlines()]


def finite(value: Any) -> Any:
    """Return a value as JSON has it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def complete(text: str) -> str:
    """Return a text up to the end of its last line that has one."""
    return text[: text.rfind("\n") + 1]


FORMATS: dict[str, Format] = {".csv": Commas(), ".jsonl": JSONLines()}


def format_of(path: Path) -> Format:
    """Return the format that the end of a name says.

    Raises:
        FitError: it says none.
    """
    if path.suffix not in FORMATS:
        raise FitError(f"{path} must end with .csv or .jsonl")
    return FORMATS[path.suffix]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the complete rows of a file; none if there is no file."""
    return format_of(path).read(path.read_bytes().decode()) if path.exists() else []


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a file with a heading; it takes the place of an old one only when it is complete."""
    kind = format_of(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes((kind.heading(columns) + kind.text(columns, rows)).encode())
    draft.replace(path)


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows to a file with this heading, in one write."""
    with path.open("ab", buffering=0) as file:
        file.write(format_of(path).text(columns, rows).encode())

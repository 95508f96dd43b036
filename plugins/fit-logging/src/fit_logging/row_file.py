"""A file of rows that one run writes, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fit_core import FitError
from fit_logging.rows import append_rows, format_of, read_rows, write_rows


class RowFile:
    """Grows by rows; a column that appears later is added to the heading, and earlier rows stay empty there.

    Each row is complete in the file as soon as it is added, whatever becomes of the process. Nobody else can write the file before
    `close`.

    Args:
        path: ends with `.csv` or `.jsonl`.
        columns: that the heading has from the beginning.
    """

    def __init__(self, path: Path, columns: Sequence[str] = ()) -> None:
        format_of(path)
        self.path = path
        self._columns = list(columns)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)

    def begin(self) -> None:
        """Begin a file.

        Raises:
            FitError: there is one already, or another run writes it.
        """
        self.open()
        try:
            self.path.open("x").close()
        except FileExistsError:
            self.close()
            raise FitError(f"{self.path} exists already; choose another run folder or path, so that no run is lost") from None

    def go_on(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Go on with a file after these rows; what it has beyond them is made again.

        Raises:
            FitError: another run writes it.
        """
        self.open()
        self._columns = list(dict.fromkeys([*self._columns, *(name for row in rows for name in row)]))
        write_rows(self.path, self._columns, rows)

    def open(self) -> None:
        """Keep others away from the file.

        Raises:
            FitError: somebody else writes it.
        """
        try:
            self._lock.acquire()
        except Timeout:
            raise FitError(f"{self.path} is being written by another run; choose another run folder or path") from None

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows."""
        new = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in self._columns]
        if new or not self.path.exists() or not self.path.stat().st_size:
            self._columns += new
            write_rows(self.path, self._columns, [*read_rows(self.path), *rows])
        else:
            append_rows(self.path, self._columns, rows)

    def close(self) -> None:
        """Let others have the file."""
        if self._lock.is_locked:
            Path(self._lock.lock_file).unlink(missing_ok=True)  # while it is held: who waits for it looks whether it is still there
        self._lock.release()

"""`history.csv`: one row per epoch, whole after each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fit_core import FitError, State, hookimpl
from fit_logging.rows import read_rows, write_rows

if TYPE_CHECKING:
    from fit_core import Trainer


class CSV:
    """Writes each row to a CSV file as soon as it is complete.

    A column that appears later is added to the heading; earlier rows stay empty there. A second call of `fit`, and a run that
    is resumed, go on in the same file.

    Args:
        path: the file; a relative one lies in the run folder.
    """

    passive = True

    def __init__(self, path: Path = Path("history.csv")) -> None:
        self.path = path
        self._file: Path | None = None
        self._columns: list[str] = []

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        if self._file is None:
            self._file = self.path if self.path.is_absolute() else trainer.ensure_run_dir() / self.path
            if state.resumed:
                self._begin_with(trainer.history)
            elif self._file.exists():
                raise FitError(f"{self._file} exists already; choose another run folder or path, so that no run is lost")

    def _begin_with(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write the rows up to where the run goes on; those that came after are made again."""
        assert self._file is not None
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        if rows or self._file.exists():
            write_rows(self._file, self._columns, rows)

    @hookimpl
    def on_epoch_end(self, row: Mapping[str, float]) -> None:
        assert self._file is not None
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns += new
            write_rows(self._file, self._columns, [*read_rows(self._file), row])
        else:
            write_rows(self._file, self._columns, [row], append=True)

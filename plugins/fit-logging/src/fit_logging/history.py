"""`history.csv` and `history.jsonl`: one row per epoch, whole after each; and `steps.csv`: the numbers of every step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fit_core import State, hookimpl
from fit_logging.row_file import RowFile
from fit_logging.rows import read_rows

if TYPE_CHECKING:
    from fit_core import Trainer
    from fit_core.log import LogEntry


class CSV:
    """Writes each row to a CSV file as soon as it is complete.

    A column that appears later is added to the heading; earlier rows stay empty there. A second call of `fit`, and a run that
    is resumed, go on in the same file; `evaluate` and `predict` leave it alone.

    Args:
        path: the file, which ends with `.csv` or `.jsonl`; a relative one lies in the run folder.
    """

    passive = True

    def __init__(self, path: str | Path = Path("history.csv")) -> None:
        self.path = Path(path)
        self._file: RowFile | None = None

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        if self._file is not None:
            self._file.open()
            return
        file = RowFile(self.path if self.path.is_absolute() else trainer.ensure_run_dir() / self.path)
        if state.resumed:
            file.go_on(trainer.history)
        else:
            file.begin()
        self._file = file

    @hookimpl
    def on_epoch_end(self, row: Mapping[str, float]) -> None:
        assert self._file is not None
        self._file.add([row])

    @hookimpl
    def on_fit_end(self) -> None:
        if self._file is not None:
            self._file.close()


class JSONL(CSV):
    """Writes each row as a JSON object on a line of its own, as soon as it is complete.

    Otherwise it is like `csv`. Numbers that are not finite are null.

    Args:
        path: the file, which ends with `.jsonl`; a relative one lies in the run folder.
    """

    def __init__(self, path: str | Path = Path("history.jsonl")) -> None:
        super().__init__(path)


class StepLog:
    """Writes everything that is logged in training: the loss and the learning rates of every batch, what plugins log, each validation.

    Rows have `step`, `epoch`, `phase` and `time` (seconds since 1970), then the values. They are written at every flush of the trainer
    (`log_every` steps), and whole after each; a run that is resumed goes on in the same file.

    Args:
        path: the file, which ends with `.csv` or `.jsonl`; a relative one lies in the run folder.
    """

    passive = True
    columns = ("step", "epoch", "phase", "time")

    def __init__(self, path: str | Path = Path("steps.csv")) -> None:
        self.path = Path(path)
        self._file: RowFile | None = None
        self._rows: int | None = None
        self._running = False

    @hookimpl(tryfirst=True)
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        self._running = True
        if self._file is not None:
            self._file.open()
            return
        path = self.path if self.path.is_absolute() else trainer.ensure_run_dir() / self.path
        file = RowFile(path, self.columns)
        if state.resumed and self._rows is not None:
            file.go_on(read_rows(path)[: self._rows])
        else:
            file.begin()
        self._file, self._rows = file, self._rows or 0

    @hookimpl
    def on_log(self, entries: list[LogEntry]) -> None:
        rows = [
            {"step": entry.step, "epoch": entry.epoch, "phase": entry.phase, "time": entry.time, **entry.values}
            for entry in entries
            if entry.phase in ("train", "validate")
        ]
        if not rows or self._file is None or self._rows is None:
            return
        if not self._running:  # what was logged while the run ended
            self._file.open()
        self._file.add(rows)
        self._rows += len(rows)
        if not self._running:
            self._file.close()

    @hookimpl
    def on_fit_end(self) -> None:
        self._running = False
        if self._file is not None:
            self._file.close()

    def state_dict(self) -> dict[str, Any]:
        """Return how many rows there are, so that a resumed run knows which of them are its own."""
        return {"rows": self._rows or 0}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._rows = state["rows"]

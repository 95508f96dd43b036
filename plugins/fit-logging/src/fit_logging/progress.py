"""What happens while it happens, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fit_core import FitError, State, hookimpl
from fit_core.metric_list import directions
from fit_core.text import ending, epoch_of, number
from fit_logging.best import Best
from fit_logging.screen import Lines, Screen, screen
from fit_logging.status import Status, clock
from fit_logging.table import Table

if TYPE_CHECKING:
    from fit_core import Trainer


class Progress:
    """Shows how far a run is, a table with a row per epoch, and the best values at the end.

    On a terminal and in a notebook one line says how far the epoch is, when the run will be done, and what the values are so far;
    the device is read only when that line is drawn. Anywhere else there is one line per epoch. The best value so far
    has a star. Takes the place of `console`. Prints nothing if the trainer is quiet.

    Args:
        refresh: seconds between two looks at the values.
        columns: the values to show; none: all of them.

    Raises:
        FitError: `refresh` is not above 0.
    """

    replaces = ("console",)
    passive = True

    def __init__(self, refresh: float = 0.1, columns: Sequence[str] = ()) -> None:
        if not refresh > 0:
            raise FitError(f"refresh must be above 0 seconds, not {refresh}")
        self.refresh = refresh
        self.columns = tuple(columns)
        self._screen: Screen = Lines()
        self._best = Best({}, ())
        self._table = Table()
        self._running = False
        self._due = self._began = 0.0
        self._first_step = 0

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        self._begin(trainer)
        self._running = True
        self._began, self._first_step = time.perf_counter(), state.step
        self._table = Table()
        self._best = Best(directions(trainer.metrics), state.validation)
        for row in trainer.history if state.resumed else ():
            self._best.take(row)

    @hookimpl
    def on_batch_end(self, state: State) -> None:
        if self._screen.live and time.perf_counter() >= self._due:
            self._draw(state)

    @hookimpl
    def on_eval_start(self, trainer: Trainer) -> None:
        if not self._running:
            self._begin(trainer)
            self._began = time.perf_counter()

    @hookimpl
    def on_eval_batch_end(self, state: State) -> None:
        if self._screen.live and time.perf_counter() >= self._due:
            self._draw(state)

    @hookimpl
    def on_eval_end(self) -> None:
        if not self._running:
            self._screen.close()

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State, row: Mapping[str, float]) -> None:
        best = self._best.take(row)
        if trainer.quiet:
            return
        cells = {name: number(name, value) for name, value in row.items() if name != "epoch" and self._shown(name)}
        self._table.width = self._screen.width
        for line in self._table.lines({"epoch": epoch_of(state)} | cells, best):
            self._screen.line(line)

    @hookimpl
    def on_exception(self) -> None:
        self._screen.close()

    @hookimpl
    def on_fit_end(self, trainer: Trainer, state: State) -> None:
        self._running = False
        self._screen.close()
        if not trainer.quiet:
            for line in [*self._summary(trainer, state), *ending(trainer, state)]:
                self._screen.line(line)

    def _begin(self, trainer: Trainer) -> None:
        self._screen = Lines() if trainer.quiet else screen()
        self._due = 0.0

    def _shown(self, name: str) -> bool:
        return not self.columns or name in self.columns

    def _draw(self, state: State) -> None:
        """Show how far the pass is. Waits for the device, as reading values does."""
        values = {name: number(name, value) for name, value in state.metrics.items() if self._shown(name)}
        epoch = epoch_of(state) if self._running else ""
        self._screen.status(Status(state.phase, epoch, state.batch, state.batches, self._left(state), values))
        self._due = time.perf_counter() + self.refresh

    def _left(self, state: State) -> float | None:
        """Return the seconds that are left of the run, or of a pass on its own; None if nobody knows."""
        spent = time.perf_counter() - self._began
        if not self._running:
            return None if state.batches is None else spent / state.batch * (state.batches - state.batch)
        done = state.step - self._first_step
        return None if state.steps_total is None or done <= 0 else spent / done * max(state.steps_total - state.step, 0)

    def _summary(self, trainer: Trainer, state: State) -> list[str]:
        """Return the best and the last value of each column, and what the run took."""
        if not trainer.history or not self._best.records:
            return []
        last = trainer.history[-1]
        table = Table(self._screen.width)
        records = {name: record for name, record in self._best.records.items() if self._shown(name)}
        width = max((len(name) for name in records), default=0)
        lines = []
        for name, record in records.items():
            value = number(name, last[name]) if name in last else "-"
            cells = {" " * width: f"{name:{width}}", "best": number(name, record.value), "of epoch": str(record.epoch), "last": value}
            lines += table.lines(cells)
        part = "; this part" if state.resumed else ""
        epochs = f"{len(trainer.history)} epoch{'s' * (len(trainer.history) > 1)}"
        took = f"{epochs}, {state.step} steps{part} in {clock(time.perf_counter() - self._began)}"
        files = "" if state.run_dir is None or trainer.run_info is not None else f"; files in {state.run_dir}"
        return ["", *lines, took + files]

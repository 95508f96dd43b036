"""A table on the terminal, one line per epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fit_core import State, hookimpl
from fit_core.text import ending, epoch_of, number
from fit_logging.table import Table

if TYPE_CHECKING:
    from fit_core import Trainer


class Progress:
    """Prints a table: a line per epoch, a heading whenever the columns change, and how the run ended.

    Takes the place of `console`. Prints nothing if the trainer is quiet.
    """

    replaces = ("console",)
    passive = True

    def __init__(self) -> None:
        self._table = Table()

    @hookimpl
    def on_fit_start(self) -> None:
        self._table = Table()

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State, row: Mapping[str, float]) -> None:
        cells = {name: number(name, value) for name, value in row.items()}
        self._say(trainer, *self._table.lines(cells | {"epoch": epoch_of(state)}))

    @hookimpl
    def on_fit_end(self, trainer: Trainer, state: State) -> None:
        self._say(trainer, *ending(trainer, state))

    def _say(self, trainer: Trainer, *lines: str) -> None:
        if lines and not trainer.quiet:
            print(*lines, sep="\n", flush=True)

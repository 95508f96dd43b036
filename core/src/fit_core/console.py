"""One line per epoch: the display that is there when no other is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fit_core.hookspecs import hookimpl
from fit_core.state import State
from fit_core.text import ending, epoch_of, number

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


class Console:
    """Prints one line per epoch, and why a run stopped early; nothing if the trainer is quiet."""

    name = "console"
    passive = True

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State, row: Mapping[str, float]) -> None:
        if trainer.quiet:
            return
        values = [
            number(name, value) if name == "seconds" else f"{name} {number(name, value)}" for name, value in row.items() if name != "epoch"
        ]
        print("  ".join([f"epoch {epoch_of(state)}", *values]), flush=True)

    @hookimpl
    def on_fit_end(self, trainer: Trainer, state: State) -> None:
        for line in [] if trainer.quiet else ending(trainer, state):
            print(line, flush=True)

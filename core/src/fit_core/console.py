"""One line per epoch: the display that is there when no other is."""

from __future__ import annotations

from collections.abc import Mapping

from fit_core.hookspecs import hookimpl
from fit_core.state import State
from fit_core.text import epoch_of, number


class Console:
    """Prints one line per epoch, and why a run stopped early."""

    name = "console"

    @hookimpl
    def on_epoch_end(self, state: State, row: Mapping[str, float]) -> None:
        values = [
            number(name, value) if name == "seconds" else f"{name} {number(name, value)}" for name, value in row.items() if name != "epoch"
        ]
        print("  ".join([f"epoch {epoch_of(state)}", *values]), flush=True)

    @hookimpl
    def on_fit_end(self, state: State) -> None:
        if state.stop_reason is not None:
            print(f"stopped {state.where()}: {state.stop_reason}", flush=True)

"""Curves of losses, metrics and learning rates."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from fit_core import FitError, State, hookimpl
from fit_core.items import Figure
from fit_core.metric_list import row_directions
from fit_vis.figures.panels import draw, panels
from fit_vis.schedule import Schedule

if TYPE_CHECKING:
    from fit_core import Trainer


class Curves:
    """Shows loss, metrics and learning rate over the epochs, of training and validation, with the best value marked: `curves`.

    Args:
        every: how often, at the ends of epochs.
        names: patterns of values to show, without `val_`.
    """

    passive = True

    def __init__(self, every: str = "1 epoch", names: str | list[str] = "*") -> None:
        self.names = [names] if isinstance(names, str) else list(names)
        self._schedule = Schedule(every)

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        self._schedule.begin(state)

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State) -> None:
        if self._schedule.end(state):
            trainer.show("curves", lambda: self._figure(trainer, state))

    def _figure(self, trainer: Trainer, state: State) -> Figure:
        losses = {"loss", *(name for row in trainer.history[-1:] for name in row if name.endswith("_loss"))}
        better = row_directions(trainer.metrics, sorted(losses), state.validation)
        found = panels(trainer.history, state.validation, better)
        chosen = [panel for panel in found if any(fnmatchcase(panel.name, pattern) for pattern in self.names)]
        if not chosen:
            raise FitError(
                f"curves has nothing to show: no value is called {', '.join(self.names)}; there are {', '.join(p.name for p in found)}"
            )
        return Figure(draw(chosen))

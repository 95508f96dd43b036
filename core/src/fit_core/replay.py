"""Rows of a run that is over, sent to plugins as if it were going on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from torch import nn

from fit_core.ending import ending
from fit_core.errors import FitError
from fit_core.meter import Meter
from fit_core.metrics import Row

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


class NoModel(nn.Module):
    """Stands where a replay has no model: a plugin that calls it is told so."""

    def forward(self, *_: Any) -> NoReturn:
        """Refuse.

        Raises:
            FitError: always.
        """
        raise FitError("a replay has rows, and no model: take the plugin that calls it away")


@dataclass
class Recorded:
    """Stands where a replay has the values of a metric and not the metric: it says which direction is better.

    Attributes:
        name: of the value.
        higher_is_better: True, False, or None if neither.
    """

    name: str
    higher_is_better: bool | None

    def reset(self) -> None:
        """Do nothing."""

    def update(self, outputs: Any, targets: Any) -> None:
        """Refuse: nothing is measured.

        Raises:
            FitError: always.
        """
        del outputs, targets
        raise FitError(f"a replay has the values of {self.name!r}, and nothing to measure")

    def compute(self) -> float:
        """Return that there is no value."""
        return math.nan

    def merge(self, other: Any) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Moment:
    """A row, and when it was complete.

    Attributes:
        row: the numbers of an epoch.
        step: finished steps.
        time: seconds since the Unix epoch.
    """

    row: Mapping[str, float]
    step: int
    time: float


def replay(trainer: Trainer, moments: Iterable[Moment], validation: tuple[str, ...] = ()) -> list[Row]:
    """Send rows through the hooks that an epoch has when nothing of it is computed.

    These are `on_setup`, `on_fit_start`, of every row `on_epoch_start`, `on_log` and `on_epoch_end`, then `on_fit_end`. A plugin that
    asks to stop ends it, as it would end the run. What `trainer.close()` does is left to the caller.

    Args:
        trainer: which has not run yet; `Trainer(NoModel(), plugins=[...])`.
        moments: in their order.
        validation: the prefixes of validation sets, for `state.validation`.

    Returns:
        The rows that were sent.

    Raises:
        FitError: the trainer has run already.
    """
    if trainer.current_state().epoch or trainer.is_fitting:
        raise FitError("a replay needs a trainer that has not run yet; make another one")
    moments = list(moments)
    progress, meter = trainer._progress, Meter(())
    state = trainer._new_state(progress, meter)
    with trainer._entered(state, meter), ending(trainer, state, fit=True):
        trainer._set_plugins_up(state)
        progress.begin_run()
        progress.epochs = int(moments[-1].row["epoch"]) if moments else 0
        progress.steps_total = moments[-1].step if moments else 0
        progress.validation = validation
        for member in trainer.members:
            member.start_clocks()
        trainer.hooks.on_fit_start(trainer, state)
        for moment in moments:
            if progress.stop_reason is not None or trainer.interrupted():
                break
            progress.begin_epoch()
            progress.epoch = int(moment.row["epoch"])
            state.row = MappingProxyType({})
            trainer.hooks.on_epoch_start(trainer, state)
            progress.training, progress.stage = False, "evaluate"
            progress.step = moment.step
            row: Row = dict(moment.row)
            trainer.history.append(row)
            state.row = MappingProxyType(row)
            trainer._log_row(state, moment.time)
            trainer.hooks.on_epoch_end(trainer, state, state.row)
    return [dict(row) for row in trainer.history]

"""Stopping when training no longer helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from fit_core import FitError, State, hookimpl
from fit_core.metric_list import higher_is_better
from fit_core.text import number
from fit_schedulers.patience import Patience
from fit_schedulers.watched import watched

if TYPE_CHECKING:
    from fit_core import Trainer


class EarlyStopping:
    """Stops the run when a value of the row has not improved for some epochs. It only stops: nothing is restored.

    An epoch without validation is no miss for a value of validation. NaN is a miss. Over repeated calls of `fit` it goes on counting.

    Args:
        monitor: the name of a value in the row.
        patience: how many epochs without improvement are too many.
        min_delta: by how much a value must improve to count, as an absolute difference.
        relative_delta: by how much more, as a part of the best value's magnitude: 0.01 is a hundredth of it.
        mode: "min" or "max" is better; "auto" asks the metric, and takes losses as better when they are lower.
        strict: a missing value is an error; otherwise nothing is ever stopped without it.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        relative_delta: float = 0.0,
        mode: Literal["auto", "min", "max"] = "auto",
        strict: bool = True,
    ) -> None:
        if patience < 1:
            raise FitError(f"patience must be at least 1 epoch, not {patience}")
        for name, delta in (("min_delta", min_delta), ("relative_delta", relative_delta)):
            if delta < 0:
                raise FitError(f"{name} must not be negative, but is {delta}")
        self.monitor = monitor
        self.mode = mode
        self.strict = strict
        self._patience = Patience(patience, min_delta, relative_delta)

    @hookimpl
    def on_fit_start(self, trainer: Trainer) -> None:
        self._patience.higher_is_better = higher_is_better("early-stopping", self.monitor, self.mode, trainer.metrics)

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State, row: Mapping[str, float]) -> None:
        value = watched("early-stopping", self.monitor, row, state, self.strict)
        if value is not None and self._patience.over(value, state.epoch):
            best = number(self.monitor, self._patience.best)
            trainer.stop(
                f"{self.monitor} has not improved on {best} (epoch {self._patience.best_epoch}) for {self._patience.patience} epochs"
            )

    def state_dict(self) -> dict[str, float]:
        """Return the best value and the misses since."""
        return self._patience.state_dict()

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take up what `state_dict` returned."""
        self._patience.load_state_dict(state)

"""A learning rate that falls when a value no longer improves."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from torch.optim.lr_scheduler import ReduceLROnPlateau

from fit_core import FitError, State, hookimpl
from fit_core.metric_list import higher_is_better
from fit_schedulers.watched import watched

if TYPE_CHECKING:
    from fit_core import Trainer


class Plateau:
    """Multiplies the learning rate of every parameter group with a factor when a value of the row has not improved for some epochs.

    `ReduceLROnPlateau` of torch, for each optimizer. An epoch without validation is no miss for a value of validation. NaN is a miss.
    It goes on over repeated calls of `fit`.

    Args:
        monitor: the name of a value in the row.
        factor: what rates are multiplied with, between 0 and 1.
        patience: how many epochs without improvement are borne.
        threshold: by how much a value must improve to count.
        threshold_mode: whether that is a part of the best value ("rel") or a difference ("abs").
        cooldown: epochs after a reduction in which nothing is counted.
        min_lr: rates never fall below it.
        mode: "min" or "max" is better; "auto" asks the metric, and takes losses as better when they are lower.

    Raises:
        FitError: an option is out of its range.
    """

    name = "plateau"

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        mode: Literal["auto", "min", "max"] = "auto",
    ) -> None:
        if not 0 < factor < 1:
            raise FitError(f"factor must be between 0 and 1, not {factor}")
        for word, value in (("patience", patience), ("threshold", threshold), ("cooldown", cooldown), ("min_lr", min_lr)):
            if value < 0:
                raise FitError(f"{word} must not be negative, but is {value}")
        self.monitor = monitor
        self.mode = mode
        self.options = {
            "factor": factor,
            "patience": patience,
            "threshold": threshold,
            "threshold_mode": threshold_mode,
            "cooldown": cooldown,
            "min_lr": min_lr,
        }
        self._schedulers: dict[str, list[ReduceLROnPlateau]] = {}
        self._saved: Mapping[str, Any] = {}

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        better: Literal["min", "max"] = "max" if higher_is_better("plateau", self.monitor, self.mode, trainer.metrics) else "min"
        saved, self._saved = self._saved, {}
        if self._schedulers and not saved:
            return
        self._schedulers = {
            name: [ReduceLROnPlateau(optimizer, better, **self.options) for optimizer in update.optimizers]  # type: ignore[arg-type]
            for name, update in state.updates.items()
        }
        for name, states in saved.items():
            for scheduler, each in zip(self._schedulers.get(name, []), states, strict=False):
                scheduler.load_state_dict(copy.deepcopy(each))

    @hookimpl
    def on_epoch_end(self, state: State, row: Mapping[str, float]) -> None:
        value = watched("plateau", self.monitor, row, state)
        if value is not None:
            for schedulers in self._schedulers.values():
                for scheduler in schedulers:
                    scheduler.step(value)

    def state_dict(self) -> dict[str, Any]:
        """Return what the schedulers have counted."""
        return dict(self._saved) or {name: [copy.deepcopy(each.state_dict()) for each in some] for name, some in self._schedulers.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned, once the next `fit` begins."""
        self._schedulers, self._saved = {}, dict(state)

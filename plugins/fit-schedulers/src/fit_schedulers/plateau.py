"""A learning rate that falls when a value no longer improves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from fit_core import FitError, State, hookimpl
from fit_core.metric_list import higher_is_better
from fit_schedulers.groups import all_groups
from fit_schedulers.patience import Patience
from fit_schedulers.slots import GroupSlot
from fit_schedulers.watched import watched

if TYPE_CHECKING:
    from fit_core import Trainer


class Plateau:
    """Multiplies the learning rate of every parameter group with a factor when a value of the row has not improved for some epochs.

    As `ReduceLROnPlateau` of torch, but that a relative threshold is right for negative values too. An epoch without validation is no
    miss for a value of validation. NaN is a miss. It goes on over repeated calls of `fit`.

    Args:
        monitor: the name of a value in the row.
        factor: what rates are multiplied with, between 0 and 1.
        patience: how many epochs without improvement are borne.
        threshold: by how much a value must improve to count.
        threshold_mode: whether that is a part of the best value ("rel", of its magnitude) or a difference ("abs").
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
        if threshold_mode not in ("rel", "abs"):
            raise FitError(f"threshold_mode must be 'rel' or 'abs', not {threshold_mode!r}")
        self.monitor, self.mode = monitor, mode
        self.factor, self.cooldown, self.min_lr = factor, cooldown, min_lr
        deltas = (threshold, 0.0) if threshold_mode == "abs" else (0.0, threshold)
        self._patience = Patience(patience + 1, *deltas)
        self._cooling = 0

    @hookimpl
    def on_fit_start(self, trainer: Trainer) -> None:
        self._patience.higher_is_better = higher_is_better("plateau", self.monitor, self.mode, trainer.metrics)

    @hookimpl
    def on_epoch_end(self, state: State, row: Mapping[str, float]) -> None:
        value = watched("plateau", self.monitor, row, state)
        if value is None:
            return
        over = self._patience.over(value, state.epoch)
        if self._cooling:
            self._cooling -= 1
            self._patience.misses = 0
        elif over:
            self._cooling, self._patience.misses = self.cooldown, 0
            self._reduce(state)

    def _reduce(self, state: State) -> None:
        """Lower every rate; of one in a tensor it waits for the device."""
        for update in state.updates.values():
            for slot in (GroupSlot(group, "lr") for group in all_groups(update)):
                rate = slot.get()
                slot.set(min(rate, max(rate * self.factor, self.min_lr)))

    def state_dict(self) -> dict[str, float]:
        """Return the best value, the misses since, and how many epochs nothing is counted."""
        return {**self._patience.state_dict(), "cooling": self._cooling}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take up what `state_dict` returned."""
        self._patience.load_state_dict(state)
        self._cooling = int(state["cooling"])

"""A learning rate to begin with, tried out before the first epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from fit_core import FitError, State, Update, hookimpl
from fit_core.errors import listed
from fit_core.items import Scatter, Table
from fit_schedulers.range_test import RangeTest, diverges, growing, judged

if TYPE_CHECKING:
    from fit_core import Trainer


class LRFinder:
    """Tries learning rates out before a run begins: some steps at growing rates, of which nothing is left (Smith 2017, section 3.3).

    It prints the rate at which the loss falls fastest, or why there is none, and shows the curve. The run is the same to the bit as
    without it, unless it applies what it found. It waits for the device at each of its steps. A resumed run tries nothing, nor does
    one on the meta device, where no loss can be read.

    Args:
        min_lr: the first rate, of the first parameter group; others keep their ratio to it.
        max_lr: the last one, if the loss does not grow far before.
        steps: how many rates.
        apply: train with the rate that was found; if none was, with the one there is. A schedule that has rates of its own
            (`max_lr` of OneCycleLR, a ready LambdaLR) keeps those.
        only: end the run before its first epoch.
        update: whose rate it is; needed if there are several.

    Attributes:
        result: rates, losses, suggestion and reason; None before.

    Raises:
        FitError: an option is out of its range.
    """

    def __init__(
        self,
        min_lr: float = 1e-6,
        max_lr: float = 10.0,
        steps: int = 100,
        apply: bool = False,
        only: bool = False,
        update: str | None = None,
    ) -> None:
        if not 0 < min_lr < max_lr or math.isinf(max_lr):
            raise FitError(f"min_lr must be above 0 and below max_lr, not {min_lr} and {max_lr}")
        if steps < 20:
            raise FitError(f"steps must be at least 20, not {steps}")
        self.rates = growing(min_lr, max_lr, steps)
        self.apply, self.only, self.update = apply, only, update
        self.result: RangeTest | None = None
        self._tried = False

    @hookimpl(tryfirst=True)  # before a schedule takes the rate it begins with
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        if self._tried or state.resumed or trainer.is_rehearsal or state.device.type == "meta":
            return
        self._tried = True
        update = self._chosen(state)
        probe = Probe(update.name, self.rates)
        trainer.rehearse(probe, without=[self])
        self.result = judged(self.rates[: len(probe.losses)], probe.losses)
        found = self.result.suggestion
        self._tell(trainer, update)
        if self.apply and found is not None:
            scale_rates(update, found)
        if self.only:
            trainer.stop("lr-finder: nothing but the search was asked for")

    def _chosen(self, state: State) -> Update:
        if self.update is None and len(state.updates) > 1:
            raise FitError(f"lr-finder: whose rate? there are the updates {listed(state.updates)}: say update=")
        if self.update is not None and self.update not in state.updates:
            raise FitError(f"lr-finder: there is no update {self.update!r} (updates: {listed(state.updates)})")
        found = state.updates[self.update] if self.update is not None else next(iter(state.updates.values()))
        if isinstance(found.next_lr, torch.Tensor) or not found.next_lr:
            raise FitError("lr-finder needs an optimizer whose learning rate is a number above 0")
        return found

    def _tell(self, trainer: Trainer, update: Update) -> None:
        result = self.result
        assert result is not None
        points = [[math.log10(rate), loss] for rate, loss in zip(result.rates, result.losses, strict=True) if math.isfinite(loss)]
        trainer.show("lr-finder", lambda: Scatter(torch.tensor(points), axis_titles=["log10 of the learning rate", "loss"]))
        trainer.show("lr-finder-table", lambda: Table(["lr", "loss"], list(zip(result.rates, result.losses, strict=True))))
        if not trainer.quiet:
            there = f"the rate is {float(update.next_lr):.3g}"
            if result.suggestion is None:
                print(f"lr-finder: no suggestion: {result.reason} ({there})")  # noqa: T201  # what it is for
            else:
                print(f"lr-finder: {result.suggestion:.2g}: {result.reason} ({there}{', and is set' if self.apply else ''})")  # noqa: T201  # what it is for

    def state_dict(self) -> dict[str, Any]:
        """Return whether it has tried rates out."""
        return {"tried": self._tried}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._tried = state["tried"]


class Probe:
    """Trains with one rate after the other.

    Args:
        update: whose rate it is.
        rates: growing.
    """

    def __init__(self, update: str, rates: list[float]) -> None:
        self.update, self.rates = update, rates
        self.losses: list[float] = []
        self._factors: list[tuple[dict[str, Any], float]] = []
        self._sum = self._count = 0.0

    @hookimpl(trylast=True)
    def on_fit_start(self, state: State) -> None:
        groups = [group for optimizer in state.updates[self.update].optimizers for group in optimizer.param_groups]
        first = float(groups[0]["lr"])
        self._factors = [(group, float(group["lr"]) / first) for group in groups]
        self._set()

    @hookimpl(trylast=True)
    def on_backward_end(self, state: State) -> None:
        if state.update is not None and state.update.name == self.update:
            self._sum += float(state.loss.detach())  # waits: a diverging search ends here
            self._count += 1

    @hookimpl(trylast=True)
    def on_step_start(self, state: State) -> None:
        if state.update is not None and state.update.name == self.update:
            self._set()

    @hookimpl(trylast=True)
    def on_step_end(self, trainer: Trainer, state: State) -> None:
        if state.update is None or state.update.name != self.update or len(self.losses) == len(self.rates):
            return
        self.losses.append(self._sum / max(self._count, 1))
        self._sum = self._count = 0.0
        if len(self.losses) == len(self.rates) or diverges(self.losses):
            trainer.stop("the search is over")
        else:
            self._set()  # an optimizer with a closure looks at its rate before on_step_start

    def _set(self) -> None:
        """Set the rate of the next step."""
        for group, factor in self._factors:
            group["lr"] = self.rates[min(len(self.losses), len(self.rates) - 1)] * factor


def scale_rates(update: Update, rate: float) -> None:
    """Set the rate of the first parameter group, and those of the others in their ratio to it."""
    groups = [group for optimizer in update.optimizers for group in optimizer.param_groups]
    factor = rate / float(groups[0]["lr"])
    for group in groups:
        group["lr"] = float(group["lr"]) * factor

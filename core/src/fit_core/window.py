"""The window: the batches whose gradients are added up for one step.

The gradient of a step is `grad(sum of w * loss / sum of w)` over its window, w the weight of each batch: the gradient of the
same samples in one batch. Each loss is scaled by its weight over what the window should come to, the size of its first
batch times its number of batches; where it comes to something else, the gradients are multiplied once by the ratio.
Nothing is looked at ahead, and nothing is waited for. A window of one batch needs no scaling at all, so that it stays equal
to the plain loop to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fit_core.batch import tensors
from fit_core.criterion import Weight, terms
from fit_core.errors import FitError
from fit_core.mean import wide
from fit_core.state import State


class Window:
    """Counts the batches of a window, scales their losses, and knows what their gradients lack.

    Args:
        accumulate: how many batches make a window.
        sums: losses are sums over samples: their gradients add up as they are.

    Attributes:
        batches: how many are in.
        nominal: the weight that it should come to; None as long as its one batch needs no scaling.
        skip: whether its gradients are thrown away instead of stepping.
    """

    __slots__ = ("_total", "accumulate", "batches", "nominal", "skip", "sums")

    def __init__(self, accumulate: int = 1, sums: bool = False) -> None:
        self.accumulate = accumulate
        self.sums = sums
        self.batches = 0
        self.skip = False
        self.nominal: float | None = None
        self._total: Weight = 0.0

    def scale(self, state: State) -> Tensor:
        """Return what `backward` is given for the batch in `state`."""
        if self.sums or (self.accumulate == 1 and not self.batches):
            return state.loss
        weight = weight_of(state)
        if self.nominal is None:
            self.nominal = self.accumulate * size(terms(state), state)
        return scaled(state.loss, weight, self.nominal)

    def add(self, state: State) -> None:
        """Count the batch in `state`, whose gradients are in.

        Raises:
            FitError: they are not of `trainer.backward()`, so that they cannot be scaled.
        """
        self.batches += 1
        if self.sums or (self.accumulate == 1 and self.batches == 1):
            return
        if self.nominal is None:
            raise FitError(
                f"a window of {self.accumulate} batches needs gradients of trainer.backward(), which scales them; run_update made its own"
            )
        self._total = self._total + wide(weight_of(state))

    def stay_open(self, state: State) -> Weight | None:
        """Return by what the gradients must be multiplied, since a window of one batch turns out to go on."""
        if self.sums or self.accumulate > 1 or self.batches > 1:
            return None
        weight = weight_of(state)
        self.nominal = size(terms(state), state)
        self._total = wide(weight)
        return wide(weight) / self.nominal

    def correction(self) -> Weight | None:
        """Return by what the gradients must be multiplied before they are used; None if they are right."""
        if self.nominal is None or (not isinstance(self._total, Tensor) and self._total == self.nominal):
            return None
        if isinstance(self._total, Tensor):
            return torch.where(self._total == 0, 0.0, self.nominal / self._total)
        return self.nominal / self._total if self._total else 0.0

    @property
    def full(self) -> bool:
        """Whether it is time to step."""
        return self.batches >= self.accumulate

    def state_dict(self) -> dict[str, Any]:
        """Return how far it is."""
        return {"batches": self.batches, "skip": self.skip, "nominal": self.nominal, "total": self._total}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.batches, self.skip = state["batches"], state["skip"]
        self.nominal, self._total = state["nominal"], state["total"]

    def clear(self) -> None:
        """Begin anew, after a step or a skipped one."""
        self.batches = 0
        self.skip = False
        self.nominal = None
        self._total = 0.0


def weight_of(state: State) -> Weight:
    """Return what the batch in `state` weighs: as a number where reading one waits for nothing."""
    weight = terms(state)
    return weight.item() if isinstance(weight, Tensor) and weight.is_cpu else weight


def size(weight: Weight, state: State) -> float:
    """Return about what a batch weighs, as a number on the host: its weight, or else the elements of its targets."""
    if not isinstance(weight, Tensor) and weight:
        return weight
    return next((float(t.numel()) for value in (state.targets, state.inputs, state.outputs) for t in tensors(value) if t.numel()), 1.0)


def scaled(loss: Tensor, weight: Weight, nominal: float) -> Tensor:
    """Return `loss * weight / nominal`; nothing, not even NaN, comes through a weight of 0."""
    if isinstance(weight, Tensor):
        counted = wide(weight)
        return torch.where(counted == 0, 0.0, loss * (counted / nominal).to(loss.dtype))
    return loss * (weight / nominal) if weight else torch.where(torch.zeros_like(loss, dtype=torch.bool), loss, 0.0)

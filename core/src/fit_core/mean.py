"""A weighted mean over many batches that never waits for the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Complex, Real
from operator import attrgetter
from typing import Any, overload

import torch
from torch import Tensor

from fit_core.errors import FitError

FOLD = 256
"""How many values are kept before they are folded into one: kept tensors with no dimension cost memory."""
COMPLEX = "{!r} must be a real number, not a complex one; take its .abs() or .real"


class WeightedMean:
    """Collects values and weights; `compute` divides their sums.

    Values are kept as they are, on their device, and folded in float64 every 256. A value of weight 0 leaves no trace,
    not even if it is NaN.

    Args:
        total: report the sum of the values instead, for losses that are sums.
    """

    __slots__ = ("_sum", "_values", "_weight", "_weights", "total")

    def __init__(self, total: bool = False) -> None:
        self.total = total
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._values: list[Tensor | float] = []
        self._weights: list[Tensor | float] = []
        self._sum: Tensor | float = 0.0
        self._weight: Tensor | float = 0.0

    def add(self, value: Tensor | float, weight: Tensor | float = 1) -> None:
        """Take one value in: a number or a tensor with one element, and likewise its weight."""
        self._values.append(kept(value))
        self._weights.append(kept(weight))
        if len(self._values) >= FOLD:
            self._fold()

    def add_loss(self, loss: Tensor, weight: Tensor | float, is_own: bool = False) -> Tensor:
        """Take a loss in, without a copy if it was just computed, so that it is nobody's buffer; return what is kept of it.

        Args:
            loss: a tensor with one element.
            weight: its weight.
            is_own: nobody else has the weight.
        """
        is_fresh = loss.is_cpu and not loss.is_leaf and not loss._is_view()
        value = loss.detach() if is_fresh else loss.detach().clone()
        self._values.append(value)
        self._weights.append(weight if is_own else kept(weight))
        if len(self._values) >= FOLD:
            self._fold()
        return value

    def _fold(self) -> None:
        self._sum, self._weight = self._folded()
        self._values.clear()
        self._weights.clear()

    def merge(self, other: WeightedMean) -> None:
        """Take in what another one has seen."""
        own, its = self._folded(), other._folded()
        self.reset()
        self._sum, self._weight = own[0] + its[0], own[1] + its[1]

    def compute(self) -> float:
        """Return the mean as a float (NaN if nothing has weight). Waits for the device."""
        total, weight = map(float, self._folded())
        if self.total:
            return total
        return total / weight if weight else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Return sums and what is not folded yet, so that going on gives the same to the bit. Waits for the device."""
        return {
            "values": column(self._values, _device_of(self._values)).tolist(),
            "weights": column(self._weights, _device_of(self._weights)).tolist(),
            "sum": float(self._sum),
            "weight": float(self._weight),
            "total": self.total,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._values, self._weights = list(state["values"]), list(state["weights"])
        self._sum, self._weight, self.total = state["sum"], state["weight"], state["total"]

    def _folded(self) -> tuple[Tensor | float, Tensor | float]:
        """Return the sums with everything in; reading them changes nothing, so that who reads when cannot change a value."""
        if not self._values:
            return self._sum, self._weight
        device = _device_of([*self._values, *self._weights])
        values, weights = column(self._values, device), column(self._weights, device)
        summed = torch.where(weights == 0, 0, values if self.total else values * weights).sum()
        return self._sum + summed, self._weight + weights.sum()


def _device_of(values: list[Tensor | float]) -> torch.device:
    return next((value.device for value in values if isinstance(value, Tensor)), torch.device("cpu"))


def kept(value: Tensor | float) -> Tensor | float:
    """Return a value as it can be kept: a copy, since what it is taken from may be large or written into."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone() if value.requires_grad else value.clone()


def scalar(name: str, value: Any) -> Tensor | float:
    """Check that a value is one number.

    Raises:
        FitError: it is something else.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise FitError(f"{name!r} must be one number, not a tensor of shape {tuple(value.shape)}; take its mean, or use trainer.show")
        if value.is_complex():
            raise FitError(COMPLEX.format(name))
        return value
    if isinstance(value, Complex) and not isinstance(value, Real):
        raise FitError(COMPLEX.format(name))
    try:
        return float(value)
    except (TypeError, ValueError):
        raise FitError(f"{name!r} must be a number or a tensor with one element, not {type(value).__name__}") from None


@overload
def wide(value: Tensor) -> Tensor: ...
@overload
def wide(value: float) -> float: ...
@overload
def wide(value: Tensor | float) -> Tensor | float: ...
def wide(value: Tensor | float) -> Tensor | float:
    """Return a number in the widest floating type of its device, out of its graph."""
    if not isinstance(value, Tensor):
        return float(value)
    return value.detach().reshape(()).to(torch.float32 if value.device.type == "mps" else torch.float64)


def stack(values: list[Tensor], device: torch.device) -> Tensor:
    """Stack tensors without a dimension, whatever their types and devices."""
    if len({(value.dtype, value.device) for value in values}) > 1:
        values = [value.to(device, torch.float32 if device.type == "mps" else torch.float64) for value in values]
    return torch.stack(values)


ALIKE: tuple[Callable[[Tensor], object], ...] = (attrgetter("dtype"), Tensor.get_device, Tensor.dim)
"""What tensors with one element have in common that can be joined without more ado: nearly always all do."""


def column(values: list[Tensor | float], device: torch.device) -> Tensor:
    """Make one float64 vector (float32 where the device has no other) of numbers and one-element tensors."""
    dtype = torch.float32 if device.type == "mps" else torch.float64
    if set(map(type, values)) == {Tensor} and all(len(set(map(look, values))) == 1 for look in ALIKE):  # type: ignore[arg-type]
        return torch.stack(values).to(dtype).flatten()  # type: ignore[arg-type]
    places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    if not places:
        return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)
    stacked = stack([value.reshape(()) if value.dim() else value for value in values if isinstance(value, Tensor)], device).to(dtype)
    if len(places) == len(values):
        return stacked
    result = torch.tensor([0.0 if isinstance(v, Tensor) else v for v in values], dtype=dtype).to(device, non_blocking=True)
    result[torch.tensor(places).to(device, non_blocking=True)] = stacked
    return result

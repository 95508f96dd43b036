"""A weighted mean over many batches that never waits for the device."""

from __future__ import annotations

import math
from typing import Any, overload

import torch
from torch import Tensor

from fit_core.errors import FitError

FOLD = 256
"""How many values are kept before they are folded into one: kept tensors with no dimension cost memory."""


class WeightedMean:
    """Collects values and weights; `compute` divides their sums.

    Values are kept as they are, on their device, and folded in float64 every 256. A value of weight 0 leaves no trace,
    not even if it is NaN.

    Args:
        total: report the sum of the values instead, for losses that are sums.
    """

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

    def merge(self, other: WeightedMean) -> None:
        """Take in what another one has seen."""
        self._fold()
        other._fold()
        self._sum = self._sum + other._sum
        self._weight = self._weight + other._weight

    def compute(self) -> float:
        """Return the mean as a float (NaN if nothing has weight). Waits for the device."""
        self._fold()
        weight = float(self._weight)
        if self.total:
            return float(self._sum)
        return float(self._sum) / weight if weight else math.nan

    def _fold(self) -> None:
        if not self._values:
            return
        device = next((v.device for v in (*self._values, *self._weights) if isinstance(v, Tensor)), torch.device("cpu"))
        values, weights = column(self._values, device), column(self._weights, device)
        self._sum = self._sum + torch.where(weights == 0, 0, values if self.total else values * weights).sum()
        self._weight = self._weight + weights.sum()
        self._values.clear()
        self._weights.clear()


def kept(value: Tensor | float) -> Tensor | float:
    """Return a value as it can be kept: a copy, since what it is taken from may be large or written into."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def scalar(name: str, value: Any) -> Tensor | float:
    """Check that a value is one number.

    Raises:
        FitError: it is something else.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise FitError(f"{name!r} must be one number, not a tensor of shape {tuple(value.shape)}; take its mean, or use trainer.show")
        return value
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


def column(values: list[Tensor | float], device: torch.device) -> Tensor:
    """Make one float64 vector (float32 where the device has no other) of numbers and one-element tensors."""
    dtype = torch.float32 if device.type == "mps" else torch.float64
    places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
    if not places:
        return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)
    stacked = stack([value.reshape(()) for value in values if isinstance(value, Tensor)], device).to(dtype)
    if len(places) == len(values):
        return stacked
    result = torch.tensor([0.0 if isinstance(v, Tensor) else v for v in values], dtype=dtype).to(device, non_blocking=True)
    result[torch.tensor(places).to(device, non_blocking=True)] = stacked
    return result

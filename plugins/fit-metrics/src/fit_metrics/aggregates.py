"""What becomes of the values of a pass: their mean, spread, extremes, and the mean of the last batches.

Each aggregate takes in what was observed in one batch or in several joined ones, never waits for the device before `compute`,
and gives the same however the samples were cut into batches (but for those that are about batches: `RunningMean`, `Last`).
Sums are in float64 (float32 where a device has no other).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fit_core.errors import FitError

Value = float | list[float] | dict[str, float]
TINY = torch.finfo(torch.float32).tiny


@dataclass(slots=True, eq=False)
class Observed:
    """What a leaf found in one batch or in several joined ones.

    Attributes:
        values: (samples, ...).
        weights: how much each counts, of a shape that broadcasts to the values'; None: all the same. A value of weight 0 leaves
            no trace, not even if it is NaN.
        sizes: the samples of each batch.
        targets: what the leaf was given as targets.
        classes: how many classes the outputs have; None if that cannot be seen.
    """

    values: Tensor
    weights: Tensor | None
    sizes: Sequence[int]
    targets: Any = None
    classes: int | None = None

    def weighed(self) -> tuple[Tensor, Tensor | None]:
        """Return values and weights in one shape and precision; values without weight are 0."""
        values = self.values.to(precision(self.values))
        if self.weights is None:
            return values, None
        weights = spread_over(self.weights, values).to(values.dtype)
        return torch.where(weights == 0, 0, values), weights


def spread_over(weights: Tensor, values: Tensor) -> Tensor:
    """Return weights in the shape of values.

    Raises:
        FitError: they do not fit.
    """
    try:
        return weights.expand_as(values)
    except RuntimeError:
        raise FitError(f"weights {tuple(weights.shape)} do not fit to values {tuple(values.shape)}") from None


class Aggregate(Protocol):
    """What an aggregate has."""

    prefix: str
    """Goes before the leaf's name."""
    suffix: str
    """Goes after it."""
    directed: bool
    """Whether more of it is better if more of the leaf's values is."""
    costly: bool
    """Whether it is computed only when the pass is complete."""
    training_only: bool
    """Whether evaluations have none."""

    def reset(self) -> None:
        """Forget everything."""

    def add(self, seen: Observed) -> None:
        """Take in what was observed."""

    def merge(self, other: Any) -> None:
        """Take in what another one has seen after it."""

    def compute(self) -> Value:
        """Return the value, or a list of one per column, or one per name. Waits for the device."""

    def state_dict(self) -> dict[str, Any]:
        """Return what was taken in."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""


def precision(values: Tensor) -> torch.dtype:
    """Return the widest floating type of the device."""
    return torch.float32 if values.device.type == "mps" else torch.float64


def listed(values: Tensor | float) -> Value:
    """Return one number, or a list of one per element."""
    if not isinstance(values, Tensor) or values.numel() == 1:
        return float(values)
    found: list[float] = values.flatten().tolist()
    return found


class Kept:
    """What aggregates have in common: their state is their attributes in `state`, which `reset` sets to None."""

    prefix = suffix = ""
    directed = True
    costly = False
    training_only = False
    state: tuple[str, ...] = ()

    def reset(self) -> None:
        """Forget everything."""
        for name in self.state:
            setattr(self, name, None)

    def state_dict(self) -> dict[str, Any]:
        """Return what was taken in."""
        return {name: getattr(self, name) for name in self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        for name in self.state:
            setattr(self, name, state[name])


class Overall(Kept):
    """What aggregates have in common that reduce dimensions.

    Args:
        dim: the dimensions to reduce, 0 (the samples) among them; None: all of them. What is left is one value per element.

    Raises:
        FitError: 0 is not among them.
    """

    def __init__(self, dim: int | Sequence[int] | None = None) -> None:
        self.dim = dim if dim is None else tuple(sorted([dim] if isinstance(dim, int) else dim))
        if self.dim is not None and (0 not in self.dim or self.dim[0] < 0):
            raise FitError(f"dim={dim!r} must have 0 in it: the samples of a batch, which are not kept apart")
        self.reset()

    def dims(self, values: Tensor) -> tuple[int, ...]:
        """Return the dimensions to reduce.

        Raises:
            FitError: the values have not so many.
        """
        if self.dim is None:
            return tuple(range(values.dim()))
        if self.dim[-1] >= values.dim():
            raise FitError(f"dim={self.dim} is more than values {tuple(values.shape)} have")
        return self.dim

    def count(self, values: Tensor) -> int:
        """Return how many values are reduced to one."""
        return math.prod(values.shape[d] for d in self.dims(values))


class Mean(Overall):
    """The mean."""

    state = ("sum", "weight")
    sum: Any
    weight: Any

    def add(self, seen: Observed) -> None:
        """Take in what was observed."""
        if seen.weights is None:
            self._take(seen.values.sum(self.dims(seen.values), dtype=precision(seen.values)), self.count(seen.values))
        else:
            values, weights = seen.weighed()
            assert weights is not None
            dims = self.dims(values)
            self._take((values * weights).sum(dims), weights.sum(dims))

    def _take(self, total: Any, weight: Any) -> None:
        self.sum = total if self.sum is None else self.sum + total
        self.weight = weight if self.weight is None else self.weight + weight

    def merge(self, other: Mean) -> None:
        """Take in what another one has seen."""
        if other.sum is not None:
            self._take(other.sum, other.weight)

    def compute(self) -> Value:
        """Return the mean; NaN where nothing has weight. Waits for the device."""
        return math.nan if self.sum is None else listed(ratio(self.sum, self.weight))


def ratio(total: Tensor, weight: Tensor | float) -> Tensor:
    """Return total / weight, NaN where the weight is 0."""
    return total / torch.as_tensor(weight, dtype=total.dtype, device=total.device)


class RootMean(Mean):
    """The root of the mean: of squared errors, say."""

    def compute(self) -> Value:
        """Return the root of the mean. Waits for the device."""
        return math.nan if self.sum is None else listed(ratio(self.sum, self.weight).sqrt())


class Variance(Overall):
    """The variance, by merging the moments of blocks (Chan, Golub and LeVeque 1979).

    The values are first shifted by the first one, so that equal values have a variance of exactly 0.

    Args:
        unbiased: of a sample (NaN if there is but one value), not of the whole population. The scale of weights does not matter.
        dim: as for `Mean`.
    """

    suffix = "_var"
    directed = False
    state = ("pivot", "weight", "squared_weight", "mean", "square")
    pivot: Any
    weight: Any
    squared_weight: Any
    mean: Any
    square: Any

    def __init__(self, unbiased: bool = True, dim: int | Sequence[int] | None = None) -> None:
        super().__init__(dim)
        self.unbiased = unbiased

    def add(self, seen: Observed) -> None:
        """Take in what was observed."""
        values, weights = seen.weighed()
        if not values.numel():
            return
        dims = self.dims(values)
        if self.pivot is None:  # a value of each column, which may be of another magnitude than the next
            first = values[tuple(slice(0, 1) if d in dims else slice(None) for d in range(values.dim()))]
            self.pivot = torch.nan_to_num(first, posinf=0, neginf=0)
        values = values - self.pivot
        if weights is None:
            weight = squared = torch.full((), float(self.count(values)), dtype=values.dtype, device=values.device)
            mean = values.mean(dims, keepdim=True)
            square = (values - mean).square().sum(dims)
        else:
            weight, squared = weights.sum(dims), weights.square().sum(dims)
            mean = (values * weights).sum(dims, keepdim=True) / weights.sum(dims, keepdim=True).clamp(min=TINY)
            square = (weights * (values - mean).square()).sum(dims)
        self._take(weight, squared, mean.reshape(square.shape), square)

    def _take(self, weight: Tensor, squared: Tensor, mean: Tensor, square: Tensor) -> None:
        if self.weight is None:
            self.weight, self.squared_weight, self.mean, self.square = weight, squared, mean, square
            return
        total = self.weight + weight
        share = weight / total.clamp(min=TINY)
        gap = mean - self.mean
        self.mean = self.mean + gap * share
        self.square = self.square + square + gap.square() * self.weight * share
        self.weight, self.squared_weight = total, self.squared_weight + squared

    def merge(self, other: Variance) -> None:
        """Take in what another one has seen."""
        if other.weight is not None:
            if self.weight is None:
                self.pivot = other.pivot
            shift = (other.pivot - self.pivot).reshape(other.mean.shape)
            self._take(other.weight, other.squared_weight, other.mean + shift, other.square)

    def spread(self) -> Tensor | float:
        """Return the variance as a tensor."""
        if self.weight is None:
            return math.nan
        free = self.weight - self.squared_weight / self.weight if self.unbiased else self.weight
        return torch.where(free > 0, self.square / free, math.nan)

    def compute(self) -> Value:
        """Return the variance. Waits for the device."""
        return listed(self.spread())


class Std(Variance):
    """The standard deviation: the root of `Variance`."""

    suffix = "_std"

    def compute(self) -> Value:
        """Return the standard deviation. Waits for the device."""
        spread = self.spread()
        return listed(spread.sqrt() if isinstance(spread, Tensor) else spread)


class Max(Overall):
    """The greatest value."""

    suffix = "_max"
    state = ("extreme",)
    extreme: Any
    worst = -math.inf

    def add(self, seen: Observed) -> None:
        """Take in what was observed."""
        values, weights = seen.weighed()
        if weights is not None:
            values = torch.where(weights == 0, self.worst, values)
        if values.numel():
            self._take(self.reduce(values, self.dims(values)))

    def reduce(self, values: Tensor, dims: tuple[int, ...]) -> Tensor:
        """Return the extremes of values."""
        return values.amax(dims)

    def better(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the more extreme of two."""
        return torch.maximum(one, other)

    def _take(self, extreme: Tensor) -> None:
        self.extreme = extreme if self.extreme is None else self.better(self.extreme, extreme)

    def merge(self, other: Max) -> None:
        """Take in what another one has seen."""
        if other.extreme is not None:
            self._take(other.extreme)

    def compute(self) -> Value:
        """Return the extreme; NaN where nothing has weight. Waits for the device."""
        if self.extreme is None:
            return math.nan
        return listed(torch.where(self.extreme == self.worst, math.nan, self.extreme))


class Min(Max):
    """The smallest value."""

    suffix = "_min"
    worst = math.inf

    def reduce(self, values: Tensor, dims: tuple[int, ...]) -> Tensor:
        """Return the extremes of values."""
        return values.amin(dims)

    def better(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the more extreme of two."""
        return torch.minimum(one, other)


class Explained(Kept):
    """The coefficient of determination R2, the mean of those of all columns; NaN if the targets of one don't differ.

    It is of values (samples, ..., 2): each target, and the square of its error.
    """

    state = ("variance", "error")

    def __init__(self) -> None:
        self.variance, self.error = Variance(unbiased=False, dim=0), Mean(dim=0)

    def reset(self) -> None:
        """Forget everything."""
        self.variance.reset()
        self.error.reset()

    def add(self, seen: Observed) -> None:
        """Take in what was observed."""
        self.variance.add(Observed(seen.values[..., 0], None, seen.sizes))
        self.error.add(Observed(seen.values[..., 1], None, seen.sizes))

    def merge(self, other: Explained) -> None:
        """Take in what another one has seen."""
        self.variance.merge(other.variance)
        self.error.merge(other.error)

    def compute(self) -> Value:
        """Return R2. Waits for the device."""
        spread = self.variance.spread()
        if not isinstance(spread, Tensor):
            return math.nan
        shares = ratio(self.error.sum, self.error.weight) / torch.where(spread > 0, spread, math.nan)
        return float((1 - shares).mean())

    def state_dict(self) -> dict[str, Any]:
        """Return what was taken in."""
        return {"variance": self.variance.state_dict(), "error": self.error.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.variance.load_state_dict(state["variance"])
        self.error.load_state_dict(state["error"])

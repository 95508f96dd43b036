"""Aggregates that are about batches, and about classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fit_core.errors import FitError
from fit_metrics.aggregates import Kept, Observed, Value, precision, ratio


def sums_of_batches(seen: Observed) -> tuple[Tensor, Tensor]:
    """Return the weighted sum and the weight of each batch, two vectors (batches,)."""
    values, weights = seen.weighed()
    if weights is None:
        per_sample = values.flatten(1).sum(1) if values.dim() > 1 else values
        each = values[0].numel() if len(values) else 1
        counts = torch.tensor([size * each for size in seen.sizes], dtype=values.dtype)
        return by_batch(per_sample, seen.sizes), counts.to(values.device, non_blocking=True)
    flat = (values * weights).flatten(1).sum(1) if values.dim() > 1 else values * weights
    return by_batch(flat, seen.sizes), by_batch(weights.flatten(1).sum(1) if weights.dim() > 1 else weights, seen.sizes)


def by_batch(per_sample: Tensor, sizes: Sequence[int]) -> Tensor:
    """Sum a vector (samples,) over batches of these sizes."""
    if all(size == sizes[0] for size in sizes):
        return per_sample.reshape(len(sizes), -1).sum(1)
    return torch.stack([part.sum() for part in per_sample.split(list(sizes))])


class RunningMean(Kept):
    """The mean over the last batches of training; it begins anew with each epoch, and evaluations have none.

    Args:
        window: how many batches.
        step: how many batches the value stays for.

    Raises:
        FitError: one of them is below 1.
    """

    prefix = "running_"
    training_only = True
    state = ("blocks", "batches")
    blocks: Any

    def __init__(self, window: int = 50, step: int = 1) -> None:
        if window < 1 or step < 1:
            raise FitError(f"window={window} and step={step} must be at least 1")
        self.window, self.step = window, step
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.blocks, self.batches = [], 0

    def add(self, seen: Observed) -> None:
        """Take in what was observed."""
        self._take(sums_of_batches(seen), len(seen.sizes))

    def _take(self, block: tuple[Tensor, Tensor], batches: int) -> None:
        self.blocks.append(block)
        self.batches += batches
        beyond = sum(len(total) for total, _ in self.blocks) - self.window - self.step
        while beyond >= len(self.blocks[0][0]):
            beyond -= len(self.blocks.pop(0)[0])
        if len(self.blocks) > 256:
            self.blocks = [tuple(map(torch.cat, zip(*self.blocks, strict=True)))]

    def merge(self, other: RunningMean) -> None:
        """Take in what another one has seen after it."""
        for block in other.blocks:
            self._take(block, len(block[0]))
        self.batches += other.batches - sum(len(total) for total, _ in other.blocks)

    def compute(self) -> Value:
        """Return the mean over the window. Waits for the device."""
        if not self.batches:
            return math.nan
        total, weight = map(torch.cat, zip(*self.blocks, strict=True))
        end = len(total) - (self.batches - 1) % self.step
        recent = slice(max(end - self.window, 0), end)
        return float(ratio(total[recent].sum(), weight[recent].sum()))


class Last(Kept):
    """The mean of the last batch that has weight."""

    suffix = "_last"
    state = ("value",)
    value: Any

    def __init__(self) -> None:
        self.reset()

    def add(self, seen: Observed) -> None:
        """Take in what was observed."""
        total, weight = sums_of_batches(seen)
        self._take(ratio(total, weight), weight > 0)

    def _take(self, means: Tensor, there: Tensor) -> None:
        if self.value is not None:
            means, there = torch.cat([self.value, means]), torch.cat([torch.ones_like(there[:1]), there])
        place = (there * torch.arange(len(means), device=means.device)).argmax().reshape(1)
        self.value = means.gather(0, place)

    def merge(self, other: Last) -> None:
        """Take in what another one has seen after it."""
        if other.value is not None:
            self._take(other.value, torch.ones_like(other.value, dtype=torch.bool))

    def compute(self) -> Value:
        """Return the mean of the last batch. Waits for the device."""
        return math.nan if self.value is None else float(self.value)


class PerClass(Kept):
    """The mean for each class of targets.

    Args:
        classes: their names, or how many there are; None: as many as the outputs have.
    """

    suffix = ""
    state = ("sum", "weight", "unknown")
    sum: Any
    weight: Any
    unknown: Any

    def __init__(self, classes: int | Sequence[str] | None = None) -> None:
        self.names = [str(each) for each in (range(classes) if isinstance(classes, int) else classes or ())]
        self.reset()

    def add(self, seen: Observed) -> None:
        """Take in what was observed.

        Raises:
            FitError: targets are no class indices of the values' shape, or the number of classes is not known.
        """
        values, weights = seen.weighed()
        targets = seen.targets
        if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.shape != values.shape:
            raise FitError("values per class need one class index for each value as targets")
        classes = len(self.names) or seen.classes
        if classes is None:
            raise FitError("how many classes are there? pass per_class(classes=...)")
        weights = torch.ones_like(values) if weights is None else weights
        known = (targets >= 0) & (targets < classes)
        places = torch.where(known, targets, 0).flatten()
        unknown = torch.where(known, 0, weights).sum()
        weights = torch.where(known, weights, 0).flatten()
        total = torch.zeros(classes, dtype=precision(values), device=values.device).index_add_(0, places, values.flatten() * weights)
        weight = torch.zeros_like(total).index_add_(0, places, weights)
        self._take(total, weight, unknown)

    def _take(self, total: Tensor, weight: Tensor, unknown: Tensor) -> None:
        self.unknown = unknown if self.unknown is None else self.unknown + unknown
        self.sum = total if self.sum is None else self.sum + total
        self.weight = weight if self.weight is None else self.weight + weight

    def merge(self, other: PerClass) -> None:
        """Take in what another one has seen."""
        if other.sum is not None:
            self._take(other.sum, other.weight, other.unknown)

    def compute(self) -> dict[str, float]:
        """Return the mean of each class, NaN for one without samples. Waits for the device.

        Raises:
            FitError: there were targets that are none of the classes.
        """
        if self.sum is None:
            return {}
        if self.unknown > 0:
            raise FitError(f"there are targets that are none of the {len(self.sum)} classes; ignore_index= leaves one out")
        means = ratio(self.sum, self.weight).tolist()
        return dict(zip(self.names or map(str, range(len(means))), means, strict=True))

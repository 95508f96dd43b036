"""Statistics of activations, weights and gradients, without waiting for the device."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

NAMES = ("mean", "std", "min", "max", "zeros", "nans")


def statistics(values: Tensor) -> Tensor:
    """Return mean, standard deviation (of the population), minimum, maximum, share of zeros, and number of NaN.

    Args:
        values: any shape; NaN counts in the last one only, and the others are of what is left of it.

    Returns:
        (6,) in the order of `NAMES`, float32 (float64 of such values); NaN for what nothing is left of.
    """
    values = values.detach().flatten()
    values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    if not values.numel():
        return torch.tensor([math.nan] * 5 + [0], device=values.device)
    missing = values.isnan()
    nans = torch.count_nonzero(missing)
    count = values.numel() - nans
    mean = values.nansum() / count
    filled = torch.where(missing, mean, values)  # the mean changes neither spread nor bounds
    std = torch.linalg.vector_norm(filled - mean) / count.sqrt()
    zeros = (values.numel() - torch.count_nonzero(values)) / count
    return torch.stack([mean, std, *filled.aminmax(), zeros, nans.to(mean.dtype)])


def sampled(values: Tensor, count: int = 10_000) -> Tensor:
    """Return a copy of so many values at most, evenly spread over all."""
    flat = values.detach().flatten()
    return flat[:: max(1, -(-flat.numel() // count))].clone()


def rounded(number: float) -> float:
    """Return a number with four digits that count."""
    return float(f"{number:.4g}")


def norms(values: Iterable[Tensor]) -> list[Tensor]:
    """Return the Euclidean norm of each of several tensors, dense or sparse."""
    return [torch.linalg.vector_norm((v.coalesce().values() if v.is_sparse else v).detach().float()) for v in values]


def update_ratios(before: list[Tensor], after: list[Tensor]) -> list[Tensor]:
    """Return how far each tensor has moved in relation to what it was: |after - before| / |before|; NaN where that was all zeros.

    Args:
        before: copies of weights before a step.
        after: the weights after it, in the same order.
    """
    moved = norms(a.detach() - b for a, b in zip(after, before, strict=True))
    return [torch.where(size > 0, step / size, math.nan) for step, size in zip(moved, norms(before), strict=True)]

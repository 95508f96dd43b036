"""The learning rate range test (Smith 2017, section 3.3): what losses at growing rates say about a good one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

FEW = 10
"""Fewer losses than these say nothing."""


@dataclass(frozen=True)
class RangeTest:
    """Losses at growing rates, and what they say.

    Attributes:
        rates: of the steps.
        losses: of the batches before these steps.
        smooth: the losses, smoothed.
        suggestion: the rate at which the smoothed loss falls fastest, per factor of the rate; None if there is none.
        reason: why this one, or why none.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    smooth: Sequence[float]
    suggestion: float | None
    reason: str


def growing(low: float, high: float, steps: int) -> list[float]:
    """Return rates from `low` to `high`, each the same factor above the last one."""
    return [low * (high / low) ** (i / max(steps - 1, 1)) for i in range(steps)]


def centred(losses: Sequence[float]) -> list[float]:
    """Return averages over some losses before and after each, the nearer the more: they do not come late."""
    half = max(len(losses) // 20, 2)
    found = []
    for i in range(len(losses)):
        near = range(max(i - half, 0), min(i + half + 1, len(losses)))
        weights = [half + 1 - abs(i - j) for j in near]
        found.append(sum(weight * losses[j] for weight, j in zip(weights, near, strict=True)) / sum(weights))
    return found


def following(losses: Sequence[float], momentum: float = 0.9) -> list[float]:
    """Return moving averages of the losses so far, without the bias of their beginning (as Adam's)."""
    average, found = 0.0, []
    for i, loss in enumerate(losses, 1):
        average = momentum * average + (1 - momentum) * loss
        found.append(average / (1 - momentum**i))
    return found


def diverges(losses: Sequence[float], times: float = 4.0) -> bool:
    """Tell whether the last loss is not finite, or the smoothed one is far above the best one.

    Args:
        losses: so far.
        times: how far above: the rise must exceed this many times the fall before it, and the magnitude of the first loss.
    """
    if not math.isfinite(losses[-1]):
        return True
    smooth = following(losses)
    best = min(smooth)
    return len(losses) >= FEW and smooth[-1] - best > max(times * (smooth[0] - best), abs(smooth[0]), 1e-12)


def judged(rates: Sequence[float], losses: Sequence[float]) -> RangeTest:
    """Find the rate at which the loss falls fastest.

    Args:
        rates: growing.
        losses: one for each; the last may be infinite or NaN.
    """
    finite = list(losses[: next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))])
    smooth = centred(finite)

    def result(suggestion: float | None, reason: str) -> RangeTest:
        return RangeTest(list(rates[: len(losses)]), list(losses), smooth, suggestion, reason)

    if len(finite) < 2 * FEW:
        return result(None, f"the loss grows out of bounds after {len(finite)} steps: begin with a lower rate")
    lowest = min(range(len(smooth)), key=smooth.__getitem__)
    noise = fmean(abs(a - b) for a, b in pairwise(finite[: lowest + 1])) if lowest else 0.0
    if lowest < FEW or fmean(finite[:FEW]) - smooth[lowest] <= noise:
        return result(None, "the loss falls at no rate: the model learns nothing in so few steps, or only at lower rates")
    slopes = [(smooth[i + 1] - smooth[i - 1]) / math.log(rates[i + 1] / rates[i - 1]) for i in range(FEW // 2, lowest)]
    steepest = min(range(len(slopes)), key=slopes.__getitem__) + FEW // 2
    if lowest == len(smooth) - 1:
        return result(rates[steepest], f"the loss falls fastest there; it still falls at {rates[lowest]:.2g}: try a higher max_lr too")
    return result(rates[steepest], f"the loss falls fastest there; it is lowest at {rates[lowest]:.2g}")

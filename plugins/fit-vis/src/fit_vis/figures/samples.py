"""The losses of single samples, and the k worst and best of many."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Loss = Callable[[Any, Any], Tensor]


def per_sample(loss_fn: Any) -> Loss | None:
    """Return a loss function that gives each sample its own loss.

    Args:
        loss_fn: a criterion of torch (a module with an attribute `reduction`), a function with an argument `reduction`, or a `partial` of
            one.

    Returns:
        `(outputs, targets) -> (batch,)`: what a sample has of further terms (pixels, values) is averaged. None if there is no such one.
    """
    if isinstance(loss_fn, nn.Module) and hasattr(loss_fn, "reduction"):
        each: Any = copy.copy(loss_fn)
        each.reduction = "none"
        return partial(averaged, each)
    made = loss_fn.func if isinstance(loss_fn, partial) else loss_fn
    if inspect.isfunction(made) and "reduction" in inspect.signature(made).parameters:
        return partial(averaged, partial(loss_fn, reduction="none"))
    return None


def averaged(loss: Loss, outputs: Any, targets: Any) -> Tensor:
    """Return the loss of each sample: the mean of its terms."""
    losses = loss(outputs, targets)
    return losses.flatten(1).mean(1) if losses.dim() > 1 else losses


class Extremes:
    """Keeps the samples of the highest and of the lowest loss, without waiting for the device.

    Args:
        count: how many of each.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.worst: tuple[Tensor, ...] = ()
        self.best: tuple[Tensor, ...] = ()

    def add(self, losses: Tensor, *values: Tensor) -> None:
        """Take in a batch.

        Args:
            losses: (batch,).
            values: (batch, ...) each: what is kept with them, the same number each time.
        """
        batch = (losses.detach(), *(value.detach() for value in values))
        self.worst = extreme(self.worst, batch, self.count, largest=True)
        self.best = extreme(self.best, batch, self.count, largest=False)


def extreme(kept: tuple[Tensor, ...], batch: tuple[Tensor, ...], count: int, largest: bool) -> tuple[Tensor, ...]:
    """Return those of kept samples and a batch that have the highest or lowest losses, the most extreme first; NaN is the highest.

    Args:
        kept: losses (k,) and values (k, ...), or empty.
        batch: likewise.
        count: how many to keep.
        largest: the highest losses.
    """
    joined = tuple(map(torch.cat, zip(kept, batch, strict=True))) if kept else batch
    places = joined[0].topk(min(count, len(joined[0])), largest=largest).indices
    return tuple(value[places] for value in joined)

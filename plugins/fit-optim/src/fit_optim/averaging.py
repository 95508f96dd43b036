"""Averages of weights: functions of tensors and modules, around `torch.optim.swa_utils`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

Average = Callable[[Any, Any, Any], None]
"""Brings averaged tensors, in place, nearer to current ones; the third argument counts what is in already."""


def averaged_copy(model: nn.Module, average: Average, buffers: bool) -> AveragedModel:
    """Return a copy of a model that holds an average of its weights, with neither gradients nor a need for them.

    Args:
        model: to copy.
        average: of tensors that are of floating point; others are copied.
        buffers: whether they are averaged too, or copied.
    """

    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Any) -> None:
        if averaged[0].is_floating_point() or averaged[0].is_complex():
            average(averaged, current, count)
        else:  # torch would round 5 * 0.9 + 5 * 0.1 down
            torch._foreach_copy_(averaged, current)  # type: ignore[arg-type]

    copied = AveragedModel(model, multi_avg_fn=update, use_buffers=buffers).requires_grad_(False)
    copied.zero_grad(set_to_none=True)
    return copied


def warmed_up(decay: float, count: int) -> float:
    """Return the decay of an average that so many steps are in already: `min(decay, (1 + count) / (10 + count))`.

    As in TensorFlow's `ExponentialMovingAverage`; what training began with is soon forgotten.
    """
    return min(decay, (1 + count) / (10 + count))


def moving_norms(module: nn.Module, like: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms of a module that keep statistics, where those of the model it was copied from are in training mode."""
    pairs = zip(module.modules(), like.modules(), strict=True)
    return [norm for norm, twin in pairs if isinstance(norm, _BatchNorm) and norm.track_running_stats and twin.training]


@contextmanager
def measured_anew(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Let batch norms forget their statistics, and take the plain mean over all batches that are seen in the block."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

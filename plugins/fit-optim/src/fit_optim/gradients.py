"""What is done to gradients, in place: functions of tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Generator, Tensor


def noise_scale(step: int, eta: float, gamma: float) -> float:
    """Return the standard deviation of noise: `sqrt(eta / (1 + step) ** gamma)` (Neelakantan et al. 2015, arXiv:1511.06807)."""
    return float((eta / (1 + step) ** gamma) ** 0.5)


def add_noise_(gradient: Tensor, scale: float, generator: Generator) -> None:
    """Add normal noise to the values of a gradient."""
    values = values_of(gradient)
    values.add_(torch.randn(values.shape, generator=generator, dtype=values.dtype, device=values.device), alpha=scale)


def centralize_(gradients: Iterable[Tensor]) -> None:
    """Subtract from each gradient of a matrix or kernel its mean over all dimensions but the first (Yong et al. 2020, eq. 1)."""
    for gradient in gradients:
        if gradient.dim() > 1:
            values = values_of(gradient)
            values.sub_(values.mean(dim=tuple(range(1, values.dim())), keepdim=True))


def values_of(gradient: Tensor) -> Tensor:
    """Return the values of a sparse gradient, any other as it is."""
    return gradient._values() if gradient.is_sparse else gradient

"""What is done to gradients, in place: functions of tensors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Generator, Tensor

from fit_core.norm import are_alike


def noise_scale(step: int, eta: float, gamma: float) -> float:
    """Return the standard deviation of noise: `sqrt(eta / (1 + step) ** gamma)` (Neelakantan et al. 2015, arXiv:1511.06807)."""
    return float((eta / (1 + step) ** gamma) ** 0.5)


def add_noise_(gradient: Tensor, scale: float, generator: Generator) -> None:
    """Add normal noise to the values of a gradient."""
    values = values_of(gradient)
    values.add_(torch.randn(values.shape, generator=generator, dtype=values.dtype, device=values.device), alpha=scale)


def clip_with_norm_(gradients: list[Tensor], limit: float, norm: Tensor) -> None:
    """Do what torch's `clip_grads_with_norm_` does, to the bit, with fewer calls.

    Args:
        gradients: what is clipped.
        limit: of the norm of all gradients together.
        norm: what it is, a tensor without dimensions.
    """
    if norm.is_cpu and norm.item() + 1e-6 < 0.97 * limit:  # the factor is 1 then, rounded in any dtype
        return
    factor = (norm.detach() + 1e-6).reciprocal_().mul_(limit).clamp_(max=1.0)
    if are_alike(gradients):
        torch._foreach_mul_(gradients, factor)
        return
    for gradient in gradients:
        gradient.detach().mul_(factor.to(gradient.device))


def centralize_(gradients: Iterable[Tensor]) -> None:
    """Subtract from each gradient of a matrix or kernel its mean over all dimensions but the first (Yong et al. 2020, eq. 1)."""
    for gradient in gradients:
        if gradient.dim() > 1:
            values = values_of(gradient)
            values.sub_(values.mean(dim=tuple(range(1, values.dim())), keepdim=True))


def values_of(gradient: Tensor) -> Tensor:
    """Return the values of a sparse gradient, any other as it is."""
    return gradient._values() if gradient.is_sparse else gradient

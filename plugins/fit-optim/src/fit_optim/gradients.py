"""What is done to gradients, in place: functions of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

import torch
from torch import Generator, Tensor
from torch.nn.utils import clip_grad_norm_


def noise_scale(step: int, eta: float, gamma: float) -> float:
    """Return the standard deviation of noise: `sqrt(eta / (1 + step) ** gamma)` (Neelakantan et al. 2015, arXiv:1511.06807)."""
    return float((eta / (1 + step) ** gamma) ** 0.5)


def add_noise_(gradient: Tensor, scale: float, generator: Generator) -> None:
    """Add normal noise to the values of a gradient."""
    values = values_of(gradient)
    values.add_(torch.randn(values.shape, generator=generator, dtype=values.dtype, device=values.device), alpha=scale)


def clip_norm_(params: Sequence[Tensor], limit: float, norm_type: float) -> Tensor:
    """Do what `torch.nn.utils.clip_grad_norm_` does, to the bit, in half the time where the gradients are all of a kind.

    Args:
        params: whose gradients are clipped.
        limit: of the norm of all gradients together.
        norm_type: which norm.

    Returns:
        The norm there was, a tensor without dimensions.
    """
    gradients = [p.grad for p in params if p.grad is not None]
    kinds = set(map(kind_of, gradients))
    if len(kinds) != 1 or kinds.pop()[2:] != (torch.strided, False):
        return clip_grad_norm_(params, limit, norm_type)
    total: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, norm_type)), norm_type)
    torch._foreach_mul_(gradients, (total + 1e-6).reciprocal_().mul_(limit).clamp_(max=1.0))
    return total


kind_of = attrgetter("dtype", "device", "layout", "requires_grad")
"""What gradients have in common that torch can take together."""


def centralize_(gradients: Iterable[Tensor]) -> None:
    """Subtract from each gradient of a matrix or kernel its mean over all dimensions but the first (Yong et al. 2020, eq. 1)."""
    for gradient in gradients:
        if gradient.dim() > 1:
            values = values_of(gradient)
            values.sub_(values.mean(dim=tuple(range(1, values.dim())), keepdim=True))


def values_of(gradient: Tensor) -> Tensor:
    """Return the values of a sparse gradient, any other as it is."""
    return gradient._values() if gradient.is_sparse else gradient

"""Penalties on a discriminator, as functions of tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Scores = Callable[[Tensor], Tensor]


def gradient_of(scores: Scores, samples: Tensor) -> Tensor:
    """Return the gradient of each sample's score: (batch, elements), differentiable."""
    samples = samples.detach().requires_grad_(True)
    with torch.enable_grad():
        gradient: Tensor
        (gradient,) = torch.autograd.grad(scores(samples).sum(), samples, create_graph=True)
    return gradient.flatten(1)


def interpolation_penalty(scores: Scores, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Return the mean of `(norm of the gradient - 1)^2` between real and fake samples (Gulrajani et al. 2017, eq. 3).

    Args:
        scores: maps samples to scores.
        real: (batch, ...).
        fake: of the same shape.
        mix: (batch,), from 0 (fake) to 1 (real).
    """
    mix = mix.reshape(-1, *[1] * (real.dim() - 1))
    norms: Tensor = gradient_of(scores, mix * real + (1 - mix) * fake).norm(dim=1)
    penalty: Tensor = (norms - 1).square().mean()
    return penalty


def squared_gradient(scores: Scores, samples: Tensor) -> Tensor:
    """Return half the mean squared norm of the gradient (Mescheder et al. 2018, eq. 9: R1 on real samples, R2 on fakes)."""
    return 0.5 * gradient_of(scores, samples).square().sum(1).mean()

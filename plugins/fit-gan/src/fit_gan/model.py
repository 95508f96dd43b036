"""A generator and a discriminator as one module, and the updates that train them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fit_core import FitError, Update, Updates


class GAN(nn.Module):
    """Two networks that are trained against each other.

    Args:
        generator: maps noise (batch, latent) to samples; if conditional, noise and labels.
        discriminator: maps samples to scores, before any sigmoid, or to a tuple that begins with them; if conditional,
            samples and labels.
        latent: how many numbers make a sample.
        conditional: both networks get the labels too, which are the batch's targets.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, latent: int, conditional: bool = False) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.latent = latent
        self.conditional = conditional

    def forward(self, noise: Tensor, labels: Any = None) -> Any:
        """Return samples for noise (batch, latent)."""
        return self.generator(noise, labels) if self.conditional else self.generator(noise)


def adversarial_updates(
    model: GAN, d: Callable[[Any], torch.optim.Optimizer], g: Callable[[Any], torch.optim.Optimizer] | None = None, critic_steps: int = 1
) -> Updates:
    """Return the updates of a GAN: `d` on every batch, then `g` on every `critic_steps`-th; fakes are made once per batch.

    Args:
        model: with a `generator` and a `discriminator`.
        d: makes the discriminator's optimizer of its parameters.
        g: likewise for the generator; None: as for the discriminator.
        critic_steps: steps of the discriminator for one of the generator.
    """
    return Updates(
        [
            Update("d", d, model.discriminator.parameters()),
            Update("g", d if g is None else g, model.generator.parameters(), every=critic_steps),
        ],
        shared_forward=True,
    )


def parts_of(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return the generator and the discriminator of a model.

    Raises:
        FitError: it has none.
    """
    generator, discriminator = getattr(model, "generator", None), getattr(model, "discriminator", None)
    if not isinstance(generator, nn.Module) or not isinstance(discriminator, nn.Module):
        raise FitError(
            f"{type(model).__name__} has no generator and discriminator; build it by fit_gan.GAN(generator, discriminator, latent=64)"
        )
    return generator, discriminator

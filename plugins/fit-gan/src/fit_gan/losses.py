"""Adversarial losses as functions of the discriminator's scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AdversarialLoss:
    """The two sides of a game. Scores are of any shape, before any sigmoid; losses are means over all of them.

    Attributes:
        d: of real and fake scores, what the discriminator minimises.
        g: of fake scores, what the generator minimises.
        probabilities: whether a sigmoid of a score is the probability that a sample is real.
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor], Tensor]
    probabilities: bool = False


def cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """Return `-log s(real) - log(1 - s(fake))`, s the sigmoid (Goodfellow et al. 2014, eq. 1, negated)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


LOSSES: dict[str, AdversarialLoss] = {
    # Goodfellow et al. 2014, eq. 1: the generator minimises log(1 - s(fake))
    "minimax": AdversarialLoss(cross_entropy, lambda fake: -F.softplus(fake).mean(), probabilities=True),
    # the same, section 3: the generator maximises log s(fake)
    "non-saturating": AdversarialLoss(cross_entropy, lambda fake: F.softplus(-fake).mean(), probabilities=True),
    # Mao et al. 2017, eq. 9: labels 0, 1 and 1
    "least-squares": AdversarialLoss(
        lambda real, fake: 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean(),
        lambda fake: 0.5 * (fake - 1).square().mean(),
    ),
    # Lim and Ye 2017; Miyato et al. 2018, eq. 17
    "hinge": AdversarialLoss(lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda fake: -fake.mean()),
    # Arjovsky et al. 2017, eq. 2
    "wasserstein": AdversarialLoss(lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean()),
}
"""The losses by name."""

"""Losses and penalties against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from fit_core import FitError
from fit_gan import LOSSES, Adversarial
from fit_gan.penalties import interpolation_penalty, squared_gradient

REAL, FAKE = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [-3.0]])


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


CE = -(log_sigmoid(2) + log_sigmoid(-1)) / 2 - (log_sigmoid(-0.5) + log_sigmoid(3)) / 2
BY_HAND = {
    "minimax": (CE, (log_sigmoid(-0.5) + log_sigmoid(3)) / 2),
    "non-saturating": (CE, -(log_sigmoid(0.5) + log_sigmoid(-3)) / 2),
    "least-squares": (0.5 * (1 + 4) / 2 + 0.5 * (0.25 + 9) / 2, 0.5 * (0.25 + 16) / 2),
    "hinge": ((0 + 2) / 2 + (1.5 + 0) / 2, -(0.5 - 3) / 2),
    "wasserstein": ((0.5 - 3) / 2 - (2 - 1) / 2, -(0.5 - 3) / 2),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_their_formulas(name: str) -> None:
    d, g = BY_HAND[name]
    assert float(LOSSES[name].d(REAL, FAKE)) == pytest.approx(d, rel=1e-6)
    assert float(LOSSES[name].g(FAKE)) == pytest.approx(g, rel=1e-6)


def test_minimax_is_minus_the_discriminators_own_term() -> None:
    fake = torch.tensor([0.3])
    assert float(LOSSES["minimax"].g(fake)) == pytest.approx(math.log(1 - 1 / (1 + math.exp(-0.3))))


def quadratic(samples: torch.Tensor) -> torch.Tensor:
    return samples.square().sum(1)  # its gradient is twice the sample


def test_penalties_are_their_formulas() -> None:
    real, fake = torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    mix = torch.tensor([0.5, 1.0])  # the points (1.5, 2) and (0, 1), whose gradients have the norms 5 and 2
    assert interpolation_penalty(quadratic, real, fake, mix).item() == pytest.approx((16 + 1) / 2)
    assert squared_gradient(quadratic, real).item() == pytest.approx(0.5 * (100 + 4) / 2)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(FitError, match=r"no adversarial loss 'hing' \(known: .*; did you mean 'hinge'"):
        Adversarial("hing")

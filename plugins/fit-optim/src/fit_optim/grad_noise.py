"""Noise on gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Generator

from fit_core import FitError, State, hookimpl
from fit_optim.gradients import add_noise_, noise_scale
from fit_optim.patterns import Patterns, matching

if TYPE_CHECKING:
    import torch

    from fit_core import Trainer


class GradNoise:
    """Adds normal noise to the gradients of every real step, which falls over the steps (Neelakantan et al. 2015, arXiv:1511.06807).

    Its variance is eta / (1 + t)^gamma, t being the steps that the update has made. After `clip`, if both are there.

    Args:
        eta: the variance at the first step.
        gamma: how fast it falls.
        params: patterns of names of parameters that get noise.

    Raises:
        FitError: a number is below 0, or a pattern matches no parameter.
    """

    runs_after = ("clip", "grad-centralization")

    def __init__(self, eta: float = 0.01, gamma: float = 0.55, params: Patterns = "*") -> None:
        for name, number in (("eta", eta), ("gamma", gamma)):
            if not 0 <= number < math.inf:
                raise FitError(f"{name} must be a number from 0 on, not {number}")
        self.eta = eta
        self.gamma = gamma
        self.params = params
        self._chosen: set[int] = set()

    @hookimpl
    def on_fit_start(self, trainer: Trainer) -> None:
        self._chosen = {id(p) for p in matching(trainer, self.params).values()}

    @hookimpl
    def on_step_start(self, trainer: Trainer, state: State) -> None:
        assert state.update is not None
        scale = noise_scale(state.update.steps, self.eta, self.gamma)
        generators: dict[torch.device, Generator] = {}
        for p in state.update.params:
            if p.grad is not None and id(p) in self._chosen:
                if p.grad.device not in generators:
                    generators[p.grad.device] = trainer.generator(self, p.grad.device)
                add_noise_(p.grad, scale, generators[p.grad.device])

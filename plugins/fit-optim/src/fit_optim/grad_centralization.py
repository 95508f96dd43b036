"""Gradients with zero mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fit_core import State, hookimpl
from fit_optim.gradients import centralize_
from fit_optim.patterns import Patterns, matching

if TYPE_CHECKING:
    from fit_core import Trainer


class GradCentralization:
    """Subtracts from the gradient of each output of a layer its mean, at every real step (Yong et al. 2020, eq. 1).

    Biases, norms and other vectors are left alone. Before `clip`, if both are there.

    Args:
        params: patterns of names of parameters whose gradients are centralised.

    Raises:
        FitError: a pattern matches no parameter.
    """

    runs_before = ("clip", "grad-noise")

    def __init__(self, params: Patterns = "*") -> None:
        self.params = params
        self._chosen: set[int] = set()

    @hookimpl
    def on_fit_start(self, trainer: Trainer) -> None:
        self._chosen = {id(p) for p in matching(trainer, self.params).values()}

    @hookimpl
    def on_step_start(self, state: State) -> None:
        assert state.update is not None
        centralize_(p.grad for p in state.update.params if p.grad is not None and id(p) in self._chosen)

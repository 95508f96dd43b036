"""Gradient clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.utils import clip_grad_value_

from fit_core import FitError, State, hookimpl
from fit_core.norm import norm_of
from fit_optim.gradients import clip_with_norm_

if TYPE_CHECKING:
    from fit_core import Trainer


class Clip:
    """Clips the gradients of every real step, when they are final: unscaled, and right for their window.

    Args:
        norm: the total norm that all gradients of an update may have together (Pascanu et al. 2013, algorithm 1); 1 if
            neither it nor `value` is given.
        value: the magnitude that each element may have; with both, the norm is clipped first.
        norm_type: which norm; 2 is the Euclidean one.
        log: send the norm before clipping to the trackers, as `grad_norm`.
    """

    def __init__(self, norm: float | None = None, value: float | None = None, norm_type: float = 2.0, log: bool = True) -> None:
        for name, limit in (("norm", norm), ("value", value)):
            if limit is not None and not limit > 0:
                raise FitError(f"{name} must be above 0, not {limit}")
        self.norm = 1.0 if norm is None and value is None else norm
        self.value = value
        self.norm_type = norm_type
        self.log = log

    @hookimpl
    def on_step_start(self, trainer: Trainer, state: State) -> None:
        assert state.update is not None
        update = state.update
        if self.norm is not None:
            gradients = update.gradients()
            norm = update.norm.of(gradients) if self.norm_type == 2 else norm_of(gradients, self.norm_type)
            clip_with_norm_(gradients, self.norm, norm)
            if self.log:
                name = "grad_norm" if len(state.updates) == 1 else f"{update.name}_grad_norm"
                trainer.log({name: norm})
        if self.value is not None:
            clip_grad_value_(update.params, self.value)

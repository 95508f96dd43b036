"""Optimizers that evaluate a batch themselves: how they make a step, and how it is undone."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fit_core.errors import FitError
from fit_core.update import admitted, backward, compute_loss, count_step, forget_gradients, forward
from fit_core.updates import Update

if TYPE_CHECKING:
    from fit_core.state import State
    from fit_core.trainer import Trainer


class Abandoned(Exception):
    """Leads out of a closure when the step is not to be made."""


class Snapshot:
    """Parameters and optimizer states of an update, to go back to.

    Args:
        update: as it is now.
    """

    def __init__(self, update: Update) -> None:
        self.update = update
        self.params = [p.detach().clone() for p in update.params]
        self.states = [copy.deepcopy(optimizer.state_dict()) for optimizer in update.optimizers]

    def restore(self) -> None:
        """Put everything back."""
        with torch.no_grad():
            for p, before in zip(self.update.params, self.params, strict=True):
                p.copy_(before)
        for optimizer, state in zip(self.update.optimizers, self.states, strict=True):
            optimizer.load_state_dict(state)


def step_with_closure(trainer: Trainer, state: State, update: Update) -> None:
    """Let an optimizer such as LBFGS evaluate the batch as often as it likes within one step.

    What is reported is its first evaluation. A step that is skipped, or fails, leaves parameters and optimizer as they were.
    """
    first: list[Any] = []
    asked = update.window.skip

    def closure() -> Tensor:
        with torch.enable_grad():
            update.begin_window()
            update.window.skip = asked
            state._progress.moment = "update" if first else "batch"
            forward(trainer, state)
            compute_loss(trainer, state)
            backward(trainer, state)
        if state._progress.skip_batch:
            raise Abandoned
        first[:] = first or [state.outputs, state.loss, state.weight]
        update.window.add(state)
        if not trainer.hooks.should_step(trainer, state):
            raise FitError(
                f"update {update.name!r} steps on every batch, since its optimizer evaluates it itself; should_step must be True"
            )
        if not admitted(trainer, state, update):
            raise Abandoned
        return state.loss.detach()

    before = Snapshot(update)
    update.closure = closure
    try:
        trainer.hooks.optimizer_step(trainer, state)
    except BaseException as error:
        before.restore()
        if not isinstance(error, Abandoned):
            raise
    else:
        state.outputs, state.loss, state.weight = first
        count_step(trainer, state, update)
    finally:
        update.closure = None
    forget_gradients(trainer, state, update)

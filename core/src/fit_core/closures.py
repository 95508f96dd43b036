"""Optimizers that evaluate a batch themselves: how a step of theirs is undone."""

from __future__ import annotations

import copy

import torch

from fit_core.updates import Update


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

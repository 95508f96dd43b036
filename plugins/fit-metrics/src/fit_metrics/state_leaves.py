"""Trees over what batches leave behind: the loss, what plugins put under keys."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fit_core.metrics import under
from fit_core.state import State, StateKey
from fit_metrics.tree import StateTree


class Losses(StateTree):
    """A tree over the loss of each batch: that of the first update, weighted by its terms."""

    def __init__(self) -> None:
        super().__init__(nothing, "loss", higher_is_better=False)

    def update_loss(self, loss: Tensor, terms: Tensor | float) -> None:
        """Take in the loss of a batch."""
        self._keep(loss, terms)


def nothing(state: State) -> None:  # a leaf gets it
    """Return no value: what the tree is told elsewhere counts."""


def loss() -> StateTree:
    """The loss of each batch, weighted by its terms: for its spread, `std("loss")`, or its course, `running_mean("loss")`.

    Its mean is in every row anyway. Losses that are sums count once for each batch.
    """
    return Losses()


def of_key(key: StateKey[Any]) -> StateTree:
    """What plugins put under a key of the state."""
    return StateTree(under(key), key.name)

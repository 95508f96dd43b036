"""Leaves that look at the state after every batch: the loss, keys, learning rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fit_core.criterion import terms
from fit_core.state import State, StateKey
from fit_metrics.aggregates import Mean
from fit_metrics.tree import StateTree


def _loss(state: State) -> Any:
    return None if state.loss is None else (state.loss, terms(state))


def loss() -> StateTree:
    """The loss of each batch, weighted by its terms: for its spread, `std("loss")`, or its course, `running_mean("loss")`.

    Its mean is in every row anyway.
    """
    return StateTree(_loss, "loss", higher_is_better=False)


def of_key(key: StateKey[Any]) -> StateTree:
    """What plugins put under a key of the state."""
    return StateTree(_reader(key), key.name)


def _reader(key: StateKey[Any]) -> Callable[[State], Any]:
    def read(state: State) -> Any:
        return state.get(key)

    return read


def _rates(state: State) -> Any:
    if state.phase != "train":
        return None
    groups = [group["lr"] for update in state.updates.values() for optimizer in update.optimizers for group in optimizer.param_groups]
    return (groups[0], 1) if len(groups) == 1 else torch.stack([torch.as_tensor(rate, dtype=torch.float64) for rate in groups])[None]


def learning_rate() -> StateTree:
    """The mean of the learning rate over the batches of an epoch, one for each parameter group; the row's `lr` is that of its end."""
    return StateTree(_rates, "learning_rate", [Mean(dim=0)])

"""Optimisation without data: the point at which a function is smallest.

fit train examples/quadratic.py -p lr:schedule=cosine
"""

from functools import partial

import torch
from torch import Tensor, nn

from fit_core import State, StateKey, Trainer

DISTANCE: StateKey[Tensor] = StateKey("distance")
MINIMUM = torch.tensor([5.0, 0.0, 1.0])


class Point(nn.Module):
    """A point in space. Its `forward` takes no inputs, so that it needs no data."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(3))

    def forward(self, state: State) -> Tensor:
        """Return the point, and leave how far it is from the minimum where metrics find it."""
        state[DISTANCE] = (self.place.detach() - MINIMUM).norm()
        return self.place


def function(place: Tensor, _: None) -> Tensor:
    """(x - 5)^2 + y^2 + (z - 1)^2, of which the gradient is known to be zero at (5, 0, 1)."""
    return (place - MINIMUM).square().sum()


def build_trainer(lr: float = 0.1, steps: int = 50, epochs: int = 5) -> Trainer:
    """Go down a quadratic function.

    Args:
        lr: the highest learning rate.
        steps: in an epoch, after each of which a line is printed.
        epochs: how many of them.
    """
    nothing = [None] * steps
    return Trainer(Point(), function, partial(torch.optim.Adam, lr=lr), metrics=[DISTANCE], train_data=nothing, epochs=epochs)


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

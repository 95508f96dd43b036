"""Projected descent: the online problem on which Adam goes to the worst point there is, and AMSGrad to the best.

fit train examples/projected.py
"""

from functools import partial

import torch
from torch import Tensor, nn

from fit_core import State, Trainer, hookimpl
from fit_schedulers import LR


class Number(nn.Module):
    """A number to be found between -1 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(()))

    def forward(self) -> Tensor:
        """Return the number."""
        return self.x


def loss(x: Tensor, _: None, state: State) -> Tensor:
    """Return 4x in the first of every three steps, else -x: on average least at -1 (Reddi et al. 2018, theorem 1, C = 4)."""
    return 4 * x if state.batch_count % 3 == 1 else -x


@hookimpl
def on_step_end(trainer: Trainer) -> None:
    with torch.no_grad():
        for p in trainer.model.parameters():
            p.clamp_(-1, 1)


@hookimpl
def on_batch_end(trainer: Trainer, state: State) -> None:
    trainer.record("x", state.outputs.detach())


def build_trainer(lr: float = 0.5, amsgrad: bool = True, steps: int = 1500, epochs: int = 4) -> Trainer:
    """Look for the number that is best on average.

    Args:
        lr: the learning rate of the first step; it falls with the root of the steps.
        amsgrad: keep the largest second moment; without it this is Adam.
        steps: in an epoch, after each of which a line is printed.
        epochs: how many of them.
    """
    adam = partial(torch.optim.Adam, lr=lr, betas=(0.0, 1 / 17), amsgrad=amsgrad)
    slower = LR(lambda step: (1 + step) ** -0.5)
    return Trainer(Number(), loss, adam, plugins=[slower, on_step_end, on_batch_end], train_data=[None] * steps, epochs=epochs)


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

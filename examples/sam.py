"""Sharpness-aware minimisation, by replacing `run_update`: each step uses the gradient from the worst place nearby.

fit train examples/sam.py --plugins logging
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from fit_core import State, Trainer, hookimpl


class SAM:
    """Looks at each batch twice (Foret et al. 2021, algorithm 1).

    Args:
        rho: how far away the worst place is looked for.
    """

    def __init__(self, rho: float = 0.05) -> None:
        self.rho = rho

    @hookimpl
    def run_update(self, trainer: Trainer, state: State) -> bool:
        assert state.update is not None
        params = state.update.params
        earlier = taken(params)  # of the batches before, if a step is made of several
        self.look(trainer)
        loss, outputs = state.loss, state.outputs
        here = climb(params, taken(params), self.rho)
        self.look(trainer)
        with torch.no_grad():
            torch._foreach_copy_(params, here)
        for p, gradient in zip(params, earlier, strict=True):
            if gradient is not None:
                p.grad = gradient if p.grad is None else p.grad + gradient
        trainer.record("sharpness", (state.loss - loss).detach())
        state.loss, state.outputs = loss, outputs
        trainer.maybe_step()
        return True

    def look(self, trainer: Trainer) -> None:
        """Compute the gradients of the batch where the parameters are now."""
        trainer.forward()
        trainer.compute_loss()
        trainer.backward()


def taken(params: list[Tensor]) -> list[Tensor | None]:
    """Return the gradients, and leave none."""
    gradients = [p.grad for p in params]
    for p in params:
        p.grad = None
    return gradients


@torch.no_grad()
def climb(params: list[Tensor], gradients: list[Tensor | None], rho: float) -> list[Tensor]:
    """Move parameters along their gradients, by a distance of rho; return where they were."""
    here = [p.clone() for p in params]
    uphill = [torch.zeros_like(p) if gradient is None else gradient for p, gradient in zip(params, gradients, strict=True)]
    norm = torch.nn.utils.get_total_norm(uphill)
    torch._foreach_add_(params, torch._foreach_mul(uphill, rho / (norm + 1e-12)))
    return here


def build_trainer(lr: float = 0.1, rho: float = 0.1, epochs: int = 40) -> Trainer:
    """Learn digits from a few of them.

    Args:
        lr: the highest learning rate.
        rho: how far away the worst place is looked for; 0 is plain descent.
        epochs: how many epochs to train.
    """
    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, val = order[:300], order[300:]
    return Trainer(
        nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)),
        nn.CrossEntropyLoss(),
        partial(torch.optim.SGD, lr=lr, momentum=0.9),
        metrics=["accuracy"],
        plugins=[SAM(rho), "lr:schedule=cosine"],
        train_data=(images[train], labels[train]),
        val_data=(images[val], labels[val]),
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

"""Sharpness-aware minimisation, by replacing `run_update`: each step uses the gradient from the worst place nearby.

fit train examples/sam.py --rho 0
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
        self.gradients(trainer)
        here, outputs, params = state.loss, state.outputs, state.update.params
        uphill = climb(params, self.rho)
        state.update.zero_grad()
        self.gradients(trainer)
        with torch.no_grad():
            torch._foreach_sub_(params, uphill)
        trainer.record("sharpness", (state.loss - here).detach())
        state.loss, state.outputs = here, outputs
        trainer.maybe_step()
        return True

    def gradients(self, trainer: Trainer) -> None:
        """Compute the gradients of the batch where the parameters are now."""
        trainer.forward()
        trainer.compute_loss()
        trainer.backward()


@torch.no_grad()
def climb(params: list[Tensor], rho: float) -> list[Tensor]:
    """Move parameters along their gradients, by a distance of rho; return how far each was moved."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
    norm = torch.nn.utils.get_total_norm(gradients)
    uphill = list(torch._foreach_mul(gradients, rho / (norm + 1e-12)))
    torch._foreach_add_(params, uphill)
    return uphill


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

"""Regression: how far the diabetes of 442 patients went in a year, from ten measurements of each.

fit train examples/diabetes.py --plugins logging
"""

from functools import partial

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

from fit_core import Trainer


class Regressor(nn.Module):
    """A small network that answers in the unit of the targets it was made for.

    Args:
        targets: (count,) those of training.
    """

    def __init__(self, targets: Tensor) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(10), nn.Linear(10, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1))
        self.unit: Tensor
        self.register_buffer("unit", torch.stack([targets.mean(), targets.std()]))

    def forward(self, measured: Tensor) -> Tensor:
        """Map (batch, 10) measurements to (batch,) targets."""
        answer: Tensor = self.layers(measured)[:, 0]
        return self.unit[0] + self.unit[1] * answer


def build_trainer(lr: float = 1e-2, decay: float = 0.1, epochs: int = 100) -> Trainer:
    """Foretell the course of diabetes.

    Args:
        lr: the highest learning rate.
        decay: of weights, not of biases.
        epochs: how many epochs to train at most.
    """
    patients = load_diabetes()
    inputs, targets = torch.tensor(patients.data, dtype=torch.float32), torch.tensor(patients.target, dtype=torch.float32)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    train, val, test = order[:300], order[300:370], order[370:]
    return Trainer(
        Regressor(targets[train]),
        nn.HuberLoss(delta=50.0),
        partial(torch.optim.AdamW, lr=lr),
        metrics=["r2", "mae"],
        plugins=[f"decay-groups:decay={decay}", "lr:schedule=cosine,warmup=0.05", "early-stopping:monitor=val_loss,patience=20"],
        train_data=(inputs[train], targets[train]),
        val_data=(inputs[val], targets[val]),
        test_data=(inputs[test], targets[test]),
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

"""Several inputs, outputs and tasks: of two digits side by side, their sum, and whether the left one is greater.

fit train examples/several.py --plugins logging
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from fit_core import Trainer
from fit_metrics import metric

Tensors = dict[str, Tensor]


class Pairs(nn.Module):
    """Looks at both digits in the same way, and answers two questions."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU())
        self.both = nn.Sequential(nn.Linear(64, 128), nn.ReLU())
        self.sum = nn.Linear(128, 19)
        self.greater = nn.Linear(128, 1)

    def forward(self, left: Tensor, right: Tensor) -> Tensors:
        """Map two (batch, 64) images to scores of 19 sums, and of whether the left digit is greater."""
        seen = self.both(torch.cat([self.look(left), self.look(right)], dim=1))
        return {"sum": self.sum(seen), "greater": self.greater(seen)[:, 0]}


def sum_loss(outputs: Tensors, targets: Tensors) -> Tensor:
    """Return the loss of the first task."""
    return F.cross_entropy(outputs["sum"], targets["sum"])


def greater_loss(outputs: Tensors, targets: Tensors) -> Tensor:
    """Return the loss of the second task."""
    return F.binary_cross_entropy_with_logits(outputs["greater"], targets["greater"])


def loss(outputs: Tensors, targets: Tensors) -> Tensor:
    """Return what is trained on: both."""
    return sum_loss(outputs, targets) + greater_loss(outputs, targets)


def pairs(images: Tensor, digits: Tensor, count: int, seed: int) -> tuple[Tensors, Tensors]:
    """Return pairs of images drawn at random, and what there is to be said of them."""
    left, right = torch.randint(len(images), (2, count), generator=torch.Generator().manual_seed(seed))
    said = {"sum": digits[left] + digits[right], "greater": (digits[left] > digits[right]).float()}
    return {"left": images[left], "right": images[right]}, said


def build_trainer(lr: float = 3e-3, count: int = 10_000, epochs: int = 12) -> Trainer:
    """Add and compare handwritten digits.

    Args:
        lr: the highest learning rate.
        count: how many pairs to train on.
        epochs: how many epochs to train.
    """
    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, val = order[:1400], order[1400:]
    return Trainer(
        Pairs(),
        loss,
        partial(torch.optim.AdamW, lr=lr),
        metrics=[
            sum_loss,
            greater_loss,
            metric("sum_accuracy", output="sum", target="sum")("categorical_accuracy"),
            metric("greater_accuracy", output="greater", target="greater")("binary_accuracy"),
        ],
        plugins=["lr:schedule=cosine"],
        train_data=pairs(images[train], labels[train], count, seed=1),
        val_data=pairs(images[val], labels[val], 2000, seed=2),
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

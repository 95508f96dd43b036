"""Transfer: a backbone that knows the digits 0 to 4 learns 5 to 9 with a new head, while it is frozen itself.

fit train examples/transfer.py
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, random_split

from fit_core import Trainer, freeze


class Digits(Dataset[tuple[Tensor, Tensor]]):
    """Images (1, 8, 8) of five digits in a row, and which of the five each is."""

    def __init__(self, first: int) -> None:
        digits = load_digits()
        wanted = (digits.target >= first) & (digits.target < first + 5)
        self.images = torch.tensor(digits.images[wanted], dtype=torch.float32)[:, None] / 16
        self.labels = torch.tensor(digits.target[wanted]) - first

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


class Network(nn.Module):
    """A small CNN: a backbone, and a head that sorts into five classes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        )
        self.head = nn.Linear(64 * 16, 5)

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, 1, 8, 8) images to (batch, 5) scores."""
        scores: Tensor = self.head(self.backbone(images))
        return scores


def pretrained() -> Network:
    """Return a network that knows the digits 0 to 4."""
    model = Network()
    Trainer(model, nn.CrossEntropyLoss(), partial(torch.optim.Adam, lr=1e-3), quiet=True).fit(Digits(0), epochs=3)
    return model


def build_trainer(lr: float = 0.01, epochs: int = 2) -> Trainer:
    """Learn five new digits with a frozen backbone.

    Args:
        lr: the learning rate of the head.
        epochs: how many epochs to train.
    """
    train, val = random_split(Digits(5), [0.8, 0.2])
    model = pretrained()
    freeze(model.backbone)
    model.head = nn.Linear(64 * 16, 5)
    return Trainer(
        model,
        nn.CrossEntropyLoss(),
        partial(torch.optim.Adam, lr=lr),
        metrics=["accuracy"],
        train_data=DataLoader(train, batch_size=32, shuffle=True),
        val_data=DataLoader(val, batch_size=64),
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

"""Handwritten digits: a small convolutional network on the 1,797 images that come with scikit-learn.

fit train examples/digits.py --plugins logging,schedulers
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import nn

from fit_core import Trainer


def build_trainer(lr: float = 0.01, channels: int = 32, epochs: int = 20) -> Trainer:
    """Train a small CNN on scikit-learn's digits.

    Args:
        lr: the highest learning rate.
        channels: of the first convolution; the second has twice as many.
        epochs: how many epochs to train.
    """
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, val, test = order[:1257], order[1257:1527], order[1527:]
    return Trainer(
        model=network(channels),
        loss_fn=nn.CrossEntropyLoss(),
        optimizer=partial(torch.optim.AdamW, lr=lr),
        metrics=["accuracy"],
        train_data=(images[train], labels[train]),
        val_data=(images[val], labels[val]),
        test_data=(images[test], labels[test]),
        epochs=epochs,
    )


def network(channels: int) -> nn.Module:
    """Map (batch, 1, 8, 8) images to (batch, 10) scores."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.BatchNorm2d(2 * channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(2 * channels * 16, 10),
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

"""A GAN that writes digits.

fit train examples/gan.py --plugins logging
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import nn

from fit_core import Trainer
from fit_gan import GAN, adversarial_updates


def build_trainer(lr: float = 5e-4, latent: int = 16, epochs: int = 150) -> Trainer:
    """Learn the digits of scikit-learn, 8 by 8.

    Args:
        lr: the learning rate of both sides.
        latent: how many numbers make a digit.
        epochs: how many epochs to train.
    """
    images = torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1
    generator = nn.Sequential(
        nn.Linear(latent, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 64), nn.Tanh()
    )
    discriminator = nn.Sequential(
        nn.Linear(64, 256), nn.LeakyReLU(0.2), nn.Dropout(0.3), nn.Linear(256, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1)
    )
    model = GAN(generator, discriminator, latent)
    updates = adversarial_updates(model, partial(torch.optim.Adam, lr=lr, betas=(0.5, 0.999)))
    return Trainer(model, optimizer=updates, plugins=["gan:ema=0.99"], train_data=images, epochs=epochs)


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

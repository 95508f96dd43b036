"""A Wasserstein GAN with gradient penalty that writes digits: five critic steps for one of the generator.

fit train examples/wgan_gp.py --plugins logging
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import nn

from fit_core import Trainer
from fit_gan import GAN, GradientPenalty, adversarial_updates


def build_trainer(lr: float = 1e-3, latent: int = 16, epochs: int = 300) -> Trainer:
    """Learn the digits of scikit-learn, 8 by 8 (Gulrajani et al. 2017, algorithm 1).

    Args:
        lr: the learning rate of both sides.
        latent: how many numbers make a digit.
        epochs: how many epochs to train.
    """
    images = torch.tensor(load_digits().data, dtype=torch.float32) / 8 - 1
    generator = nn.Sequential(
        nn.Linear(latent, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 64), nn.Tanh()
    )
    critic = nn.Sequential(nn.Linear(64, 256), nn.LeakyReLU(0.2), nn.Linear(256, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))
    model = GAN(generator, critic, latent)
    updates = adversarial_updates(model, partial(torch.optim.Adam, lr=lr, betas=(0.0, 0.9)), critic_steps=5)
    plugins = ["gan:loss=wasserstein,ema=0.99", GradientPenalty(weight=10)]
    return Trainer(model, optimizer=updates, plugins=plugins, train_data=images, epochs=epochs)


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

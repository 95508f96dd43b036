"""A variational autoencoder of digits: the weight of its KL term rises in the first half of training.

fit train examples/vae.py --plugins logging
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from fit_core import State, StateKey, Trainer, hookimpl
from fit_core.items import Images

MEAN: StateKey[Tensor] = StateKey("mean")
LOG_VAR: StateKey[Tensor] = StateKey("log_var")


class VAE(nn.Module):
    """Turns (batch, 64) images into the normal distribution of a code, and a code drawn from it into an image."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.encoder = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 2 * size))
        self.decoder = nn.Sequential(nn.Linear(size, 256), nn.ReLU(), nn.Linear(256, 64))

    def forward(self, images: Tensor, state: State) -> Tensor:
        """Return the logits of reconstructions; leave the mean and the log of the variance of each code in the state."""
        state[MEAN], state[LOG_VAR] = self.encoder(images).chunk(2, dim=1)
        noise = torch.randn_like(state[MEAN]) if self.training else 0
        logits: Tensor = self.decoder(state[MEAN] + noise * (state[LOG_VAR] / 2).exp())
        return logits

    @torch.no_grad()
    def draw(self) -> Tensor:
        """Return 64 new digits, (64, 1, 8, 8), always of the same codes."""
        codes = torch.randn(64, self.size, generator=torch.Generator().manual_seed(0))
        pixels: Tensor = self.decoder(codes).sigmoid()
        return pixels.reshape(64, 1, 8, 8)


def reconstruction(logits: Tensor, _: None, state: State) -> Tensor:
    """Return the cross entropy of an image, in nats."""
    return F.binary_cross_entropy_with_logits(logits, state.inputs, reduction="none").sum(1).mean()


class KL:
    """Adds how far codes are from the standard normal distribution, in nats (Kingma and Welling 2014, appendix B).

    Args:
        weight: of the term in the loss: the beta of Higgins et al. 2017.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    @hookimpl
    def on_loss_end(self, trainer: Trainer, state: State) -> None:
        mean, log_var = state[MEAN], state[LOG_VAR]
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()
        trainer.record("kl", kl.detach(), weight=len(mean))
        state.loss = state.loss + self.weight * kl


@hookimpl
def on_epoch_end(trainer: Trainer) -> None:
    model = trainer.model
    assert isinstance(model, VAE)
    trainer.show("digits", lambda: Images(model.draw(), columns=8))


def build_trainer(lr: float = 2e-3, size: int = 8, epochs: int = 60) -> Trainer:
    """Learn to make digits, 8 by 8.

    Args:
        lr: the learning rate.
        size: of a code.
        epochs: how many epochs to train.
    """
    images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    return Trainer(
        VAE(size),
        reconstruction,
        partial(torch.optim.Adam, lr=lr),
        plugins=[KL(), "scheduled-value:of=kl.weight,schedule=[linear 50 % start=0 end=1, constant]", on_epoch_end],
        train_data=DataLoader(TensorDataset(images[:1500]), batch_size=64, shuffle=True),
        val_data=DataLoader(TensorDataset(images[1500:]), batch_size=64),
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

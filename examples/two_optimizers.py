"""Two updates over one network: an autoencoder of digits, and a probe that reads their class from its codes.

fit train examples/two_optimizers.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from fit_core import State, Trainer, Update, Updates


class Codes(nn.Module):
    """Maps (batch, 64) images to their reconstruction, and to scores of ten classes from the code alone."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, size))
        self.decoder = nn.Sequential(nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, 64))
        self.probe = nn.Linear(size, 10)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the reconstruction, and scores that teach the encoder nothing."""
        code = self.encoder(images)
        return self.decoder(code), self.probe(code.detach())


def reconstruction(outputs: tuple[torch.Tensor, torch.Tensor], _: torch.Tensor, state: State) -> torch.Tensor:
    """Compare reconstructions with the images."""
    return F.mse_loss(outputs[0], state.inputs)


def accuracy(outputs: tuple[torch.Tensor, torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
    """Tell of each image whether the probe knows it."""
    return outputs[1].argmax(1) == targets


def build_trainer(lr: float = 2e-3, size: int = 16, epochs: int = 20) -> Trainer:
    """Train an autoencoder, and a probe on its codes.

    Args:
        lr: the learning rate of both.
        size: of a code.
        epochs: how many epochs to train.
    """
    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    model = Codes(size)
    autoencoder = torch.optim.AdamW([*model.encoder.parameters(), *model.decoder.parameters()], lr=lr)
    probe = torch.optim.SGD(model.probe.parameters(), lr=lr * 20, momentum=0.9)
    updates = Updates(
        [
            Update("autoencoder", autoencoder, loss_fn=reconstruction),
            Update("probe", probe, loss_fn=lambda outputs, targets: F.cross_entropy(outputs[1], targets)),
        ],
        shared_forward=True,
    )
    data, val = (images[:1500], labels[:1500]), (images[1500:], labels[1500:])
    return Trainer(model, optimizer=updates, metrics=[accuracy], train_data=data, val_data=val, epochs=epochs)


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

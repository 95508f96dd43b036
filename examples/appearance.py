"""What a classifier takes for each digit: training changes ten images, and leaves the network alone.

fit train examples/appearance.py --plugins logging
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from fit_core import State, Trainer, freeze, hookimpl
from fit_core.items import Images


def classifier() -> nn.Module:
    """Return a trained network that maps (batch, 1, 8, 8) images of digits to (batch, 10) scores."""
    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Dropout(0.5), nn.Linear(64 * 16, 10)),
    )
    Trainer(model, nn.CrossEntropyLoss(), partial(torch.optim.Adam, lr=2e-3), quiet=True).fit((images, labels), epochs=5)
    return model


class Appearance(nn.Module):
    """Ten images, and the network that looks at them. Its `forward` takes no inputs, so that it needs no data."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        freeze(network)
        self.pixels = nn.Parameter(torch.rand(10, 1, 8, 8) * 0.1)

    def forward(self) -> Tensor:
        """Return (10, 10) scores: a row for each image."""
        scores: Tensor = self.network(moved(self.pixels))
        return scores


def moved(images: Tensor) -> Tensor:
    """Return each image moved by a pixel at most, so that no single pixel counts for much."""
    across, down = (int(shift) for shift in torch.randint(-1, 2, (2,)))
    return images.roll((across, down), dims=(2, 3))


def loss(scores: Tensor, _: None) -> Tensor:
    """Return how little each image is taken for its digit."""
    return nn.functional.cross_entropy(scores, torch.arange(10))


@hookimpl
def on_step_end(trainer: Trainer) -> None:
    with torch.no_grad():
        trainer.model.get_parameter("pixels").clamp_(0, 1)


@hookimpl
def on_batch_end(trainer: Trainer, state: State) -> None:
    trainer.record("certainty", state.outputs.detach().softmax(1).diagonal().mean())


@hookimpl
def on_epoch_end(trainer: Trainer) -> None:
    trainer.show("appearance", lambda: Images(trainer.model.get_parameter("pixels").detach().clone(), columns=10))


def build_trainer(lr: float = 0.05, decay: float = 0.003, steps: int = 50, epochs: int = 4) -> Trainer:
    """Draw what a network takes for digits (Simonyan et al. 2014, section 2).

    Args:
        lr: the highest learning rate.
        decay: how much bright pixels cost.
        steps: in an epoch, after each of which the images are shown.
        epochs: how many of them.
    """
    hooks = [on_step_end, on_batch_end, on_epoch_end]
    return Trainer(
        Appearance(classifier()),
        loss,
        partial(torch.optim.Adam, lr=lr),
        plugins=[f"weight-decay:rate={decay},p=1,params=pixels", "lr:schedule=cosine", *hooks],
        train_data=[None] * steps,
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

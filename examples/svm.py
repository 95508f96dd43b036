"""A linear support vector machine by gradient descent, with its decision boundary.

fit train examples/svm.py --plugins logging
"""

from functools import partial
from typing import Any

import torch
from sklearn.datasets import make_blobs
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fit_core import State, Trainer, every, hookimpl
from fit_core.items import Figure

RATE = 0.01
"""Of weight decay: one over this and the number of points is the C of other formulations."""


def hinge(scores: Tensor, signs: Tensor) -> Tensor:
    """Return by how much points are on the wrong side of their margin, on average.

    Args:
        scores: (batch, 1) signed distances, in margins.
        signs: (batch, 1) of -1 and 1.
    """
    return (1 - scores * signs).clamp_min(0).mean()


def accuracy(scores: Tensor, signs: Tensor) -> Tensor:
    """Tell which points are on their side."""
    return (scores * signs > 0)[:, 0]


def points() -> tuple[Tensor, Tensor]:
    """Return 400 points in the plane, and which of two clouds each is from."""
    places, clouds = make_blobs(400, centers=[[-1.5, -1.0], [1.5, 1.0]], cluster_std=1.0, random_state=1)[:2]
    return torch.tensor(places, dtype=torch.float32), torch.tensor(clouds, dtype=torch.float32)[:, None] * 2 - 1


@every("10 epochs")
@hookimpl
def on_epoch_end(trainer: Trainer, state: State) -> None:
    trainer.show("boundary", lambda: Figure(draw(trainer.model, state.epoch)))


def draw(model: nn.Module, epoch: int) -> Any:
    """Return a figure of matplotlib: the points, the boundary, and the margins on both of its sides."""
    from matplotlib.figure import Figure as Plot

    places, signs = points()
    side = torch.linspace(-5, 5, 100)
    with torch.no_grad():
        scores = model(torch.stack(torch.meshgrid(side, side, indexing="xy"), -1))[..., 0]
    plot = Plot(layout="constrained")
    axes = plot.subplots()
    axes.scatter(places[:, 0], places[:, 1], c=signs[:, 0], cmap="coolwarm", s=12)
    axes.contour(side, side, scores, levels=[-1, 0, 1], colors="black", linestyles=["dotted", "solid", "dotted"])
    axes.set_title(f"epoch {epoch}")
    return plot


def build_trainer(lr: float = 0.1, epochs: int = 40) -> Trainer:
    """Part two clouds of points.

    Args:
        lr: the learning rate of the beginning.
        epochs: how many epochs to train.
    """
    return Trainer(
        nn.Linear(2, 1),
        hinge,
        partial(torch.optim.SGD, lr=lr),
        metrics=[accuracy],
        plugins=[f"weight-decay:rate={RATE},params=weight", "lr:schedule=exponential,end=0.01", on_epoch_end],
        train_data=DataLoader(TensorDataset(*points()), batch_size=20, shuffle=True),
        epochs=epochs,
    )


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

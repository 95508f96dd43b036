"""Five optimizers on Himmelblau's function, in one run: each is an update with a point of its own.

fit train examples/himmelblau.py
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, Optimizer, RMSprop

from fit_core import State, Trainer, Update, Updates, hookimpl
from fit_core.items import Figure

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": partial(SGD, lr=0.01),
    "momentum": partial(SGD, lr=0.002, momentum=0.9),
    "adagrad": partial(Adagrad, lr=1.0),
    "rmsprop": partial(RMSprop, lr=0.05),
    "adam": partial(Adam, lr=0.2),
}


def himmelblau(place: Tensor) -> Tensor:
    """Return (x^2 + y - 11)^2 + (x + y^2 - 7)^2 of points (..., 2): zero at four of them (Himmelblau 1972)."""
    x, y = place[..., 0], place[..., 1]
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


class Points(nn.Module):
    """A point for each optimizer, all at the same place."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.ParameterDict({name: nn.Parameter(torch.tensor([0.0, -1.0])) for name in OPTIMIZERS})

    def forward(self) -> dict[str, Tensor]:
        """Return the points by name, in the order of the optimizers: a `ParameterDict` sorts them."""
        return {name: self.places[name] for name in OPTIMIZERS}


class Paths:
    """Draws the way of each point over the contours of the function, at the end of each epoch."""

    passive = True

    def __init__(self) -> None:
        self.places: list[Tensor] = []

    @hookimpl
    def on_forward_end(self, state: State) -> None:
        self.places.append(torch.stack(list(state.outputs.values())).detach())

    @hookimpl
    def on_epoch_end(self, trainer: Trainer) -> None:
        trainer.show("paths", lambda: Figure(self.draw()))

    def draw(self) -> Any:
        """Return a figure of matplotlib."""
        from matplotlib.figure import Figure as Plot

        plot = Plot(layout="constrained")
        axes = plot.subplots()
        side = torch.linspace(-5, 5, 200)
        heights = himmelblau(torch.stack(torch.meshgrid(side, side, indexing="xy"), -1))
        axes.contour(side, side, heights.log1p(), levels=20, cmap="Greys", linewidths=0.5)
        for name, path in zip(OPTIMIZERS, torch.stack(self.places, dim=1), strict=True):
            axes.plot(path[:, 0], path[:, 1], label=name)
        axes.legend(loc="lower left")
        return plot

    def state_dict(self) -> dict[str, Any]:
        """Return the places, so that a resumed run draws whole paths."""
        return {"places": self.places}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.places = state["places"]


def build_trainer(steps: int = 50, epochs: int = 4) -> Trainer:
    """Send five points to a minimum of Himmelblau's function.

    Args:
        steps: in an epoch, after each of which a line is printed.
        epochs: how many of them.
    """
    model = Points()
    updates = [
        Update(name, optimizer, [model.places[name]], loss_fn=lambda places, _, name=name: himmelblau(places[name]))
        for name, optimizer in OPTIMIZERS.items()
    ]
    return Trainer(model, optimizer=Updates(updates, shared_forward=True), plugins=[Paths()], train_data=[None] * steps, epochs=epochs)


if __name__ == "__main__":
    import fit_core

    fit_core.run(build_trainer)

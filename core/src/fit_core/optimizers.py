"""An update: one optimizer's share of a training algorithm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from fit_core.errors import FitError
from fit_core.window import Window


class Update:
    """What one optimizer trains, and how far it has come.

    Attributes:
        name: "main" for the only update of a plain run.
        optimizers: whose `step` makes the update.
        steps: how many steps are finished.
        lr: the learning rate of the last step, of the first parameter group; before it, of the next.
        window: the batches whose gradients are added up for the next step.
    """

    def __init__(self, name: str, optimizers: list[Optimizer], accumulate: int = 1) -> None:
        self.name = name
        self.optimizers = optimizers
        self.steps = 0
        self.window = Window(accumulate)
        self.lr: float | Tensor = self.next_lr

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer, where there is one only; else the first."""
        return self.optimizers[0]

    @property
    def next_lr(self) -> float | Tensor:
        """The learning rate that the next step will use, of the first parameter group."""
        lr: float | Tensor = self.optimizers[0].param_groups[0]["lr"]
        return lr.clone() if isinstance(lr, Tensor) else lr  # schedulers write into a tensor

    @property
    def params(self) -> list[Tensor]:
        """The parameters that the optimizers own now."""
        return [p for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]]

    def zero_grad(self) -> None:
        """Clear every gradient, and begin a new window."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.window.clear()

    def gradients(self) -> list[Tensor]:
        """The gradients there are, in the order of the parameters."""
        return [p.grad for p in self.params if p.grad is not None]

    def __repr__(self) -> str:
        return f"Update({self.name!r}, {', '.join(type(o).__name__ for o in self.optimizers)}, steps={self.steps})"


def build_optimizer(optimizer: Any, param_groups: Iterable[Any]) -> Optimizer:
    """Return a ready optimizer: the given one, or what a callable makes of the parameters.

    Raises:
        FitError: it is neither, or the callable made no torch optimizer.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not callable(optimizer):
        raise FitError(
            f"optimizer must be a torch optimizer or a callable that makes one of the parameters, not {type(optimizer).__name__}; "
            "try partial(torch.optim.SGD, lr=0.1)"
        )
    param_groups = list(param_groups)
    if not param_groups:
        raise FitError("there is nothing to train: no parameter of the model requires a gradient")
    built = optimizer(param_groups)
    if not isinstance(built, Optimizer):
        raise FitError(f"optimizer={optimizer!r} returned {type(built).__name__}, not a torch optimizer")
    return built


def check_parameters(update: Update, modules: Iterable[nn.Module]) -> None:
    """Refuse an optimizer that trains nothing of the model.

    Raises:
        FitError: none of its parameters belongs to one of the modules.
    """
    known = {id(p) for module in modules for p in module.parameters()}
    if not any(id(p) in known for p in update.params):
        raise FitError(
            f"the optimizer of update {update.name!r} holds none of the model's parameters; "
            "build it from model.parameters(), or pass partial(torch.optim.SGD, lr=0.1) and let fit do it"
        )

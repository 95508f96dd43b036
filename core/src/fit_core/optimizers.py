"""An update: one optimizer's share of a training algorithm."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
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
        needs_closure: whether the optimizer's `step` evaluates the batch itself, as LBFGS does.
        closure: what `optimizer_step` hands to such an optimizer; None at any other time.

    Raises:
        FitError: an optimizer that needs a closure cannot accumulate, or share an update.
    """

    def __init__(self, name: str, optimizers: list[Optimizer], accumulate: int = 1, sums: bool = False) -> None:
        self.name = name
        self.optimizers = optimizers
        self.steps = 0
        self.window = Window(accumulate, sums)
        self.lr: float | Tensor = self.next_lr
        self.needs_closure = any(map(needs_closure, optimizers))
        self.closure: Callable[[], Any] | None = None
        if self.needs_closure and (accumulate > 1 or len(optimizers) > 1):
            what = f"accumulate {accumulate} batches" if accumulate > 1 else "share an update with another one"
            names = ", ".join(type(optimizer).__name__ for optimizer in optimizers if needs_closure(optimizer))
            raise FitError(f"{names} evaluates a batch several times in one step, so it cannot {what}")

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
        return [p for optimizer in self.optimizers for p in parameters_of(optimizer)]

    def zero_grad(self) -> None:
        """Clear every gradient, and begin a new window."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.window.clear()

    def gradients(self) -> list[Tensor]:
        """The gradients there are, in the order of the parameters."""
        return [p.grad for p in self.params if p.grad is not None]

    def multiply_gradients(self, factor: float | Tensor) -> None:
        """Multiply every gradient by a number, or by a tensor without dimensions."""
        by_device: dict[torch.device, list[Tensor]] = {}
        for gradient in map(values_of, self.gradients()):
            by_device.setdefault(gradient.device, []).append(gradient)
        for device, gradients in by_device.items():
            torch._foreach_mul_(gradients, factor.to(device, non_blocking=True) if isinstance(factor, Tensor) else factor)

    def __repr__(self) -> str:
        return f"Update({self.name!r}, {', '.join(type(o).__name__ for o in self.optimizers)}, steps={self.steps})"


def needs_closure(optimizer: Optimizer) -> bool:
    """Tell an optimizer whose `step` must be given a closure."""
    parameter = inspect.signature(optimizer.step).parameters.get("closure")
    return parameter is not None and parameter.default is parameter.empty


def values_of(gradient: Tensor) -> Tensor:
    """Return what a gradient holds: the values of a sparse one, any other as it is."""
    return gradient._values() if gradient.is_sparse else gradient


def build_optimizers(optimizer: Any, groups: Callable[[], list[Any]]) -> tuple[list[Optimizer], list[Any]]:
    """Return the optimizers of an update, ready, and the parameter groups that a callable among them was given.

    Args:
        optimizer: a torch optimizer; a callable, which gets the parameters; or a list of them, in which a callable gets what
            the ready ones don't hold.
        groups: returns what there is to train; asked only if there is a callable.

    Raises:
        FitError: one is neither, a list has several callables, or a callable made no torch optimizer.
    """
    given = optimizer if isinstance(optimizer, list) else [optimizer]
    makers = [one for one in given if not isinstance(one, Optimizer)]
    for maker in makers:
        if not callable(maker):
            raise FitError(
                f"optimizer must be a torch optimizer or a callable that makes one of the parameters, not {type(maker).__name__}; "
                "try partial(torch.optim.SGD, lr=0.1)"
            )
    if len(makers) > 1:
        raise FitError("a list of optimizers can have one callable, which gets what the others don't hold; make the others ready")
    if not given:
        raise FitError("the list of optimizers is empty")
    held = {id(p) for one in given if isinstance(one, Optimizer) for p in parameters_of(one)}
    found = without(groups(), held) if makers else []
    return [one if isinstance(one, Optimizer) else make_optimizer(one, found) for one in given], found


def make_optimizer(maker: Callable[[Any], Any], groups: list[Any]) -> Optimizer:
    """Return what a callable makes of the parameters.

    Raises:
        FitError: there are none, an optimizer's class refuses its arguments, or what is made is no torch optimizer.
    """
    if not groups:
        raise FitError("there is nothing to train: no parameter of the model requires a gradient")
    made = maker.func if isinstance(maker, partial) else maker
    is_class = isinstance(made, type) and issubclass(made, Optimizer)  # a function's own errors keep their traceback
    try:
        built = maker(groups)
    except (TypeError, ValueError) as error:
        if is_class:
            raise FitError(f"cannot make the optimizer {getattr(made, '__name__', made)}: {error}") from error
        raise
    if not isinstance(built, Optimizer):
        raise FitError(f"optimizer={maker!r} returned {type(built).__name__}, not a torch optimizer")
    return built


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """Return every parameter that an optimizer holds now."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def without(groups: Iterable[Any], held: set[int]) -> list[Any]:
    """Return parameters, pairs with a name, or groups of them, without those held already; empty groups are left out."""
    left: list[Any] = []
    for group in groups:
        if isinstance(group, dict):
            params = without([group["params"]] if isinstance(group["params"], Tensor) else group["params"], held)
            left += [group | {"params": params}] if params else []
        elif id(tensor_of(group)) not in held:
            left.append(group)
    return left


def tensor_of(item: Any) -> Any:
    """Return the parameter of an item of a group: itself, or of a pair with its name."""
    return item[1] if isinstance(item, tuple) else item


def check_parameters(update: Update, modules: Iterable[nn.Module], groups: Iterable[Any]) -> None:
    """Refuse optimizers that train something else than the model.

    Args:
        update: whose optimizers they are.
        modules: the model, and a loss with parameters.
        groups: further parameters, which a plugin gave.

    Raises:
        FitError: a parameter belongs to none of these, or to two optimizers.
    """
    known = {id(p) for module in modules for p in module.parameters()}
    params = update.params
    if not any(id(p) in known for p in params):
        raise FitError(
            f"the optimizer of update {update.name!r} holds none of the model's parameters; "
            "build it from model.parameters(), or pass partial(torch.optim.SGD, lr=0.1) and let fit do it"
        )
    known |= {id(tensor_of(p)) for group in groups for p in (group["params"] if isinstance(group, dict) else [group])}
    foreign = [p for p in params if id(p) not in known]
    if foreign:
        raise FitError(
            f"the optimizer of update {update.name!r} holds {len(foreign)} parameters that are neither the model's nor the loss's, the "
            f"first of shape {tuple(foreign[0].shape)}; was the model changed after the optimizer was made?"
        )
    if len({id(p) for p in params}) < len(params):
        raise FitError(f"two optimizers of update {update.name!r} hold the same parameter; each needs its own")

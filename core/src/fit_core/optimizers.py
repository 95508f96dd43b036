"""Optimizers: what may be given, and whose parameters they may hold."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import FunctionType
from typing import Any

from torch import Tensor
from torch.autograd import profiler
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from fit_core.errors import FitError

MARKED = Optimizer.profile_hook_step(len).__code__
"""The code of the function that torch puts around the `step` of each class of optimizers."""
ZERO_GRAD = Optimizer.zero_grad
"""Torch's own, whatever takes its place."""


def needs_closure(optimizer: Optimizer) -> bool:
    """Tell an optimizer whose `step` must be given a closure."""
    parameter = inspect.signature(optimizer.step).parameters.get("closure")
    return parameter is not None and parameter.default is parameter.empty


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
        raise FitError("there is nothing to train: no parameter that requires a gradient is left for the optimizer")
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


def step(optimizer: Optimizer) -> None:
    """Do what `optimizer.step()` does.

    The function that torch puts around it leaves a mark for the profiler and calls hooks; while there is neither, the one in it is called
    directly. A `step` that the optimizer was given, or that took the place of its class's, is called as it is.
    """
    of_class: Any = type(optimizer)
    if (
        type(of_class.step) is not FunctionType
        or of_class.step.__code__ is not MARKED
        or "step" in vars(optimizer)
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
        or profiler._is_profiler_enabled
    ):
        optimizer.step()
    else:
        vars(of_class.step)["__wrapped__"](optimizer)


def has_own_zero_grad(optimizer: Optimizer) -> bool:
    """Tell an optimizer that clears its gradients in a way of its own, or was given one."""
    return getattr(optimizer.zero_grad, "__func__", None) is not ZERO_GRAD


def clear_gradients(optimizers: Iterable[Optimizer]) -> None:
    """Do what `zero_grad` of torch's optimizers does, but for its mark for the profiler, which takes longer than all the rest."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = None


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


def names_of(given: Any) -> str:
    """Name optimizers, or what makes them, for people."""
    made: Sequence[Any] = given if isinstance(given, (list, tuple)) else [given]
    return ", ".join(_name(one.func if isinstance(one, partial) else one) for one in made)


def _name(thing: Any) -> str:
    return str(getattr(thing, "__name__", type(thing).__name__))

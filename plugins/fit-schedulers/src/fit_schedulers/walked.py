"""Schedulers of torch as functions of the step: walked on the shadow of an optimizer, which itself is left alone."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer, lr_scheduler

from fit_schedulers.phases import Unreadable

NOT_BY_NAME = ("LRScheduler", "ReduceLROnPlateau", "SequentialLR", "ChainedScheduler", "LambdaLR", "MultiplicativeLR")
"""Schedulers that a name and numbers cannot build."""
TORCH: dict[str, type[lr_scheduler.LRScheduler]] = {
    name: scheduler
    for name, scheduler in vars(lr_scheduler).items()
    if inspect.isclass(scheduler) and issubclass(scheduler, lr_scheduler.LRScheduler) and name not in NOT_BY_NAME and name[0] != "_"
}
SET_MOMENTUM = ("OneCycleLR", "CyclicLR")
"""Schedulers that set the momentum too, unless `cycle_momentum` is false."""
SIZES = {"OneCycleLR": "total_steps", "CosineAnnealingLR": "T_max"}
"""Options that are the length of the run, unless they are given."""
KEYS = ("lr", "momentum", "betas", "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum")
"""What schedulers of torch read and write in a group."""


class Shadow(Optimizer):
    """An optimizer with the rates of another one, and with nothing to optimise.

    Args:
        groups: of the other one.
    """

    _opt_called = True  # torch warns of a scheduler that steps before its optimizer; this one never steps

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        shadows = [{"params": [torch.empty(0)], **{key: _plain(group[key]) for key in KEYS if key in group}} for group in groups]
        super().__init__(shadows, {key: value for key, value in shadows[0].items() if key != "params"})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing."""

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]  # nothing is to be wrapped


class Walk:
    """A scheduler of torch on the shadow of some groups.

    Args:
        make: makes the scheduler of an optimizer.
        groups: the parameter groups.

    Raises:
        Unreadable: torch refuses an option, or an optimizer that lacks what the scheduler sets.
    """

    def __init__(self, make: Callable[[Optimizer], lr_scheduler.LRScheduler], groups: Sequence[Mapping[str, Any]]) -> None:
        self.shadow = Shadow(groups)
        try:
            self.scheduler = make(self.shadow)
        except (TypeError, ValueError) as error:  # what torch says of wrong options
            raise Unreadable(str(error)) from error
        self.steps = 0
        self.sets_momentum: bool = getattr(self.scheduler, "cycle_momentum", False)

    def at(self, step: int) -> list[float]:
        """Return what it sets at a step: the rate of each group, then the momentum of each if it sets that. Steps only go up.

        Raises:
            Unreadable: torch refuses to go so far.
        """
        while self.steps < step:
            try:
                self.scheduler.step()
            except (ValueError, ZeroDivisionError) as error:
                raise Unreadable(f"{type(self.scheduler).__name__} cannot go on after {self.steps} steps: {error}") from error
            self.steps += 1
        groups = self.shadow.param_groups
        momenta = [group["betas"][0] if "betas" in group else group["momentum"] for group in groups] if self.sets_momentum else []
        return [float(value) for value in ([group["lr"] for group in groups] + momenta)]

    def state_dict(self) -> dict[str, Any]:
        """Return where it is."""
        groups = [{key: value for key, value in group.items() if key in KEYS} for group in self.shadow.param_groups]
        return copy.deepcopy({"steps": self.steps, "groups": groups, "scheduler": self.scheduler.state_dict()})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another one was."""
        state = copy.deepcopy(dict(state))
        self.steps = state["steps"]
        self.scheduler.load_state_dict(state["scheduler"])
        for group, values in zip(self.shadow.param_groups, state["groups"], strict=True):
            group.update(values)


def shadowed(scheduler: lr_scheduler.LRScheduler) -> Callable[[Optimizer], lr_scheduler.LRScheduler]:
    """Return what makes a copy of a scheduler on another optimizer, where it is now."""
    return lambda optimizer: copy.deepcopy(scheduler, {id(scheduler.optimizer): optimizer})


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Tensor) else tuple(map(_plain, value)) if isinstance(value, tuple) else value

"""The finite guard: nothing that is not finite gets into the parameters."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import torch
from torch import Tensor

from fit_core.errors import FitError, TrainingError
from fit_core.optimizers import Update
from fit_core.state import State

Policy = Literal["stop", "skip", "off"]


class Guard:
    """Looks at the gradients of every step before they are used.

    On the CPU, where reading is free, it decides before the step. On an accelerator `stop` replaces gradients that are not
    finite by zeros and reads a flag later, when it has arrived by itself; `skip` has to wait for one flag per step.

    Args:
        policy: "stop" raises a `TrainingError`, "skip" leaves the step out, "off" looks at nothing.
    """

    def __init__(self, policy: Policy) -> None:
        if policy not in ("stop", "skip", "off"):
            raise FitError(f"finite must be 'stop', 'skip' or 'off', not {policy!r}")
        self.policy = policy
        self._flags: deque[tuple[Tensor, torch.Event, str]] = deque()

    def admits(self, state: State, update: Update) -> bool:
        """Tell whether the step may be made with the gradients there are.

        Raises:
            TrainingError: the policy is "stop" and a gradient of this step (on an accelerator: of an earlier one) is
                not finite.
        """
        if self.policy == "off":
            return True
        gradients = update.gradients()
        if not gradients:
            return True
        norm = size_of(gradients)
        if norm.device.type == "cpu" or self.policy == "skip":
            return math.isfinite(norm) or self._refuse(state, update)
        self._neutralise(norm, gradients, f"update {update.name!r}, {state.where()}, step {update.steps + 1}")
        return True

    def reset(self) -> None:
        """Forget the flags of an earlier run."""
        self._flags.clear()

    def check(self, wait: bool = False) -> None:
        """Raise for a step whose flag has arrived by now; with `wait`, for any step so far."""
        while self._flags:
            flag, arrived, where = self._flags[0]
            if not arrived.query():
                if not wait:
                    return
                arrived.synchronize()
            self._flags.popleft()
            if not flag:
                raise TrainingError(f"gradient is not finite: {where}; the step was made with zeros instead. {ADVICE}")

    def _refuse(self, state: State, update: Update) -> bool:
        if self.policy == "skip":
            return False
        loss = 0.0 if state.loss is None else float(state.loss.detach())
        if not math.isfinite(loss):
            what = f"loss is {loss}"
        else:
            bad = [name for name, grad in _named_gradients(state, update) if not bool(torch.isfinite(grad).all())]
            what = f"gradient of {bad[0]} is not finite" if bad else "the norm of the gradient is infinite"
        raise TrainingError(f"{what}: update {update.name!r}, {state.where()}, step {update.steps + 1}; no parameter was changed. {ADVICE}")

    def _neutralise(self, norm: Tensor, gradients: list[Tensor], where: str) -> None:
        """Make a bad step harmless without reading anything."""
        finite = torch.isfinite(norm)
        for gradient in map(values_of, gradients):
            gradient.copy_(torch.where(finite, gradient, torch.zeros_like(gradient)))
        if finite.device.type == "meta":  # nothing there could ever be read
            return
        self.check()
        flag = finite.to("cpu", non_blocking=True)
        arrived = torch.Event(finite.device)
        arrived.record()
        self._flags.append((flag, arrived, where))


def size_of(gradients: list[Tensor]) -> Tensor:
    """Return the sum of the norms of gradients, a tensor with one element: finite if and only if all of them are.

    Half precision is summed in float32, sparse gradients by their values, several devices on the first.
    """
    values = [values_of(gradient) for gradient in gradients]
    half = any(value.dtype in (torch.float16, torch.bfloat16) for value in values)
    norms = torch._foreach_norm(values, 2, dtype=torch.float32 if half else None)
    first = norms[0].device
    if any(norm.device != first for norm in norms):
        norms = tuple(norm.to(first, non_blocking=True) for norm in norms)
    return torch.stack(norms).sum()


def values_of(gradient: Tensor) -> Tensor:
    """Return what a gradient holds: the values of a sparse one, any other as it is."""
    return gradient._values() if gradient.is_sparse else gradient


ADVICE = "Lower the learning rate, look at the data, or train with finite='skip'"


def _named_gradients(state: State, update: Update) -> list[tuple[str, Tensor]]:
    names = {id(p): name for name, p in state.model.named_parameters()}
    return [(names.get(id(p), "a parameter outside the model"), p.grad) for p in update.params if p.grad is not None]

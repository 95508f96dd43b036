"""The finite guard: nothing that is not finite gets into the parameters."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal

import torch
from torch import Tensor

from fit_core.errors import FitError, TrainingError
from fit_core.state import State
from fit_core.updates import Update

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
        norm = torch.stack(torch._foreach_norm(gradients)).sum()
        if norm.device.type == "cpu" or self.policy == "skip":
            return math.isfinite(norm) or self._refuse(state, update)
        self._neutralise(norm, gradients, f"update {update.name!r}, {state.where()}, step {update.steps + 1}")
        return True

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
        loss = float(state.loss.detach())
        if not math.isfinite(loss):
            what = f"loss is {loss}"
        else:
            bad = [name for name, grad in _named_gradients(state, update) if not bool(torch.isfinite(grad).all())]
            what = f"gradient of {bad[0]} is not finite" if bad else "the norm of the gradient is infinite"
        raise TrainingError(f"{what}: update {update.name!r}, {state.where()}, step {update.steps + 1}; no parameter was changed. {ADVICE}")

    def _neutralise(self, norm: Tensor, gradients: list[Tensor], where: str) -> None:
        """Make a bad step harmless without reading anything."""
        finite = torch.isfinite(norm)
        for gradient in gradients:
            gradient.copy_(torch.where(finite, gradient, torch.zeros_like(gradient)))
        if finite.device.type == "meta":  # nothing there could ever be read
            return
        self.check()
        flag = finite.to("cpu", non_blocking=True)
        arrived = torch.Event(finite.device)
        arrived.record()
        self._flags.append((flag, arrived, where))


ADVICE = "Lower the learning rate, look at the data, or train with finite='skip'"


def _named_gradients(state: State, update: Update) -> list[tuple[str, Tensor]]:
    names = {id(p): name for name, p in state.model.named_parameters()}
    return [(names.get(id(p), "a parameter outside the model"), p.grad) for p in update.params if p.grad is not None]

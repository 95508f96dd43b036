"""The finite guard: nothing that is not finite gets into the parameters."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from fit_core.criterion import terms
from fit_core.errors import FitError, TrainingError
from fit_core.state import State
from fit_core.updates import Update, values_of

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

Policy = Literal["stop", "skip", "off"]
ONE = torch.ones(())


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
        self._found = torch.zeros(())

    def admits(self, state: State, update: Update, trainer: Trainer) -> bool:
        """Tell whether the step may be made with the gradients there are.

        On the CPU it is one call for all of them: that of torch's gradient scaler, which multiplies them by 1 at most. Or it is their
        norm, where somebody wants to know that.

        Raises:
            TrainingError: the policy is "stop" and a gradient of this step (on an accelerator: of an earlier one) is
                not finite.
        """
        gradients, loss = update.gradients(), state.loss
        if not gradients:
            return True
        if not gradients[0].is_cpu:
            if self.policy == "stop":
                finite = torch.isfinite(size_of(gradients))
                make_harmless(update, finite)
                self._note(finite, f"update {update.name!r}, {state.where()}, step {update.steps + 1}")
                return True
        else:
            norm = update.norm.keep(gradients) if update.norm.is_wanted else None
            if norm is not None and math.isfinite(norm.item()) and (loss is None or math.isfinite(abs(loss.item()))):
                return True  # else it may be the norm alone that is too large
            values = gradients if loss is None else [*gradients, loss.data]  # to write to it leaves its graph as it is
            try:
                torch._amp_foreach_non_finite_check_and_unscale_(values, self._found, ONE)
                if not self._found.item():
                    return True
            except RuntimeError:  # some are sparse, complex or elsewhere, or elements of one share their memory
                pass
            self._found.zero_()
        if math.isfinite(size_of(gradients, loss)):
            return True
        update.norm.forget()
        bad = not math.isfinite(size_of(gradients)) or (bool(terms(state)) and not math.isfinite(loss.detach()))
        return not bad or self._refuse(state, update, trainer.losses())  # the loss of a batch without weight may be anything

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
                raise TrainingError(f"gradient is not finite: {where}; no such number came into a parameter. {ADVICE}")

    def _refuse(self, state: State, update: Update, losses: Mapping[str, nn.Module]) -> bool:
        if self.policy == "skip":
            return False
        loss = 0.0 if state.loss is None else float(state.loss.detach())
        if not math.isfinite(loss):
            what = f"loss is {loss}"
        else:
            bad = [name for name, grad in _named_gradients(state, update, losses) if not bool(torch.isfinite(grad).all())]
            what = f"gradient of {bad[0]} is not finite" if bad else "the gradient is not finite"
        raise TrainingError(f"{what}: update {update.name!r}, {state.where()}, step {update.steps + 1}; no parameter was changed. {ADVICE}")

    def _note(self, finite: Tensor, where: str) -> None:
        """Send a flag on its way to the host, and look at those that have arrived."""
        if finite.device.type == "meta":  # nothing there could ever be read
            return
        self.check()
        flag = finite.to("cpu", non_blocking=True)
        arrived = torch.Event(finite.device)
        arrived.record()
        self._flags.append((flag, arrived, where))


def make_harmless(update: Update, finite: Tensor) -> None:
    """Let the next step of an update change nothing for the worse if its gradients are not finite, without reading the flag.

    Gradients are replaced by zeros; a fused optimizer is told to leave the step out, unless it is its first: what it
    then leaves in its state is not defined.

    Args:
        update: whose gradients they are.
        finite: a tensor without dimensions, whether they are all finite.
    """
    for gradient in map(values_of, update.gradients()):
        gradient.copy_(torch.where(finite.to(gradient.device, non_blocking=True), gradient, 0))
    for optimizer in update.optimizers:
        if getattr(optimizer, "_step_supports_amp_scaling", False) and update.steps:
            optimizer.grad_scale = None  # type: ignore[attr-defined]  # both are read by torch's fused kernels
            optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            update.told = True


def forget_flags(update: Update) -> None:
    """Take away what `make_harmless` told fused optimizers, after their step."""
    for optimizer in update.optimizers:
        for name in ("grad_scale", "found_inf"):
            vars(optimizer).pop(name, None)
    update.told = False


def size_of(gradients: list[Tensor], loss: Tensor | None = None) -> Tensor:
    """Return the largest magnitude in gradients, and in a loss with one element: finite if and only if all of them are.

    Half precision becomes float32, mixed precisions the widest; of sparse gradients it is the values; several devices meet on the first.
    """
    values = [torch.view_as_real(value) if value.is_complex() else value for value in map(values_of, gradients) if value.numel()]
    largest = list(torch._foreach_norm(values, math.inf)) if values else [torch.zeros((), device=gradients[0].device)]
    if loss is not None:
        largest.append(loss.detach().reshape(()).abs())
    dtypes = {each.dtype for each in largest}
    first, dtype = largest[0].device, torch.float64 if torch.float64 in dtypes else torch.float32
    if len(dtypes) > 1 or dtype not in dtypes or any(each.device != first for each in largest):
        largest = [each.to(first, dtype, non_blocking=True) for each in largest]
    return torch.stack(largest).amax()


ADVICE = "Lower the learning rate, look at the data, or train with finite='skip'"


def _named_gradients(state: State, update: Update, losses: Mapping[str, nn.Module]) -> list[tuple[str, Tensor]]:
    names = {id(p): f"{owner}.{name}" for owner, loss in losses.items() for name, p in loss.named_parameters()}
    names |= {id(p): name for name, p in state.model.named_parameters()}
    return [(names.get(id(p), "a parameter outside the model"), p.grad) for p in update.params if p.grad is not None]

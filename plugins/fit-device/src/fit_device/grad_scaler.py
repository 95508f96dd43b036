"""Loss scaling: gradients too small for fp16 survive, steps that overflow are skipped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fit_core import FitError, State, hookimpl
from fit_core.errors import whole


class GradScaler:
    """Scales losses by `torch.amp.GradScaler`, one for each update (Micikevicius et al. 2018, section 3.2).

    A step whose gradients overflow is skipped, and the scale is halved; no schedule moves. Knowing that waits for the device
    once per step.

    Args:
        init_scale: the first scale.
        growth_factor: by what the scale grows after `growth_interval` steps without overflow.
        backoff_factor: by what it shrinks at an overflow.
        growth_interval: steps.

    Raises:
        FitError: a number is out of its range.
    """

    def __init__(
        self, init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5, growth_interval: int = 2000
    ) -> None:
        if not init_scale > 0:
            raise FitError(f"init_scale must be above 0, not {init_scale}")
        if not growth_factor > 1:
            raise FitError(f"growth_factor must be above 1, not {growth_factor}")
        if not 0 < backoff_factor < 1:
            raise FitError(f"backoff_factor must be above 0 and below 1, not {backoff_factor}")
        self._options = (init_scale, growth_factor, backoff_factor, whole("growth_interval", growth_interval))
        self._scalers: dict[str, torch.amp.GradScaler] = {}
        self._saved: dict[str, Any] = {}

    @hookimpl
    def backward(self, state: State, loss: Tensor) -> bool:
        self._scaler(state).scale(loss).backward()
        return True

    @hookimpl(wrapper=True)
    def finish_gradients(self, state: State) -> Iterator[None]:
        good = yield
        assert state.update is not None
        name = state.update.name
        if name not in self._scalers and name not in self._saved:  # saved: what was scaled before an interruption
            raise FitError(f"the loss of update {name!r} was not scaled: another plugin makes the backward pass; let it wrap `backward`")
        scaler = self._scaler(state)
        for optimizer in state.update.optimizers:
            scaler.unscale_(optimizer)
        gradients = [gradient.to_dense() if gradient.is_sparse else gradient for gradient in state.update.gradients()]
        finite = not gradients or math.isfinite(torch.stack([n.float() for n in torch._foreach_norm(gradients, math.inf)]).max())
        scaler.update()
        return good and finite

    def _scaler(self, state: State) -> torch.amp.GradScaler:
        assert state.update is not None
        name = state.update.name
        if name not in self._scalers:
            if state.update.needs_closure:
                raise FitError(f"grad-scaler cannot scale update {name!r}: its optimizer evaluates the batch several times in one step")
            if any(p.dtype == torch.float16 for p in state.update.params):
                raise FitError(f"grad-scaler is for parameters in float32, and update {name!r} has some in float16; leave out model.half()")
            self._scalers[name] = torch.amp.GradScaler(state.device.type, *self._options)
            if name in self._saved:
                self._scalers[name].load_state_dict(self._saved.pop(name))
            self._scalers[name].scale(torch.ones((), device=state.device))  # which makes the scale: a resumed run may unscale first
        return self._scalers[name]

    def state_dict(self) -> dict[str, Any]:
        """Return the scale of each update."""
        return self._saved | {name: scaler.state_dict() for name, scaler in self._scalers.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._saved = dict(state)
        for name in self._scalers.keys() & self._saved.keys():
            self._scalers[name].load_state_dict(self._saved.pop(name))

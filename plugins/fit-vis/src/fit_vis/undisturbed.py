"""Asking a model something on the side, with everything as before afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fit_core.modes import eval_mode, random_states_aside


@contextmanager
def undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Bring a model to eval mode; afterwards modes, buffers and random states are as before, also after an exception.

    Gradients stay away from parameters if they are made by `torch.autograd.grad`.

    Args:
        model: any module.
        device: whose random states count, beside the CPU's.
    """
    with random_states_aside(device), buffers_as_before(model), eval_mode([model]):
        yield


@contextmanager
def buffers_as_before(model: nn.Module) -> Iterator[None]:
    """Put the buffers of a model back afterwards, with their values."""
    found = [(m, name, b, b.clone()) for m in model.modules() for name, b in m._buffers.items() if b is not None]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in found:
                buffer.copy_(value)
                module._buffers[name] = buffer


@contextmanager
def outputs_heard(layers: Mapping[str, nn.Module], hear: Callable[[str, Any], None]) -> Iterator[None]:
    """Hear what layers return; the forward hooks are gone afterwards, also after an exception.

    Args:
        layers: by name.
        hear: `hear(name, outputs)`; the second call of a layer in one pass is `name:2`.
    """
    calls: dict[str, int] = {}

    def hook_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, outputs: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            hear(name if calls[name] == 1 else f"{name}:{calls[name]}", outputs)

        return hook

    handles = [layer.register_forward_hook(hook_of(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(value: Any) -> Tensor | None:
    """Return the first floating tensor of a nested value, None if there is none."""
    if isinstance(value, Tensor):
        return value if value.is_floating_point() else None
    if isinstance(value, (tuple, list)):
        return next((found for found in map(first_tensor, value) if found is not None), None)
    if isinstance(value, Mapping):
        return first_tensor(list(value.values()))
    return None

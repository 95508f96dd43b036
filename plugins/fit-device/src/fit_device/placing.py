"""Modules and optimizers brought to a device, which go on holding the same parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


def accelerators() -> list[torch.device]:
    """Return every device of this machine beside the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return [] if found is None else [torch.device(found.type, i) for i in range(torch.accelerator.device_count())]


def is_there(device: torch.device, found: Sequence[torch.device]) -> bool:
    """Tell whether tensors can be put on a device.

    Args:
        device: with or without an index.
        found: what `accelerators` returned.
    """
    return device.type in ("cpu", "meta") or device in found or (device.index is None and any(device.type == one.type for one in found))


def best_for(module: nn.Module, found: Sequence[torch.device]) -> torch.device | None:
    """Return the first accelerator, else the CPU; None for a module that has been put somewhere else than on the CPU already."""
    if any(p.device.type != "cpu" for p in module.parameters()):
        return None
    return found[0] if found else torch.device("cpu")


def without_values(module: nn.Module) -> str | None:
    """Return the name of a parameter or buffer on the meta device; None if there is none."""
    named = (*module.named_parameters(), *module.named_buffers())
    return next((name for name, tensor in named if tensor.device.type == "meta"), None)


def place(modules: Iterable[nn.Module], device: torch.device) -> dict[int, nn.Parameter]:
    """Move modules to a device.

    Where torch makes new parameters instead of moving the old ones (on the way to the meta device, or under
    `torch.__future__.set_overwrite_module_params_on_conversion`), tied ones stay tied.

    Args:
        modules: which may share parameters.
        device: where to.

    Returns:
        New parameters by the `id` of the one they replace; usually none.
    """
    roots = list(modules)
    slots = [(owner, name, p) for root in roots for owner in root.modules() for name, p in owner._parameters.items() if p is not None]
    for root in roots:
        root.to(device)
    replaced: dict[int, nn.Parameter] = {}
    for owner, name, before in slots:
        now = owner._parameters[name]
        if now is not None and now is not before:
            owner._parameters[name] = replaced.setdefault(id(before), now)
    return replaced


def bind(optimizer: Optimizer, replaced: Mapping[int, nn.Parameter]) -> None:
    """Let an optimizer hold new parameters in the place of old ones, with the state that it has for them."""
    for group in optimizer.param_groups:
        group["params"][:] = bound(group["params"], replaced)  # LBFGS keeps this very list
    for before in [p for p in optimizer.state if id(p) in replaced]:
        optimizer.state[replaced[id(before)]] = optimizer.state.pop(before)


def bound(items: Sequence[Any], replaced: Mapping[int, nn.Parameter]) -> list[Any]:
    """Return parameters, pairs of a name with one, or groups of them, with new ones in the place of old ones."""
    return [_bound(item, replaced) for item in items]


def _bound(item: Any, replaced: Mapping[int, nn.Parameter]) -> Any:
    if isinstance(item, dict):
        held = item["params"]
        return item | {"params": _bound(held, replaced) if isinstance(held, torch.Tensor) else bound(list(held), replaced)}
    if isinstance(item, tuple):
        return (item[0], _bound(item[1], replaced))
    return replaced.get(id(item), item)


def follow(optimizer: Optimizer) -> None:
    """Bring the state of an optimizer to where its parameters are, as its own `load_state_dict` does.

    Counters of steps stay on the CPU, but for optimizers that are fused or capturable.
    """
    if optimizer.state:
        optimizer.load_state_dict(optimizer.state_dict())

"""Freezing and thawing by name: functions of modules."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import nn


def resting(modules: Mapping[str, nn.Module], held: Collection[int]) -> list[str]:
    """Return the outermost modules that train nothing because of what is held.

    Args:
        modules: by name, as `named_modules` gives them.
        held: ids of parameters that were switched off.
    """
    found: list[str] = []
    for name, module in modules.items():
        inner = any(name.startswith(f"{outer}.") for outer in found)
        params = list(module.parameters())
        if not inner and any(id(p) in held for p in params) and not any(p.requires_grad for p in params):
            found.append(name)
    return found


def in_training(modules: Mapping[str, nn.Module], below: str) -> list[str]:
    """Return the names of a module and those below it that are in training mode."""
    return [name for name, module in modules.items() if module.training and f"{name}.".startswith(f"{below}.")]

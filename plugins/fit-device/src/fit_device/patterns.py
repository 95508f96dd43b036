"""Modules by shell patterns on their names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.jit import ScriptModule


def callable_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return every module below a model that can be called, by each of its names; lists and dicts of modules cannot.

    Those that torch.jit made are left out: their `forward` cannot be replaced.
    """
    named = model.named_modules(remove_duplicate=False)
    return {name: module for name, module in named if name and _has_forward(module)}


def _has_forward(module: nn.Module) -> bool:
    return not isinstance(module, ScriptModule) and type(module).forward is not nn.Module.forward


def outermost(modules: dict[str, nn.Module], patterns: Sequence[str]) -> dict[str, nn.Module]:
    """Return the modules that match one of some patterns, without those inside of another that does."""
    found: dict[str, nn.Module] = {}
    for name, module in modules.items():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if not inside and any(fnmatchcase(name, pattern) for pattern in patterns):
            found[name] = module
    return found

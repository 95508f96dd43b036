"""Modules by shell patterns on their names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn


def callable_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return every module below a model that can be called, by name; lists and dicts of modules cannot."""
    return {name: module for name, module in model.named_modules() if name and type(module).forward is not nn.Module.forward}


def outermost(modules: dict[str, nn.Module], patterns: Sequence[str]) -> dict[str, nn.Module]:
    """Return the modules that match one of some patterns, without those inside of another that does."""
    found: dict[str, nn.Module] = {}
    for name, module in modules.items():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if not inside and any(fnmatchcase(name, pattern) for pattern in patterns):
            found[name] = module
    return found

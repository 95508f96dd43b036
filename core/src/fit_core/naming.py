"""How plugins are called, and where they come from."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection
from importlib.metadata import EntryPoint, version
from types import ModuleType
from typing import Any

from fit_core.entrypoints import Catalog


class FunctionPlugin:
    """A plugin made of one function under `@hookimpl`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        setattr(self, function.__name__, function)
        self.name = kebab_case(function.__name__)


class ScriptPlugin:
    """The hooks that a script defines for itself.

    Args:
        module: the script.
        without: functions of it that are plugins already.
    """

    name = "script"

    def __init__(self, module: ModuleType, without: Collection[Callable[..., Any]] = ()) -> None:
        for key, value in vars(module).items():
            own = inspect.isfunction(value) and value.__module__ == module.__name__
            if own and hasattr(value, "fit_impl") and value not in without:
                setattr(self, key, value)


def name_of(plugin: Any, point: EntryPoint | None = None) -> str:
    """Return the name of a plugin: its own, its entry point's, or its class's in kebab-case."""
    own = getattr(plugin, "name", None)
    if isinstance(own, str):
        return own
    if isinstance(plugin, ModuleType):
        return plugin.__name__
    return point.name if point else kebab_case(type(plugin).__name__)


def kebab_case(name: str) -> str:
    """Turn `LRFinder` into `lr-finder`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).replace("_", "-").lower()


def entry_point_of(cls: type, catalog: Catalog) -> EntryPoint | None:
    """Return the entry point that points at a class, without importing anything."""
    for point in catalog:
        target: Any = sys.modules.get(point.module)
        for part in point.attr.split("."):
            target = getattr(target, part, None)
        if target is cls:
            return point
    return None


def origin_of(plugin: Any) -> str:
    """Say where the source of a plugin is: its module's file, or the core."""
    holds_functions = isinstance(plugin, (FunctionPlugin, ScriptPlugin))
    target = next(iter(vars(plugin).values())) if holds_functions else type(plugin)
    module = plugin if isinstance(plugin, ModuleType) else inspect.getmodule(target)
    if module is not None and module.__name__.startswith("fit_core."):
        return f"fit-core {version('fit-core')}"
    return getattr(module, "__file__", None) or "interactive"

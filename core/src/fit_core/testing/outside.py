"""What lies outside of checkpoints and may yet steer a run: attributes, closures, globals. Only looked at, and never an error by itself."""

from __future__ import annotations

import inspect
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator, Mapping, Set
from io import IOBase
from pathlib import Path
from threading import Thread
from types import BuiltinMethodType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, Sampler

from fit_core.feeding import several
from fit_core.naming import FunctionPlugin, ScriptPlugin
from fit_core.state import State
from fit_core.testing.digests import is_clock, left_out, plain
from fit_core.trainer import Trainer

DEPTH = 2
"""How far attributes of attributes are followed."""
MOST = 10_000
"""Elements of a tensor; a larger one is left out as data."""
LONGEST = 1_000
"""Items of a collection; a larger one is left out likewise."""
OPAQUE = (
    Trainer,
    State,
    nn.Module,
    Optimizer,
    DataLoader,
    Dataset,
    Sampler,
    ModuleType,
    Path,
    Thread,
    IOBase,
    type,
    FunctionType,
)
"""What is not looked into as an attribute."""
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
PARTS = ("dataset", "sampler", "batch_sampler", "collate_fn")
"""What data may be made of."""
OWN = frozenset({*vars(nn.Module()), *PARTS})
"""Attributes that are looked at elsewhere."""


def outside(trainer: Trainer, without: str = "") -> dict[str, str]:
    """Return digests of values that code of a run can reach and change, by a readable path.

    Args:
        trainer: whose plugins, model, loss and data are looked at, and the modules that their code is from.
        without: a plugin that is left out.
    """
    found: dict[str, str] = {}
    modules: dict[str, ModuleType] = {}
    for who, thing in things(trainer, without):
        found |= {f"{path} of {who}": told for path, told in owned(thing)}
        modules |= modules_of(thing)
    for name, module in modules.items():
        for key, value in vars(module).items():
            if not key.startswith("__"):
                found |= {f"global {path} of {name}": told for path, told in followed(value, key, DEPTH, set())}
    return found


def things(trainer: Trainer, without: str) -> Iterator[tuple[str, Any]]:
    """Yield what takes part in a run, each with what it is called: plugins, modules, losses, metrics, data and its parts."""
    for member in trainer.members:
        if member.name not in left_out(trainer, without):
            yield f"plugin {member.name!r}", member.plugin
    for owner, root in [("the model", trainer.model), *((f"the {name}", loss) for name, loss in trainer.losses().items())]:
        for name, module in root.named_modules():
            if not type(module).__module__.startswith("torch."):
                yield f"{owner}{f' at {name}' if name else ''}", module
    if trainer.loss_fn is not None and not isinstance(trainer.loss_fn, nn.Module):
        yield "the loss", trainer.loss_fn
    for metric in trainer.metrics:
        yield f"metric {metric.name!r}", getattr(metric, "function", metric)
    parts: dict[int, tuple[str, Any]] = {}
    sets = {"the training data": trainer.train_data, **{f"{prefix}data": one for prefix, one in several(trainer.val_data).items()}}
    for name, data in sets.items():
        for who, part in data_parts(data, name):
            parts.setdefault(id(part), (who, part))
    yield from parts.values()


def data_parts(data: Any, who: str, seen: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield data, and what it gets samples from: dataset, samplers, functions; each once."""
    if data is None or isinstance(data, (Tensor, list, tuple, dict)) or any(data is other for other in seen):
        return
    yield who, data
    for name in PARTS:
        yield from data_parts(getattr(data, name, None), f"the {name.replace('_', ' ')} of {who}", (*seen, data))


def owned(thing: Any) -> Iterator[tuple[str, str]]:
    """Yield the attributes of an object, or the closure of a function."""
    for name, function in functions_of(thing).items():
        yield from closure(function, name, DEPTH, set())
    if not isinstance(thing, (FunctionType, MethodType, FunctionPlugin, ScriptPlugin)):
        for key, value in getattr(thing, "__dict__", {}).items():
            if key not in OWN and not key.startswith("__"):
                yield from followed(value, key, DEPTH, {id(thing)})


def closure(function: FunctionType, name: str, depth: int, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Yield the variables of the functions around a function that it uses."""
    inner = inspect.unwrap(function)
    for key, cell in zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=True):
        if cell != CellType():  # nothing may be in it yet
            yield from followed(cell.cell_contents, f"closure variable {key} of {name}", depth, seen)


def functions_of(thing: Any) -> dict[str, FunctionType]:
    """Return the functions that a function, a method or a plugin made of functions is."""
    if isinstance(thing, (FunctionPlugin, ScriptPlugin)):
        return {name: value for name, value in vars(thing).items() if isinstance(value, FunctionType)}
    function = getattr(thing, "__func__", thing)
    return {function.__name__: function} if isinstance(function, FunctionType) else {}


def modules_of(thing: Any) -> dict[str, ModuleType]:
    """Return the modules that the code of something is from, but for installed libraries."""
    functions = functions_of(thing)
    homes: list[Any] = list(functions.values()) or list(type(thing).__mro__)
    found = {home.__module__: sys.modules.get(home.__module__) for home in homes}
    return {name: module for name, module in found.items() if module is not None and not is_library(module)}


def is_library(module: ModuleType) -> bool:
    """Tell a module of the core, of torch, or of another library that is installed."""
    file = getattr(module, "__file__", None)
    return file is None or module.__name__.split(".")[0] in ("fit_core", "torch") or file.startswith(LIBRARIES)


def followed(value: Any, path: str, depth: int, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Yield a value that can be compared, or those inside of it; large ones are left out, since they are data."""
    if isinstance(value, (MethodType, BuiltinMethodType)):
        value = value.__self__
    if isinstance(value, FunctionType) and depth:
        yield from closure(value, path, depth - 1, {*seen, id(value)})
    if is_clock(path) or id(value) in seen or isinstance(value, OPAQUE) or is_large(value):
        return
    inner = items_of(value)
    if inner is None or all(plain(item) is not None for item in inner.values()):
        told = plain(value)
        if told is not None:
            yield path, told
            return
    if depth:
        for key, item in (inner or getattr(value, "__dict__", {})).items():
            yield from followed(item, f"{path}[{key!r}]" if inner else f"{path}.{key}", depth - 1, {*seen, id(value)})


def items_of(value: Any) -> dict[Any, Any] | None:
    """Return the items of a collection that may have objects in it; None if it is something else."""
    if isinstance(value, Mapping):
        return dict(value)
    return dict(enumerate(value)) if isinstance(value, (list, tuple, deque)) else None


def is_large(value: Any) -> bool:
    """Tell a tensor, an array or a collection that is too large to be looked at after every batch."""
    if isinstance(value, Tensor):
        return is_lazy(value) or value.numel() > MOST
    if hasattr(type(value), "__array__"):
        return int(getattr(value, "size", MOST + 1)) > MOST
    return isinstance(value, (Mapping, Set, list, tuple, deque)) and len(value) > LONGEST

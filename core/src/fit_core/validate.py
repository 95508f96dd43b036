"""Nothing misspelt runs silently: the hooks of a plugin are checked before it is registered."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from fit_core import hookspecs
from fit_core.errors import FitError, did_you_mean, listed

SPECS: dict[str, Callable[..., Any]] = {name: function for name, function in vars(hookspecs).items() if hasattr(function, "fit_kind")}


def find_hooks(plugin: Any) -> dict[str, Callable[..., Any]]:
    """Return the functions of a plugin that carry `@hookimpl`, bound, by attribute name. No property is evaluated."""
    return {name: getattr(plugin, name) for name, function in _functions(plugin) if hasattr(function, "fit_impl")}


def check_hooks(plugin: Any, who: str) -> None:
    """Check every hook of a plugin.

    Args:
        plugin: the object.
        who: what an error calls it.

    Raises:
        FitError: a hook or an argument that does not exist, an argument with a default value, a wrapper where there can
            be none, a method that looks like a hook and has no `@hookimpl`, or no hook at all.
    """
    marked = 0
    for name, function in _functions(plugin):
        if hasattr(function, "fit_impl"):
            _check_marked(name, function, who)
            marked += 1
        else:
            _check_unmarked(plugin, name, function, who)
    if not marked:
        raise FitError(f"{who} has no hook: put @hookimpl on at least one method ({type(plugin).__name__})")


def _functions(plugin: Any) -> Iterator[tuple[str, Any]]:
    for name in dir(plugin):
        static = inspect.getattr_static(plugin, name, None)
        function = static.__func__ if isinstance(static, (staticmethod, classmethod, types.MethodType)) else static
        if inspect.isfunction(function):
            yield name, function


def _check_marked(name: str, function: Any, who: str) -> None:
    options = function.fit_impl
    hook = options["specname"] or name
    here = f"{who}: {name} at {_place(function)}"
    if hook not in SPECS:
        raise FitError(f"{here}: there is no hook {hook!r}{did_you_mean(hook, SPECS) or '; fit hooks lists them'}")
    spec = SPECS[hook]
    known = inspect.signature(spec).parameters
    for argument, parameter in _parameters(function):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise FitError(f"{here}: a hook takes no *{argument}; name the arguments you use (of {listed(known)})")
        if argument not in known:
            raise FitError(f"{here}: hook {hook} has no argument {argument!r} (it has: {', '.join(known)}){did_you_mean(argument, known)}")
        if parameter.default is not parameter.empty:
            raise FitError(f"{here}: argument {argument!r} must have no default value, or it would never be passed; remove it")
    if options["hookwrapper"]:
        raise FitError(f"{here}: hookwrapper=True is the old style; use wrapper=True and return (yield)")
    if options["wrapper"] and not inspect.isgeneratorfunction(function):
        raise FitError(f"{here}: a wrapper must yield once; write: result = yield; return result")
    if not options["wrapper"] and inspect.isgeneratorfunction(function):
        raise FitError(f"{here}: it yields, so it must be marked @hookimpl(wrapper=True)")
    if options["wrapper"] and spec.fit_kind == "closing":  # type: ignore[attr-defined]
        raise FitError(f"{here}: {hook} takes no wrappers, so that every plugin hears it; use a plain hook")


def _check_unmarked(plugin: Any, name: str, function: Any, who: str) -> None:
    """Refuse a method that has a hook's name and only its arguments, but would never be called."""
    if name not in SPECS or not _own(plugin, name, function):
        return
    known = inspect.signature(SPECS[name]).parameters
    arguments = [argument for argument, _ in _parameters(function)]
    notice = SPECS[name].fit_kind in ("notice", "closing")  # type: ignore[attr-defined]
    if set(arguments) <= set(known) and (arguments or notice):
        raise FitError(f"{who}: {name} at {_place(function)} is named like a hook but would never be called; put @hookimpl above it")


def _own(plugin: Any, name: str, function: Any) -> bool:
    """Whether a function belongs to the plugin itself and not to a library it builds on."""
    if isinstance(plugin, types.ModuleType):
        return bool(function.__module__ == plugin.__name__)
    return not (isinstance(plugin, nn.Module) and name == "forward")


def _parameters(function: Any) -> list[tuple[str, inspect.Parameter]]:
    parameters = list(inspect.signature(function).parameters.items())
    bound = "." in function.__qualname__.rpartition("<locals>.")[2]
    return parameters[1:] if bound and parameters and parameters[0][0] in ("self", "cls") else parameters


def _place(function: Any) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"

"""Nothing misspelt runs silently: the hooks of a plugin are checked before it is registered."""

from __future__ import annotations

import dis
import inspect
import itertools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from fit_core.cadence import Cadence, cadences_of, gate
from fit_core.entrypoints import offered_specs
from fit_core.errors import FitError, did_you_mean, listed
from fit_core.hookspecs import arguments_of

Specs = Mapping[str, Callable[..., Any]]


def find_hooks(plugin: Any) -> dict[str, Callable[..., Any]]:
    """Return the functions of a plugin that carry `@hookimpl`, bound, by attribute name. No property is evaluated."""
    return {name: getattr(plugin, name) for name, function in _functions(plugin) if hasattr(function, "fit_impl")}


def is_last(hook: Callable[..., Any]) -> bool:
    """Whether a hook implementation is `trylast`."""
    marked: Any = hook
    return bool(marked.fit_impl["trylast"])


def check_hooks(plugin: Any, who: str, specs: Specs) -> None:
    """Check every hook of a plugin.

    Args:
        plugin: the object.
        who: what an error calls it.
        specs: every hook there is.

    Raises:
        FitError: a hook or an argument that does not exist, an argument with a default value, a wrapper where there can
            be none, a stage that can never return a result, an interval that cannot be read, a method that looks like a
            hook and has no `@hookimpl`, or no hook at all.
    """
    marked = [(name, function) for name, function in _functions(plugin) if hasattr(function, "fit_impl")]
    for name, function in marked:
        _check_marked(name, function, getattr(plugin, name), who, specs)
    check_unmarked(plugin, who, specs)
    if not marked and not hasattr(plugin, "brings_metrics"):
        raise FitError(f"{who} has no hook: put @hookimpl on at least one method ({type(plugin).__name__})")


def check_unmarked(plugin: Any, who: str, specs: Specs) -> None:
    """Refuse functions that have a hook's name and only its arguments, but would never be called."""
    for name, function in _functions(plugin):
        if not hasattr(function, "fit_impl"):
            _check_unmarked(plugin, name, function, who, specs)


def _functions(plugin: Any) -> Iterator[tuple[str, Any]]:
    for name in dir(plugin):
        static = inspect.getattr_static(plugin, name, None)
        function = static.__func__ if isinstance(static, (staticmethod, classmethod, types.MethodType)) else static
        if inspect.isfunction(function):
            yield name, function
        elif "fit_impl" in getattr(function, "__dict__", {}) and not inspect.isclass(plugin):
            raise FitError(f"{type(plugin).__name__}.{name} carries @hookimpl but is no function: {type(function).__name__}")


def _check_marked(name: str, function: Any, bound: Any, who: str, specs: Specs) -> None:
    options = function.fit_impl
    hook = options["specname"] or name
    here = f"{who}: {name} at {_place(function)}"
    if hook not in specs:
        raise FitError(f"{here}: there is no hook {hook!r}{_owner_of(hook) or did_you_mean(hook, specs) or '; fit hooks lists them'}")
    spec: Any = specs[hook]
    known = arguments_of(spec)
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise FitError(f"{here}: a hook cannot be async: nobody would await it")
    _check_arguments(bound, hook, known, here)
    if options["hookwrapper"]:
        raise FitError(f"{here}: hookwrapper=True is the old style; use wrapper=True and return (yield)")
    if options["wrapper"] and not inspect.isgeneratorfunction(function):
        raise FitError(f"{here}: a wrapper must yield once; write: result = yield; return result")
    gives_batches = spec.fit_returns == "iterator"  # there, a generator is a result
    if not options["wrapper"] and inspect.isgeneratorfunction(function) and not gives_batches:
        raise FitError(f"{here}: it yields, so it must be marked @hookimpl(wrapper=True)")
    if options["wrapper"] and spec.fit_kind == "closing":
        raise FitError(f"{here}: {hook} takes no wrappers, so that every plugin hears it; use a plain hook")
    generates = gives_batches and not options["wrapper"] and inspect.isgeneratorfunction(function)
    if spec.fit_kind in ("stage", "decision") and not generates and _returns_nothing(function):
        advice = "write: return (yield)" if options["wrapper"] else "return a result, or wrap the stage to act around it"
        raise FitError(f"{here}: it never returns a result, and {hook} is a {spec.fit_kind}; {advice}")
    for cadence in cadences_of(function):
        _check_cadence(cadence, known, here)


def _check_arguments(bound: Any, hook: str, known: list[str], here: str) -> None:
    for argument, parameter in inspect.signature(bound).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise FitError(f"{here}: a hook takes no *{argument}; name the arguments you use (of {listed(known)})")
        if argument not in known:
            raise FitError(f"{here}: hook {hook} has no argument {argument!r} (it has: {', '.join(known)}){did_you_mean(argument, known)}")
        if parameter.default is not parameter.empty:
            raise FitError(f"{here}: argument {argument!r} must have no default value, or it would never be passed; remove it")


def _check_cadence(cadence: Cadence, known: list[str], here: str) -> None:
    try:
        made = gate(cadence)
    except (FitError, TypeError, ValueError) as error:
        raise FitError(f"{here}: {error}") from None
    for argument in made.arguments:
        if argument not in known:
            raise FitError(f"{here}: the predicate of only_if asks for {argument!r}, which the hook has not (it has: {', '.join(known)})")


def _returns_nothing(function: Any) -> bool:
    """Whether the byte code shows that every return is of None. A function that only raises never returns."""
    returned = []
    instructions = list(dis.get_instructions(inspect.unwrap(function)))
    for before, instruction in itertools.pairwise(instructions):
        if instruction.opname == "RETURN_CONST":
            returned.append(instruction.argval)
        elif instruction.opname == "RETURN_VALUE":
            sure = before.opname == "LOAD_CONST" and not instruction.is_jump_target
            returned.append(before.argval if sure else ...)
    return bool(returned) and all(value is None for value in returned)


def _owner_of(hook: str) -> str:
    for owner, specs in offered_specs().items():
        if hook in specs:
            return f" without plugin {owner!r}, which brings it; add {owner!r} to the plugins"
    return ""


def _check_unmarked(plugin: Any, name: str, function: Any, who: str, specs: Specs) -> None:
    if name not in specs or not _own(plugin, name, function):
        return
    known = arguments_of(specs[name])
    arguments = list(inspect.signature(getattr(plugin, name)).parameters)
    notice = specs[name].fit_kind in ("notice", "closing")  # type: ignore[attr-defined]
    if set(arguments) <= set(known) and (arguments or notice):
        raise FitError(f"{who}: {name} at {_place(function)} is named like a hook but would never be called; put @hookimpl above it")


def _own(plugin: Any, name: str, function: Any) -> bool:
    """Whether a function belongs to the plugin itself and not to a library it builds on."""
    if isinstance(plugin, types.ModuleType):
        return bool(function.__module__ == plugin.__name__)
    if isinstance(plugin, nn.Module) and name == "forward":
        return False
    return bool(function.__module__ == type(plugin).__module__)


def _place(function: Any) -> str:
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"

"""From what a user writes in `plugins=[...]` to a list of checked plugins, each with a name and a place."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pluggy

from fit_core import defaults, hookspecs
from fit_core.cadence import Delay, Delayed, Every, Gate, cadences_of, gate
from fit_core.entrypoints import PLUGINS, distribution, load, offered, unknown
from fit_core.errors import FitError
from fit_core.hookspecs import SPECS, specs_in
from fit_core.options import bind, parse_spec
from fit_core.plan import DEFAULTS
from fit_core.validate import check_hooks, find_hooks

Builder = Callable[..., Any]


@dataclass(eq=False)
class Member:
    """A plugin in its place: what pluggy registers, so that plugins are told apart by identity.

    Attributes:
        name: keys its options, saved state, order and place in the manifest.
        plugin: the object.
        distribution: name and version of the distribution it comes from, or where its source is.
        options: what it was built with, if fit built it.
    """

    name: str
    plugin: Any
    distribution: str
    options: Mapping[str, Any] = field(default_factory=dict)
    delay: Delay | None = None
    _gates: dict[str, tuple[Gate, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.distribution})"

    def gates(self, function: Callable[..., Any], delayed: bool) -> tuple[Gate, ...]:
        """Return the gates of a hook implementation; the same ones however often the plan is built.

        Args:
            function: the implementation.
            delayed: whether a delay of the whole plugin counts for its hook.
        """
        own = self._gates.setdefault(function.__name__, tuple(gate(cadence) for cadence in cadences_of(function)))
        return (self.delay, *own) if delayed and self.delay else own

    def holder(self) -> Holder:
        """Return the object that pluggy is given."""
        holder = Holder()
        holder.member = self
        vars(holder).update(find_hooks(self.plugin))
        return holder


class Holder:
    """Bears the bound hook implementations of one member as attributes."""

    member: Member


@dataclass(eq=False)
class Request:
    """One item of `plugins=[...]` as it was written.

    Attributes:
        name: the name it goes by, or None for an object that names itself.
        target: an object, or None if `entry` is to be loaded.
        entry: the entry point's name.
        options: for the entry point's class, as text or values.
        from_bundle: the bundle it comes from; a member named explicitly takes its place.
    """

    name: str | None
    target: Any = None
    entry: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    from_bundle: str | None = None
    delay: Delay | None = None


def read_request(item: Any) -> Request:
    """Read one item: a spec string, an object, a function, a module, a pair (name, any of these), or one `Delayed`.

    Raises:
        FitError: a class without an instance, or something that cannot be a plugin.
    """
    if isinstance(item, Delayed):
        request = read_request(item.plugin)
        request.delay = Delay(Every(item.interval))
        return request
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
        name, inner = item
        if isinstance(inner, Mapping):
            return Request(name=name, entry=name, options=inner)
        request = read_request(inner)
        request.name = name
        return request
    if isinstance(item, str):
        alias, entry, options = parse_spec(item)
        return Request(name=alias or entry, entry=entry, options=options)
    if inspect.isclass(item):
        raise FitError(f"{item.__name__} is a class, and a plugin is an instance; write {item.__name__}()")
    return Request(name=None, target=item)


def resolve(items: Iterable[Any], later: Iterable[Any] = (), builtin: Iterable[str] = ()) -> list[Member]:
    """Turn what a user wrote into plugins, in the order of their calls.

    Args:
        items: what the script wrote.
        later: what the command line added: new plugins come after the script's, and options for one of the
            script's are laid over it.
        builtin: names that are there unless a plugin replaces or a `no:name` removes them.

    Raises:
        FitError: an unknown name or option, two plugins of one name, a hook that is misspelt.
    """
    points = offered(PLUGINS)
    removed = {item[3:] for item in [*items, *later] if _removes(item)}
    requests = [read_request(item) for item in items if not _removes(item)]
    for item in later:
        if not _removes(item):
            _lay_over(requests, read_request(item))
    expanded = _override([member for request in requests for member in expand(request, points)])
    _check_removed(removed, expanded, builtin)
    members = [build(r, points) for r in expanded if r.name not in removed and r.from_bundle not in removed]
    replaced = {name for member in members for name in getattr(member.plugin, "replaces", ())}
    taken = removed | replaced | {member.name for member in members}
    members += [build(Request(name=name, entry=name), points) for name in builtin if name not in taken]
    members = [member for member in members if member.name not in replaced]
    _check_unique(members)
    specs = all_specs(members)
    for member in members:
        check_hooks(member.plugin, str(member), specs)
    return in_order(members)


def _removes(item: Any) -> bool:
    return isinstance(item, str) and item.startswith("no:")


def _lay_over(requests: list[Request], later: Request) -> None:
    """Add a request of the command line, or change the options of the one that is there."""
    same = next((r for r in requests if (r.name or name_of(r.target)) == later.name), None)
    if same is None:
        requests.append(later)
    elif same.target is None:
        same.options = {**same.options, **later.options}
    elif later.options:
        raise FitError(f"the script builds plugin {later.name!r} itself, so options cannot change it; name it there as a string instead")


def expand(request: Request, points: Mapping[str, EntryPoint]) -> list[Request]:
    """Replace a bundle by its members; leave anything else as it is."""
    if request.entry is None:
        return [request]
    factory = _factory(request.entry, points)
    if inspect.isclass(factory):
        return [request]
    items = factory(**bind(factory, request.options, f"plugin {request.entry!r}"))
    if not isinstance(items, list):
        return [Request(request.name, items, request.entry, request.options, delay=request.delay)]
    members = [read_request(item) for item in items]
    for member in members:
        member.from_bundle = request.entry
        member.delay = member.delay or request.delay
    return [inner for member in members for inner in expand(member, points)]


def build(request: Request, points: Mapping[str, EntryPoint]) -> Member:
    """Make the plugin of a request and check its hooks."""
    options: Mapping[str, Any] = request.options
    plugin = request.target
    if request.entry is not None and plugin is None:
        factory = _factory(request.entry, points)
        options = bind(factory, request.options, f"plugin {request.entry!r}")
        plugin = factory(**options)
    if inspect.isfunction(plugin):
        plugin = FunctionPlugin(plugin)
    point = points[request.entry] if request.entry else _entry_point_of(type(plugin), points)
    origin = distribution(point) if point else _origin(plugin)
    return Member(request.name or name_of(plugin, point), plugin, origin, dict(options), request.delay)


def all_specs(members: Iterable[Member]) -> dict[str, Callable[..., Any]]:
    """Return the hook specifications of the core and of those plugins that bring some (attribute `hookspecs`).

    Raises:
        FitError: one lacks `trainer` or `state`, or two bring a hook of one name.
    """
    specs = dict(SPECS)
    for member in members:
        for name, function in specs_in(getattr(member.plugin, "hookspecs", Empty)).items():
            if specs.setdefault(name, function) is not function:
                raise FitError(f"{member}: hook {name!r} is specified elsewhere already; give it another name")
            if not {"trainer", "state"} <= set(inspect.signature(function).parameters):
                raise FitError(f"{member}: the specification of hook {name!r} must have the arguments trainer and state")
    return specs


class Empty:
    """A namespace without hook specifications."""


class FunctionPlugin:
    """A plugin made of one function under `@hookimpl`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        setattr(self, function.__name__, function)
        self.name = kebab_case(function.__name__)


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


def in_order(members: list[Member]) -> list[Member]:
    """Sort members so that `runs_before` and `runs_after` hold; where they say nothing the listed order stays.

    Raises:
        FitError: they contradict each other; the error prints the cycle.
    """
    names = {member.name for member in members}
    earlier: dict[str, set[str]] = {name: set() for name in names}
    for member in members:
        earlier[member.name].update(set(getattr(member.plugin, "runs_after", ())) & names)
        for name in set(getattr(member.plugin, "runs_before", ())) & names:
            earlier[name].add(member.name)
    ordered: list[Member] = []
    waiting = list(members)
    while waiting:
        ready = next((m for m in waiting if not earlier[m.name] & {w.name for w in waiting}), None)
        if ready is None:
            raise FitError(f"the order of the plugins is a circle: {' before '.join(_cycle(waiting, earlier))}")
        waiting.remove(ready)
        ordered.append(ready)
    return ordered


def register(members: Iterable[Member]) -> pluggy.PluginManager:
    """Return a pluggy manager with the core's hook specifications, these plugins and the defaults.

    pluggy calls the plugin registered last first, but of several `trylast` ones the one registered last comes last. So
    the list goes in reversed, and the defaults, all `trylast`, after it.
    """
    manager = pluggy.PluginManager("fit")
    members = list(members)
    for namespace in {id(n): n for n in [hookspecs, *(getattr(m.plugin, "hookspecs", None) for m in members)] if n}.values():
        manager.add_hookspecs(namespace)
    for member in [*reversed(members), Member(DEFAULTS, defaults, "fit-core")]:
        manager.register(member.holder(), name=member.name)
    return manager


def _override(requests: list[Request]) -> list[Request]:
    explicit = {request.name for request in requests if request.from_bundle is None}
    return [request for request in requests if request.from_bundle is None or request.name not in explicit]


def _check_removed(removed: set[str], requests: list[Request], builtin: Iterable[str]) -> None:
    there = {name for request in requests for name in (request.name, request.from_bundle) if name} | set(builtin)
    for name in removed - there:
        raise FitError(f"cannot remove plugin {name!r}: it is not active (active: {', '.join(sorted(there))})")


def _check_unique(members: list[Member]) -> None:
    seen: dict[str, Member] = {}
    for member in members:
        other = seen.setdefault(member.name, member)
        if other is not member:
            raise FitError(
                f"two plugins are called {member.name!r} ({other.distribution}; {member.distribution}); "
                f"rename one: ('{member.name}-2', ...) in plugins=[...], or -p {member.name}-2={member.name}"
            )


def _cycle(waiting: list[Member], earlier: Mapping[str, set[str]]) -> list[str]:
    names = {member.name for member in waiting}
    path = [waiting[0].name]
    while path.count(path[-1]) < 2:
        path.append(sorted(earlier[path[-1]] & names)[0])
    return path[path.index(path[-1]) :][::-1]


def _factory(name: str, points: Mapping[str, EntryPoint]) -> Builder:
    if name not in points:
        raise unknown(PLUGINS, name, points)
    factory: Builder = load(points[name])
    return factory


def _entry_point_of(cls: type, points: Mapping[str, EntryPoint]) -> EntryPoint | None:
    """Return the entry point that points at a class, without importing anything."""
    for point in points.values():
        target: Any = sys.modules.get(point.module)
        for part in point.attr.split("."):
            target = getattr(target, part, None)
        if target is cls:
            return point
    return None


def _origin(plugin: Any) -> str:
    """Say where the source of a plugin is: its module's file."""
    target = next(iter(vars(plugin).values())) if isinstance(plugin, FunctionPlugin) else type(plugin)
    module = plugin if isinstance(plugin, ModuleType) else inspect.getmodule(target)
    return getattr(module, "__file__", None) or "interactive"

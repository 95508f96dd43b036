"""Plugins, each with a name and a place: built, checked, ordered and registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, ModuleType
from typing import Any

import pluggy

from fit_core import defaults, hookspecs
from fit_core.cadence import Delay, Gate, cadences_of, gate
from fit_core.entrypoints import METRICS, PLUGINS, Catalog, distribution, load
from fit_core.errors import FitError, listed
from fit_core.hookspecs import SPECS, arguments_of, specs_in
from fit_core.metrics import Metric
from fit_core.naming import entry_point_of, name_of, origin_of
from fit_core.options import bind
from fit_core.ordering import check_names, in_order, names_in
from fit_core.plan import DEFAULTS, RESULTS, Hooks
from fit_core.requests import Request, Settings, read_all
from fit_core.validate import check_hooks, find_hooks, is_last

NO_SETTINGS: Settings = MappingProxyType({})


@dataclass(eq=False)
class Member:
    """A plugin in its place: what pluggy registers, so that plugins are told apart by identity.

    Attributes:
        name: keys its options, saved state, order and place in the manifest.
        plugin: the object.
        distribution: name and version of the distribution it comes from, or where its source is.
        options: what it was built with, if fit built it.
        delay: for a plugin that acts only later.
        bundles: the bundles it came with, the outermost first.
        is_metric: it is a metric, whose state is saved with the pass that it measures.
    """

    name: str
    plugin: Any
    distribution: str
    options: Mapping[str, Any] = field(default_factory=dict)
    delay: Delay | None = None
    bundles: tuple[str, ...] = ()
    is_metric: bool = False
    _gates: dict[tuple[str, Any], tuple[Gate, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.distribution})"

    @property
    def is_passive(self) -> bool:
        """Whether it changes nothing in training: a metric, or a plugin that says `passive = True`."""
        return self.is_metric or getattr(self.plugin, "passive", False)

    def gates(self, hook: str, function: Callable[..., Any], delayed: bool) -> tuple[Gate, ...]:
        """Return the gates of a hook implementation; the same ones however often the plan is built.

        Args:
            hook: its name.
            function: the implementation.
            delayed: whether a delay of the whole plugin counts for its hook.
        """
        key = (hook, getattr(function, "__func__", function))
        if key not in self._gates:
            self._gates[key] = tuple(gate(cadence) for cadence in cadences_of(function))
        own = self._gates[key]
        return (self.delay, *own) if delayed and self.delay else own

    def state_dict(self) -> dict[str, Any]:
        """Return what a saved run keeps of it: its own state, if it has some, and the counts of its cadences."""
        own = {"own": self.plugin.state_dict()} if hasattr(self.plugin, "state_dict") and not self.is_metric else {}
        return {**own, "cadences": {name: each.state_dict() for name, each in self._named_gates()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        if "own" in state:
            self.plugin.load_state_dict(state["own"])
        for name, each in self._named_gates():
            if name in state["cadences"]:
                each.load_state_dict(state["cadences"][name])

    def _named_gates(self) -> Iterator[tuple[str, Gate]]:
        if self.delay is not None:
            yield "delay", self.delay
        for (hook, function), gates in self._gates.items():
            for i, each in enumerate(gates):
                yield f"{hook}:{function.__name__}:{i}", each

    def start_clocks(self) -> None:
        """Start the clocks of intervals of time, when the first run begins."""
        for _, each in self._named_gates():
            each.start()

    def holder(self, last: bool) -> Holder:
        """Return an object that pluggy is given, with the hooks that are `trylast` or with those that are not."""
        holder = Holder()
        holder.member = self
        vars(holder).update({name: hook for name, hook in find_hooks(self.plugin).items() if is_last(hook) is last})
        return holder


class Holder:
    """Bears the bound hook implementations of one member as attributes."""

    member: Member


def build_all(
    items: Sequence[Any], later: Sequence[Any] = (), settings: Settings = NO_SETTINGS, builtin: Sequence[str] = ()
) -> list[Member]:
    """Turn what a user wrote into plugins, in the order in which it is written.

    Args:
        items: what the script wrote.
        later: what the command line added: new plugins come after the script's, and options for one of the
            script's are laid over it.
        settings: options of plugins by name, from `pyproject.toml`.
        builtin: names that are there unless a plugin replaces or a `no:name` removes them.

    Raises:
        FitError: an unknown name or option.
    """
    catalog = Catalog(PLUGINS)
    return [build(request, catalog) for request in read_all(items, later, settings, catalog, builtin)]


def arrange(members: list[Member]) -> list[Member]:
    """Check plugins, and bring them into the order of their calls.

    Raises:
        FitError: two plugins of one name, a hook that is misspelt, an order that contradicts itself.
    """
    replaced = {name for member in members for name in names_in(member, "replaces")}
    members = [member for member in members if member.name not in replaced]
    check_names(members, Catalog(PLUGINS))
    _check_unique(members)
    specs = all_specs(members)
    for member in members:
        check_hooks(member.plugin, str(member), specs)
    return in_order(members)


def build(request: Request, catalog: Catalog) -> Member:
    """Make the plugin of a request."""
    options: Mapping[str, Any] = request.options
    plugin = request.target
    if request.entry is not None and plugin is None:
        factory = load(catalog.find(request.entry))
        options = bind(factory, request.options, f"plugin {request.entry!r}")
        plugin = factory(**options)
    point = catalog.find(request.entry) if request.entry else entry_point_of(type(plugin), catalog)
    origin = distribution(point) if point else origin_of(plugin)
    return Member(request.name or name_of(plugin, point), plugin, origin, dict(options), request.delay, request.bundles)


def of_metrics(metrics: Iterable[Metric]) -> list[Member]:
    """Return those metrics that have hooks as plugins, under their names; also those that others are made of."""
    every = [leaf for metric in metrics for leaf in (metric.leaves() if hasattr(metric, "leaves") else [metric])]
    found = []
    for metric in every:
        if find_hooks(metric):
            point = entry_point_of(type(metric), Catalog(METRICS))
            found.append(Member(metric.name, metric, distribution(point) if point else origin_of(metric), is_metric=True))
    return found


def all_specs(members: Iterable[Member]) -> dict[str, Callable[..., Any]]:
    """Return the hook specifications of the core and of those plugins that bring some (attribute `hookspecs`).

    Raises:
        FitError: one lacks `trainer` or `state`, or two bring a hook of one name.
    """
    specs = dict(SPECS)
    for member in members:
        namespace = getattr(member.plugin, "hookspecs", None)
        if namespace is not None and not (isinstance(namespace, (type, ModuleType)) and specs_in(namespace)):
            raise FitError(f"{member}: hookspecs must be a class or module with functions under @stage, @decision or @notice")
        brought: dict[str, Any] = specs_in(namespace) if namespace else {}
        for name, function in brought.items():
            if hasattr(Hooks, name) or function.fit_returns not in (*RESULTS, "nothing"):
                what = f"must not be called {name!r}" if hasattr(Hooks, name) else f"{name!r} must return one of {listed(RESULTS)}"
                raise FitError(f"{member}: the hook {what}")
            if any(argument.endswith("_") for argument in arguments_of(function)):
                raise FitError(f"{member}: arguments of the hook {name!r} must not end with an underscore")
            if specs.setdefault(name, function) is not function:
                raise FitError(f"{member}: hook {name!r} is specified elsewhere already; give it another name")
            if not {"trainer", "state"} <= set(arguments_of(function)):
                raise FitError(f"{member}: the specification of hook {name!r} must have the arguments trainer and state")
    return specs


def register(members: Iterable[Member]) -> pluggy.PluginManager:
    """Return a pluggy manager with the core's hook specifications, these plugins and the defaults.

    pluggy calls the plugin registered last first, but of several `trylast` ones the one registered last comes last. So the
    list goes in reversed, then the `trylast` hooks in the listed order, then the defaults, which are all `trylast`: within
    each group the plugin listed first is called first.
    """
    manager = pluggy.PluginManager("fit")
    members = list(members)
    for namespace in {id(n): n for n in [hookspecs, *(getattr(m.plugin, "hookspecs", None) for m in members)] if n}.values():
        manager.add_hookspecs(namespace)
    for member in reversed(members):
        manager.register(member.holder(last=False), name=member.name)
    for member in [*members, Member(DEFAULTS, defaults, "fit-core")]:
        manager.register(member.holder(last=True), name=f"{member.name} (last)")
    return manager


def _check_unique(members: list[Member]) -> None:
    objects: dict[int, Member] = {}
    for member in members:
        other = objects.setdefault(id(member.plugin), member)
        if other is not member:
            raise FitError(f"{member} is the same object as plugin {other.name!r}; make another one, or every hook would be called twice")
    seen: dict[str, Member] = {DEFAULTS: Member(DEFAULTS, defaults, "the core")}
    for member in members:
        other = seen.setdefault(member.name, member)
        if other is not member:
            raise FitError(
                f"two plugins are called {member.name!r} ({other.distribution}; {member.distribution}); "
                f"rename one: ('{member.name}-2', ...) in plugins=[...], or -p {member.name}-2={member.name}"
            )

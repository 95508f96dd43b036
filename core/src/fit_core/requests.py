"""From what a user writes in `plugins=[...]` and on the command line to a list of what is to be built."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fit_core.cadence import Delay, Delayed, Every
from fit_core.entrypoints import Catalog, load
from fit_core.errors import FitError, did_you_mean, listed
from fit_core.naming import FunctionPlugin, entry_point_of, name_of
from fit_core.options import bind, parse_spec

Settings = Mapping[str, Mapping[str, Any]]

BUILTIN = ("console",)
"""Plugins that are there unless the trainer is quiet, another one replaces them, or `no:name` removes them."""


@dataclass(eq=False)
class Request:
    """One item of `plugins=[...]` as it was written.

    Attributes:
        name: the name it goes by, or None for an object that names itself.
        target: an object, or None if `entry` is to be loaded.
        entry: the entry point's name.
        options: for the entry point's class, as text or values.
        from_bundle: the bundle it comes from; a member named explicitly takes its place.
        delay: for a plugin that acts only later.
        settled: whether the options of the settings file are in.
    """

    name: str | None
    target: Any = None
    entry: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    from_bundle: str | None = None
    delay: Delay | None = None
    settled: bool = False

    def known_as(self, catalog: Catalog) -> str:
        """Return the name it goes by, asking an object for its own."""
        return self.name or name_of(self.target, entry_point_of(type(self.target), catalog))

    def lay_under(self, settings: Settings) -> None:
        """Take options from the settings file: under what was written, over what a bundle says."""
        if self.entry is None or self.settled:
            return
        self.settled = True
        ours = settings.get(self.name or self.entry, {})
        self.options = {**self.options, **ours} if self.from_bundle else {**ours, **self.options}


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
    return Request(name=None, target=FunctionPlugin(item) if inspect.isfunction(item) else item)


def read_all(items: Iterable[Any], later: Iterable[Any], settings: Settings, catalog: Catalog, builtin: Iterable[str]) -> list[Request]:
    """Turn what was written, in the script and then on the command line, into what is to be built.

    Bundles are replaced by their members, options of the settings file are laid under those written, and what `no:name`
    removes is gone.

    Raises:
        FitError: something cannot be read, or `no:name` names nothing.
    """
    removed = {item[3:] for item in [*items, *later] if _removes(item)}
    requests = [read_request(item) for item in items if not _removes(item)]
    for item in later:
        if not _removes(item):
            _lay_over(requests, read_request(item), catalog)
    expanded = _override([member for request in requests for member in expand(request, settings, catalog)])
    for request in expanded:
        request.name = request.known_as(catalog)
    _check_removed(removed, expanded)
    there = {request.name for request in expanded} | removed
    expanded += [Request(name, entry=name) for name in builtin if name not in there]
    _check_settings(settings, expanded, catalog)
    for request in expanded:
        request.lay_under(settings)
    return [request for request in expanded if request.name not in removed and request.from_bundle not in removed]


def _removes(item: Any) -> bool:
    return isinstance(item, str) and item.startswith("no:")


def _lay_over(requests: list[Request], later: Request, catalog: Catalog) -> None:
    """Add a request of the command line, or change the options of the one that is there."""
    same = next((r for r in requests if r.known_as(catalog) == later.known_as(catalog)), None)
    if same is None:
        requests.append(later)
    elif same.target is None:
        same.options = {**same.options, **later.options}
    elif later.options:
        raise FitError(f"the script builds plugin {later.name!r} itself, so options cannot change it; name it there as a string instead")


def expand(request: Request, settings: Settings, catalog: Catalog) -> list[Request]:
    """Replace a bundle by its members; leave anything else as it is."""
    if request.entry is None:
        return [request]
    factory = load(catalog.find(request.entry))
    if inspect.isclass(factory):
        return [request]
    request.lay_under(settings)
    items = factory(**bind(factory, request.options, f"plugin {request.entry!r}"))
    if not isinstance(items, list):
        return [Request(request.name, items, request.entry, request.options, delay=request.delay)]
    members = [read_request(item) for item in items]
    for member in members:
        member.from_bundle = request.entry
        member.delay = member.delay or request.delay
    return [inner for member in members for inner in expand(member, settings, catalog)]


def _override(requests: list[Request]) -> list[Request]:
    explicit = {request.name for request in requests if request.from_bundle is None}
    return [request for request in requests if request.from_bundle is None or request.name not in explicit]


def _check_removed(removed: set[str], requests: list[Request]) -> None:
    there = {name for request in requests for name in (request.name, request.from_bundle) if name} | set(BUILTIN)
    for name in removed - there:
        raise FitError(f"cannot remove plugin {name!r}: it is not active (active: {listed(there)}){did_you_mean(name, there)}")


def _check_settings(settings: Settings, requests: list[Request], catalog: Catalog) -> None:
    known = [*catalog.names, *(request.name for request in requests if request.name)]
    for name in settings:
        if name not in known:
            raise FitError(f"pyproject.toml has options for plugin {name!r}, which does not exist{did_you_mean(name, known)}")

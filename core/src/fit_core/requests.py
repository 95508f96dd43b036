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
        bundles: the bundles it comes from, the outermost first; a member named explicitly takes its place.
        delay: for a plugin that acts only later.
        settled: whether the options of the settings file are in.
        written_later: the options that the command line laid over it.
    """

    name: str | None
    target: Any = None
    entry: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    bundles: tuple[str, ...] = ()
    delay: Delay | None = None
    settled: bool = False
    written_later: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str, ...]:
        """Its name and those of its bundles."""
        return (self.name or "", *self.bundles)

    def lay_under(self, settings: Settings) -> None:
        """Take options from the settings file: under what was written, over what a bundle says.

        Raises:
            FitError: the file has options for a plugin that the script built itself.
        """
        ours = settings.get(self.name or self.entry or "", {})
        if ours and self.entry is None:
            raise FitError(
                f"pyproject.toml has options for plugin {self.name!r}, which the script builds itself; name it there as a string"
            )
        if self.entry is None or self.settled:
            return
        self.settled = True
        written = {key: value for key, value in self.options.items() if not self.bundles or key in self.written_later}
        self.options = {**self.options, **ours, **written}


def read_request(item: Any) -> Request:
    """Read one item: a spec string, an object, a function, a module, a pair (name, any of these), or one `Delayed`.

    Raises:
        FitError: a class without an instance, or something that cannot be a plugin.
    """
    if isinstance(item, Delayed):
        request = read_request(item.plugin)
        try:
            request.delay = Delay(Every(item.interval))
        except FitError as error:
            raise FitError(f"Delayed({request.name or type(request.target).__name__}): {error}") from None
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
    removes is gone. The command line has the last word.

    Raises:
        FitError: something cannot be read, or `no:name` names nothing.
    """
    requests, removed = _read_level(items, settings, catalog)
    added, removed_later = _read_level(later, settings, catalog)
    for request in added:
        _lay_over(requests, request)
    there = {name for request in requests for name in request.names} | set(BUILTIN)
    for name in (removed | removed_later) - there:
        raise FitError(f"cannot remove plugin {name!r}: it is not active (active: {listed(there)}){did_you_mean(name, there)}")
    gone = (removed - {name for request in added for name in request.names}) | removed_later
    requests += [Request(name, entry=name) for name in builtin if name not in {request.name for request in requests}]
    _check_settings(settings, requests, catalog)
    for request in requests:
        request.lay_under(settings)
    return [request for request in requests if not gone & set(request.names)]


def _read_level(items: Iterable[Any], settings: Settings, catalog: Catalog) -> tuple[list[Request], set[str]]:
    """Read what was written in one place, bundles expanded, and the names that `no:name` removes."""
    items = list(items)
    removed = {item[3:] for item in items if isinstance(item, str) and item.startswith("no:")}
    written = [read_request(item) for item in items if not (isinstance(item, str) and item.startswith("no:"))]
    requests = [member for request in written for member in expand(request, settings, catalog)]
    for request in requests:
        request.name = request.name or name_of(request.target, entry_point_of(type(request.target), catalog))
    return _override(requests), removed


def expand(request: Request, settings: Settings, catalog: Catalog) -> list[Request]:
    """Replace a bundle by its members; leave anything else as it is.

    Raises:
        FitError: a bundle contains itself.
    """
    if request.entry is None:
        return [request]
    if request.entry in request.bundles:
        raise FitError(f"the bundle {request.entry!r} contains itself: {' in '.join([request.entry, *reversed(request.bundles)])}")
    factory = load(catalog.find(request.entry))
    if inspect.isclass(factory):
        return [request]
    request.lay_under(settings)
    made = factory(**bind(factory, request.options, f"plugin {request.entry!r}"))
    if not isinstance(made, list):
        request.target = made
        return [request]
    members = [read_request(item) for item in made]
    for member in members:
        alias = (request.name,) if request.name and request.name != request.entry else ()
        member.bundles = (*request.bundles, request.entry, *alias)
        member.delay = member.delay or request.delay
    return [inner for member in members for inner in expand(member, settings, catalog)]


def _override(requests: list[Request]) -> list[Request]:
    """Of several requests of one name keep the one that is least deep in bundles: what is written explicitly."""
    least = {request.name: min(len(r.bundles) for r in requests if r.name == request.name) for request in requests}
    return [request for request in requests if len(request.bundles) == least[request.name]]


def _lay_over(requests: list[Request], later: Request) -> None:
    """Add a request of the command line, change the options of the one that is there, or take its place.

    Raises:
        FitError: options for a plugin that the script built itself.
    """
    same = next((r for r in requests if r.name == later.name), None)
    if same is None:
        requests.append(later)
    elif later.bundles and not same.bundles:
        return  # what the script names explicitly stands; a bundle only fills in the rest
    elif same.entry is None or same.target is not None:
        if later.options:
            raise FitError(
                f"the script builds plugin {later.name!r} itself, so options cannot change it; name it there as a string instead"
            )
    elif same.entry != later.entry:
        requests[requests.index(same)] = later
    else:
        same.options = {**same.options, **later.options}
        same.written_later = frozenset(later.options)


def _check_settings(settings: Settings, requests: list[Request], catalog: Catalog) -> None:
    for name in settings:
        known = [*catalog.names, *(request.name for request in requests if request.name)]
        if name not in known:
            raise FitError(f"pyproject.toml has options for plugin {name!r}, which does not exist{did_you_mean(name, known)}")

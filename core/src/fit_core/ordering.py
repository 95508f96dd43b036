"""The order of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fit_core.entrypoints import KNOWN_PACKAGES, Catalog
from fit_core.errors import FitError, did_you_mean

if TYPE_CHECKING:
    from fit_core.plugins import Member

LATER = ("max-time", "save-last")
"""Plugins of the core that `fit train` adds to those of a script."""


def names_in(member: Member, attribute: str) -> set[str]:
    """Return the plugin names that a plugin has under an attribute.

    Raises:
        FitError: it is one string: a list of letters, as it were.
    """
    names = getattr(member.plugin, attribute, None) or ()
    if isinstance(names, str):
        raise FitError(f"{member}: {attribute} must be a tuple of names: {attribute} = ({names!r},)")
    return set(names)


def check_names(members: list[Member], catalog: Catalog) -> None:
    """Refuse a name in `replaces`, `runs_before` or `runs_after` that is misspelt: unknown, and near one that is known.

    Raises:
        FitError: there is one.
    """
    here = {*KNOWN_PACKAGES, *LATER, *(name for member in members for name in (member.name, *member.bundles))}
    for member in members:
        for attribute in ("replaces", "runs_before", "runs_after"):
            for name in names_in(member, attribute) - here:
                known = {*here, *catalog.names}
                if name not in known and (hint := did_you_mean(name, known)):
                    raise FitError(f"{member}: {attribute} names {name!r}, which does not exist{hint}")


def in_order(members: list[Member]) -> list[Member]:
    """Sort members so that `runs_before` and `runs_after` hold; where they say nothing the listed order stays.

    The name of a bundle stands for all of its members.

    Raises:
        FitError: they contradict each other; the error prints the cycle.
    """

    def named(member: Member, attribute: str) -> list[str]:
        names = names_in(member, attribute)
        return [other.name for other in members if names & {other.name, *other.bundles}]

    earlier: dict[str, set[str]] = {member.name: set() for member in members}
    for member in members:
        earlier[member.name].update(named(member, "runs_after"))
        for name in named(member, "runs_before"):
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


def _cycle(waiting: list[Member], earlier: Mapping[str, set[str]]) -> list[str]:
    names = {member.name for member in waiting}
    path = [waiting[0].name]
    while path.count(path[-1]) < 2:
        path.append(sorted(earlier[path[-1]] & names)[0])
    return path[path.index(path[-1]) :][::-1]

"""The order of plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fit_core.errors import FitError

if TYPE_CHECKING:
    from fit_core.plugins import Member


def names_in(member: Member, attribute: str) -> set[str]:
    """Return the plugin names that a plugin has under an attribute.

    Raises:
        FitError: it is one string: a list of letters, as it were.
    """
    names = getattr(member.plugin, attribute, None) or ()
    if isinstance(names, str):
        raise FitError(f"{member}: {attribute} must be a tuple of names: {attribute} = ({names!r},)")
    return set(names)


def in_order(members: list[Member]) -> list[Member]:
    """Sort members so that `runs_before` and `runs_after` hold; where they say nothing the listed order stays.

    Raises:
        FitError: they contradict each other; the error prints the cycle.
    """
    names = {member.name for member in members}
    earlier: dict[str, set[str]] = {name: set() for name in names}
    for member in members:
        earlier[member.name].update(names_in(member, "runs_after") & names)
        for name in names_in(member, "runs_before") & names:
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

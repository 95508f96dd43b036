"""What other distributions offer, read from their metadata; only what is asked for is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from fit_core.errors import FitError, did_you_mean, listed
from fit_core.hookspecs import specs_in

PLUGINS = "fit.plugins"
METRICS = "fit.metrics"
HOOKSPECS = "fit.hookspecs"

KNOWN_PACKAGES = {
    "csv": "fit-logging",
    "device": "fit-device",
    "early-stopping": "fit-schedulers",
    "gan": "fit-gan",
    "jsonl": "fit-logging",
    "logging": "fit-logging",
    "lr": "fit-schedulers",
    "lr-finder": "fit-schedulers",
    "checkpoint": "fit-checkpoint",
    "clip": "fit-optim",
    "ema": "fit-optim",
    "metrics": "fit-metrics",
    "progress": "fit-logging",
    "schedulers": "fit-schedulers",
    "tensorboard": "fit-vis",
    "vis": "fit-vis",
    "visdom": "fit-vis",
    "weight-decay": "fit-optim",
}
"""Which package brings a name, for the advice in errors."""


def offered(group: str) -> dict[str, EntryPoint]:
    """Return every entry point of a group by name.

    Raises:
        FitError: two distributions claim one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = found.setdefault(point.name, point)
        if distribution(other) != distribution(point):
            raise FitError(
                f"two distributions offer {point.name!r} in {group}: {distribution(other)} and {distribution(point)}; uninstall one of them"
            )
    return found


def distribution(point: EntryPoint) -> str:
    """Return `name version` of the distribution that an entry point comes from."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown distribution"


def load(point: EntryPoint) -> Any:
    """Import what an entry point names.

    Raises:
        FitError: the import fails; the error names the distribution.
    """
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise FitError(f"{point.name!r} of {distribution(point)} cannot be imported: {type(error).__name__}: {error}") from error


def load_named(group: str, name: str, known: Iterable[str] = ()) -> Any:
    """Import the entry point of a name.

    Args:
        group: the group of entry points.
        name: the name in it.
        known: further names, for suggestions.

    Raises:
        FitError: nobody offers the name.
    """
    points = offered(group)
    if name in points:
        return load(points[name])
    raise unknown(group, name, [*points, *known])


def offered_specs() -> dict[str, dict[str, Callable[..., Any]]]:
    """Return the hook specifications that installed plugins bring, by the plugin's name.

    A package names them in the group `fit.hookspecs`; the module that has them should import little.
    """
    return {name: specs_in(load(point)) for name, point in offered(HOOKSPECS).items()}


def unknown(group: str, name: str, known: Iterable[str]) -> FitError:
    """Return the error for a name that nobody offers."""
    known = list(known)
    if group == METRICS:
        return FitError(f"no metric {name!r} (known: {listed(known)}){did_you_mean(name, known) or '; try: pip install fit-metrics'}")
    if name in KNOWN_PACKAGES:
        return FitError(f"no plugin named {name!r}; try: pip install {KNOWN_PACKAGES[name]}")
    return FitError(f"no plugin named {name!r} (installed: {listed(known)}){did_you_mean(name, known)}")

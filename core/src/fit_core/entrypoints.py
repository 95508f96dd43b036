"""What other distributions offer, read from their metadata; only what is asked for is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any

from fit_core.errors import FitError, did_you_mean, listed
from fit_core.hookspecs import specs_in

PLUGINS = "fit.plugins"
METRICS = "fit.metrics"
ADAPTERS = "fit.metric_adapters"
HOOKSPECS = "fit.hookspecs"
COMMANDS = "fit.commands"

KNOWN_PACKAGES = {
    "autocast": "fit-device",
    "csv": "fit-logging",
    "decay-groups": "fit-optim",
    "device": "fit-device",
    "early-stopping": "fit-schedulers",
    "freeze": "fit-optim",
    "gan": "fit-gan",
    "gc": "fit-device",
    "grad-centralization": "fit-optim",
    "grad-noise": "fit-optim",
    "grad-scaler": "fit-device",
    "jsonl": "fit-logging",
    "logging": "fit-logging",
    "lr": "fit-schedulers",
    "lr-finder": "fit-schedulers",
    "checkpoint": "fit-checkpoint",
    "clip": "fit-optim",
    "ema": "fit-optim",
    "init": "fit-optim",
    "layer-lr": "fit-optim",
    "metrics": "fit-metrics",
    "confusion-matrix": "fit-metrics",
    "mixed-precision": "fit-device",
    "progress": "fit-logging",
    "plateau": "fit-schedulers",
    "scheduled-value": "fit-schedulers",
    "schedulers": "fit-schedulers",
    "stop-after": "fit-schedulers",
    "stop-at": "fit-schedulers",
    "step-log": "fit-logging",
    "text-log": "fit-logging",
    "show-files": "fit-vis",
    "swa": "fit-optim",
    "tensorboard": "fit-vis",
    "vis": "fit-vis",
    "visdom": "fit-vis",
    "activations": "fit-vis",
    "class-appearance": "fit-vis",
    "curves": "fit-vis",
    "embedding": "fit-vis",
    "feature-maps": "fit-vis",
    "filters": "fit-vis",
    "gradients": "fit-vis",
    "model-summary": "fit-vis",
    "precision-recall-curve": "fit-vis",
    "roc-curve": "fit-vis",
    "saliency": "fit-vis",
    "train-batch": "fit-vis",
    "worst-samples": "fit-vis",
    "weight-decay": "fit-optim",
    "activation-checkpointing": "fit-device",
    "channels-last": "fit-device",
    "compile": "fit-device",
    "deterministic": "fit-device",
    "memory-summary": "fit-device",
    "placement": "fit-device",
    "precision": "fit-device",
    "prefetch": "fit-device",
}
"""Which package brings a name, for the advice in errors."""
KNOWN_COMMANDS = {
    "checkpoints": "fit-tools",
    "new-plugin": "fit-tools",
    "replay": "fit-tools",
    "runs": "fit-tools",
    "verify-resume": "fit-tools",
}
"""Which package brings a command."""


class Catalog:
    """What the installed distributions offer in one group of entry points. Their metadata is read when something is first asked.

    Args:
        group: the group, such as `fit.plugins`.
    """

    def __init__(self, group: str) -> None:
        self.group = group

    @cached_property
    def _points(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            found.setdefault(point.name, []).append(point)
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._points

    def __iter__(self) -> Iterator[EntryPoint]:
        """Yield every entry point, also those of one name."""
        return (point for points in self._points.values() for point in points)

    @property
    def names(self) -> list[str]:
        """Every name on offer."""
        return list(self._points)

    def find(self, name: str) -> EntryPoint:
        """Return the entry point of a name.

        Raises:
            FitError: nobody offers it, or two distributions do.
        """
        if name not in self._points:
            raise unknown(self.group, name, self.names)
        first, *others = self._points[name]
        for other in others:
            if distribution(other) != distribution(first):
                both = " and ".join(sorted([distribution(first), distribution(other)]))
                raise FitError(f"two distributions offer {name!r} in {self.group}: {both}; uninstall one of them")
        return first


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
    except Exception as error:
        error.add_note(f"raised while {point.name!r} of {distribution(point)} was imported")
        raise


def offered_specs() -> dict[str, dict[str, Callable[..., Any]]]:
    """Return the hook specifications that installed plugins bring, by the plugin's name.

    A package names them in the group `fit.hookspecs`; the module that has them should import little.
    """
    return {point.name: specs_in(load(point)) for point in Catalog(HOOKSPECS)}


def unknown(group: str, name: str, known: Iterable[str]) -> FitError:
    """Return the error for a name that nobody offers."""
    known = set(known)
    if group == METRICS:
        more = "" if find_spec("fit_metrics") else "; try: pip install fit-metrics"
        return FitError(f"no metric {name!r} (known: {listed(known)}){did_you_mean(name, known) or more}")
    if name in KNOWN_PACKAGES:
        return FitError(f"no plugin named {name!r}; try: pip install {KNOWN_PACKAGES[name]}")
    return FitError(f"no plugin named {name!r} (installed: {listed(known)}){did_you_mean(name, known)}")

"""From what a user gave as `metrics=[...]` to metrics, and what is known of their values before there are any."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import ModuleType
from typing import Any

from fit_core.entrypoints import ADAPTERS, METRICS, Catalog, load, unknown
from fit_core.errors import FitError
from fit_core.metrics import PARTS, Accuracy, FunctionMetric, Metric, StateMetric, under
from fit_core.state import StateKey

RESERVED = ("epoch", "loss", "lr", "seconds")
PREFIXES = ("val_", "test_")
OWN = ("fit_core", "typing", "builtins")
"""Top-level packages of which no adapter is."""
FOREIGN = {"sklearn": "fit-metrics", "torchmetrics": "fit-metrics"}
"""Which package knows how to use the metrics of a library."""


class MetricList:
    """Turns what a user gave into metrics.

    Args:
        offered: metrics by name that active plugins define.
    """

    def __init__(self, offered: Mapping[str, Any] = {}) -> None:  # never written to
        self._offered = offered
        self._catalog = Catalog(METRICS)
        self._adapters = Catalog(ADAPTERS)

    def resolve(self, items: Iterable[Any]) -> list[Metric]:
        """Turn names, callables, metrics, keys of the state, and pairs of a name with one of these into metrics.

        Raises:
            FitError: an unknown name, something that is no metric, or two of one name.
        """
        metrics = [self.metric(item) for item in items if not (isinstance(item, str) and item == "loss")]  # which is always there
        check_names(metrics)
        return metrics

    def metric(self, item: Any, name: str | None = None) -> Metric:
        """Turn one item into a metric; under another name if one is given.

        Raises:
            FitError: an unknown name, or something that is no metric.
        """
        if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
            return self.metric(item[1], item[0])
        if isinstance(item, str):
            item = self._by_name(item)
        elif isinstance(item, StateKey):
            return StateMetric(under(item), name or item.name)
        if isinstance(item, type):
            item = item()
        item = self.adapted(item)
        if isinstance(item, Metric):
            return item if name is None else renamed(item, name)
        missing = [part for part in PARTS if not hasattr(item, part)]
        if hasattr(item, "update") and hasattr(item, "compute"):
            raise FitError(f"{type(item).__name__} is no metric yet: it lacks {', '.join(missing)}")
        if callable(item):
            own = str(getattr(item, "__name__", type(item).__name__))
            return StateMetric(item, name or own) if of_state(item) else FunctionMetric(item, name)
        raise FitError(f"{item!r} is no metric: give a name, a callable (outputs, targets) or an object with {', '.join(PARTS)}")

    def _by_name(self, name: str) -> Any:
        if name in self._offered:
            return self._offered[name]
        if name in self._catalog:
            found = load(self._catalog.find(name))
            return found if isinstance(found, (type, Metric)) else found()
        if name == "accuracy":
            return Accuracy()
        raise unknown(METRICS, name, [*self._catalog.names, *self._offered, "loss", "accuracy"])

    def adapted(self, item: Any) -> Any:
        """Return an object of another library as a metric, by what is installed for that library."""
        for library in libraries(item):
            if library in OWN:
                continue  # spare the look at what is installed
            if library in self._adapters:
                return load(self._adapters.find(library))(item)
            if library in FOREIGN:
                raise FitError(f"{item!r} is of {library}; to use it as a metric: pip install {FOREIGN[library]}")
        return item


def libraries(item: Any) -> Iterator[str]:
    """Yield the top-level packages that an object's classes, or a function, are from."""
    while isinstance(item, partial):
        item = item.func
    homes = [item.__module__] if hasattr(item, "__name__") and not isinstance(item, type) else [c.__module__ for c in type(item).__mro__]
    for home in homes:
        yield str(home).partition(".")[0]


def of_state(function: Any) -> bool:
    """Tell whether a function has one parameter without default, called `state`."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a builtin without a signature
        return False
    return [p.name for p in parameters if p.default is p.empty] == ["state"]


def renamed(metric: Metric, name: str) -> Metric:
    """Return a metric under another name; the given one stays as it is."""
    other = copy.copy(metric)
    other.name = name
    return other


def offered_by(modules: Iterable[ModuleType]) -> dict[str, Any]:
    """Return the metrics by name that modules define: objects with an attribute `metric_name`, which `@metric("...")` gives."""
    found = {}
    for module in modules:
        for value in vars(module).values():
            name = getattr(value, "metric_name", None)
            if isinstance(name, str):
                found[name] = value
    return found


def for_loss(metrics: Iterable[Metric], loss_fn: Any) -> list[Metric]:
    """Return the metrics to use with a loss function.

    Raises:
        FitError: two of them have a value of one name.
    """
    chosen = [metric.for_loss(loss_fn) if hasattr(metric, "for_loss") else metric for metric in metrics]
    check_names(chosen)
    return chosen


def directions(metrics: Iterable[Metric]) -> dict[str, bool | None]:
    """Return the names of values that are known beforehand, each with whether more is better."""
    found: dict[str, bool | None] = {}
    for metric in metrics:
        found |= directions_of(metric)
    return found


def row_directions(metrics: Iterable[Metric], losses: Iterable[str], prefixes: Iterable[str]) -> dict[str, bool | None]:
    """Return whether more is better for every value of a row that is known beforehand.

    Args:
        metrics: of the trainer.
        losses: names of losses, of which less is better.
        prefixes: of validation sets, whose values are named likewise.
    """
    known = {**dict.fromkeys(losses, False), **directions(metrics)}
    return {prefix + name: more for prefix in ("", *prefixes) for name, more in known.items()}


def directions_of(metric: Metric) -> Mapping[str, bool | None]:
    """Return those of one metric."""
    said: Mapping[str, bool | None] = metric.directions() if hasattr(metric, "directions") else {metric.name: metric.higher_is_better}
    return said


def check_names(metrics: Iterable[Metric]) -> None:
    """Refuse names that the row has for something else, and two values of one name.

    Raises:
        FitError: there are some.
    """
    seen: set[str] = set()
    for metric in metrics:
        for name in directions_of(metric):
            if name in RESERVED or name.startswith(PREFIXES):
                raise FitError(f"a metric cannot be called {name!r}: the row has this name for something else")
            if name in seen:
                raise FitError(f"two metrics are called {name!r}; give one of them another name: metrics=[('other', ...)]")
            seen.add(name)


def higher_is_better(who: str, monitor: str, mode: str, metrics: Iterable[Metric]) -> bool:
    """Tell in which direction a value of the row improves.

    Args:
        who: watches it, for the error.
        monitor: its name, with or without the prefix of an evaluation.
        mode: "max" or "min"; "auto" asks the metric of this name, and takes losses as better when they are lower.
        metrics: of the trainer.

    Raises:
        FitError: there is no such mode; or it is "auto", and neither the name nor a metric says.
    """
    if mode not in ("auto", "min", "max"):
        raise FitError(f"{who}: mode must be 'min', 'max' or 'auto', not {mode!r}")
    if mode != "auto":
        return mode == "max"
    known = {name: more for name, more in directions(metrics).items() if monitor == name or monitor.endswith(f"_{name}")}
    if known:
        said = known[max(known, key=len)]  # of `val_top_5_accuracy` and `val_accuracy`, the former is not of `accuracy`
        if said is not None:
            return said
    if monitor == "loss" or monitor.endswith("_loss"):
        return False
    raise FitError(f"{who} cannot know whether more of {monitor!r} is better: pass mode='min' or mode='max'")

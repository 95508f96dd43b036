"""Decorators that make metric trees of functions, classes, names and other trees; in any order."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from fit_core.errors import FitError
from fit_core.metric_list import MetricList
from fit_core.state import StateKey
from fit_metrics.aggregates import Aggregate, Max, Mean, Min, Std, Variance
from fit_metrics.arithmetic import Arithmetic
from fit_metrics.batches import Last, PerClass, RunningMean
from fit_metrics.gathered import LIMIT, Quantile
from fit_metrics.state_leaves import of_key
from fit_metrics.tree import MetricTree, tree_of


def metric(
    name: str, *, higher_is_better: bool | None = None, per_sample: bool | None = None, output: Any = None, target: Any = None
) -> Callable[[Any], Any]:
    """Make a metric of a function `(outputs, targets)` or `(state)`, of a class whose objects are called like one, or of a metric.

    Under this name it is also usable as text, `metrics=["name"]`, where its module is an active plugin.

    Args:
        name: of its values in the row.
        higher_is_better: whether more is better; None: what the function's attribute says, if it has one.
        per_sample: the values of a sample don't depend on the others of its batch, so that the function can be given many batches
            at once, which is faster; None: what the function's attribute says, if it has one.
        output: which of several outputs it looks at: a key, an index, an attribute, or a function that picks.
        target: likewise of the targets.
    """
    given = {"higher_is_better": higher_is_better, "output": output, "target": target}
    attributes = {"name": name, "metric_name": name, **{key: value for key, value in given.items() if value is not None}}

    def change(tree: Any) -> Any:
        if isinstance(tree, MetricTree):
            return tree.changed(**attributes, **({} if per_sample is None else {"leaf": Marked(tree.leaf, per_sample)}))
        other = copy.copy(tree)
        if (output is not None or target is not None) and not hasattr(tree, "output"):
            raise FitError(f"metric {name!r}: output= and target= belong to the metrics that it is computed from")
        vars(other).update(attributes)
        return other

    def decorate(thing: Any) -> Any:
        made = changed(thing, change)
        if isinstance(made, type):
            made.metric_name = name  # type: ignore[attr-defined]  # found by it in its module
        return made

    return decorate


class Marked:
    """A leaf of which it is said whether it treats samples one by one."""

    def __init__(self, leaf: Callable[..., Any], per_sample: bool) -> None:
        self.leaf, self.per_sample = leaf, per_sample

    def __call__(self, *seen: Any) -> Any:
        """Ask the leaf."""
        return self.leaf(*seen)


def mean(thing: Any = None, *, dim: int | Sequence[int] | None = None) -> Any:
    """Add the mean of all values: `name`.

    Args:
        thing: a function, class, metric, name of a metric, or key of the state; None: return a decorator.
        dim: the dimensions to take the mean over, 0 (the samples) among them; the rest gives `name_0`, `name_1`, and so on.
    """
    return grown(thing, lambda: Mean(dim))


def running_mean(thing: Any = None, *, window: int = 50, step: int = 1) -> Any:
    """Add the mean over the last batches of training: `running_name`.

    Args:
        thing: as for `mean`.
        window: how many batches.
        step: how many batches a value stays for.
    """
    return grown(thing, lambda: RunningMean(window, step))


def std(thing: Any = None, *, unbiased: bool = True, dim: int | Sequence[int] | None = None) -> Any:
    """Add the standard deviation: `name_std`.

    Args:
        thing: as for `mean`.
        unbiased: of a sample, not of the whole population.
        dim: as for `mean`.
    """
    return grown(thing, lambda: Std(unbiased, dim))


def var(thing: Any = None, *, unbiased: bool = True, dim: int | Sequence[int] | None = None) -> Any:
    """Add the variance: `name_var`. Arguments are those of `std`."""
    return grown(thing, lambda: Variance(unbiased, dim))


def maximum(thing: Any = None, *, dim: int | Sequence[int] | None = None) -> Any:
    """Add the greatest value: `name_max`. Arguments are those of `mean`."""
    return grown(thing, lambda: Max(dim))


def minimum(thing: Any = None, *, dim: int | Sequence[int] | None = None) -> Any:
    """Add the smallest value: `name_min`. Arguments are those of `mean`."""
    return grown(thing, lambda: Min(dim))


def quantile(thing: Any = None, *, q: float = 0.5, max_bytes: int = LIMIT) -> Any:
    """Add a quantile: `name_q50`. All values are gathered on the CPU.

    Args:
        thing: as for `mean`.
        q: which, 0 to 1.
        max_bytes: how much is gathered at most.
    """
    return grown(thing, lambda: Quantile(q, max_bytes))


def last(thing: Any = None) -> Any:
    """Add the mean of the last batch: `name_last`."""
    return grown(thing, Last)


def per_class(thing: Any = None, *, classes: int | Sequence[str] | None = None) -> Any:
    """Add the mean for each class of targets: `name_0`, or `name_cat` if the classes have names.

    Args:
        thing: as for `mean`.
        classes: their names, or how many there are; None: as many as the outputs have.
    """
    return grown(thing, lambda: PerClass(classes))


def grown(thing: Any, make: Callable[[], Aggregate]) -> Any:
    """Add an aggregate to whatever can be a tree; return a decorator if there is nothing yet."""

    def grow(tree: Any) -> Any:
        if not isinstance(tree, MetricTree):
            raise FitError(f"metric {tree.name!r} is computed at the end of a pass; aggregates belong to the metrics it is computed from")
        return tree.grown(make())

    return (lambda later: changed(later, grow)) if thing is None else changed(thing, grow)


def changed(thing: Any, change: Callable[[Any], Any]) -> Any:
    """Return a changed tree of whatever can be one; of a class, one whose objects are changed.

    Raises:
        FitError: it cannot be one.
    """
    if isinstance(thing, type):
        return _class_of(thing, change)
    if isinstance(thing, str):
        thing = MetricList().metric(thing)
    elif isinstance(thing, StateKey):
        thing = of_key(thing)
    elif not isinstance(thing, Arithmetic):
        thing = MetricList().adapted(thing)
    if isinstance(thing, Arithmetic):
        return change(thing)
    if callable(thing):
        return change(tree_of(thing))
    raise FitError(f"{thing!r} cannot be a metric: give a function (outputs, targets) or (state), a class of such, a metric or its name")


def _class_of(cls: type, change: Callable[[Any], Any]) -> type:
    """Return a class that is called like the given one, and whose objects are changed trees of its objects."""

    def new(_own: type, *args: Any, **options: Any) -> Any:
        return changed(cls(*args, **options), change)

    return type(cls.__name__, (), {"__new__": new, "__doc__": cls.__doc__, "__module__": cls.__module__, "__wrapped__": cls})

"""Metric trees: a leaf turns each batch into values, aggregates turn the values of a pass into numbers of the row."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from fit_core.batch import batch_size
from fit_core.errors import FitError, listed
from fit_core.mean import column, kept
from fit_core.metric_list import of_state
from fit_core.state import State
from fit_metrics.aggregates import Aggregate, Mean, Observed, spread_over
from fit_metrics.arithmetic import Arithmetic
from fit_metrics.picking import picked

FOLD = 256
"""How many values of batches wait before the aggregates see them."""


class MetricTree(Arithmetic):
    """A leaf and its aggregates; the leaf is computed once for all of them.

    A leaf returns a tensor with a value for each sample (samples, ...), or one for the batch, which then counts as often as the batch
    has samples; or a pair of values and their weights: a value of weight 0 leaves no trace. It is asked batch by batch, unless it has
    an attribute `per_sample = True`: the values of a sample don't depend on the others of its batch, so that many can be joined.

    Args:
        leaf: a function `(outputs, targets)`, never copied.
        name: of the values; None: the function's own.
        aggregates: what becomes of the values; `Mean` if there are none.
        higher_is_better: whether more is better; None: what the function's attribute says.
        output: which of several outputs the leaf gets: a key, an index, an attribute, or a function that picks.
        target: likewise of the targets.

    Raises:
        FitError: two aggregates have the same name.
    """

    def __init__(
        self,
        leaf: Callable[..., Any],
        name: str | None = None,
        aggregates: Sequence[Aggregate] = (),
        *,
        higher_is_better: bool | None = None,
        output: Any = None,
        target: Any = None,
    ) -> None:
        self.leaf: Any = leaf
        self.name: str = name or str(getattr(leaf, "name", None) or getattr(leaf, "__name__", type(leaf).__name__))
        self.higher_is_better = getattr(leaf, "higher_is_better", None) if higher_is_better is None else higher_is_better
        self.output, self.target = output, target
        self._given = tuple(aggregates)
        self._settle()

    def _settle(self) -> None:
        self.aggregates: tuple[Aggregate, ...] = self._given or (Mean(),)
        self.costly = any(aggregate.costly for aggregate in self.aggregates)
        self._training = True
        ends = [(aggregate.prefix, aggregate.suffix) for aggregate in self.aggregates]
        if len(set(ends)) < len(ends):
            raise FitError(f"metric {self.name!r} has two aggregates of one name: {listed(p + self.name + s for p, s in ends)}")

    def grown(self, aggregate: Aggregate) -> Self:
        """Return a tree with one aggregate more."""
        other = copy.copy(self)
        other._given = (*self._given, aggregate)
        other._settle()
        return other

    def changed(self, **attributes: Any) -> Self:
        """Return a tree with other attributes."""
        other = copy.copy(self)
        for name, value in attributes.items():
            setattr(other, name, value)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = copy.copy(self)
        other._given = copy.deepcopy(self._given, memo)
        other._settle()
        return other

    # ------------------------------------------------------------------------------------------------ as fit calls it

    def reset(self) -> None:
        """Forget everything."""
        for aggregate in self.aggregates:
            aggregate.reset()

    def begin(self, state: State) -> None:
        """Note whether this is training: evaluations have no running values."""
        self._training = state.phase == "train"

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in a batch."""
        self.update_block(outputs, targets, [batch_size(targets, outputs)])

    def update_block(self, outputs: Any, targets: Any, sizes: Sequence[int]) -> None:
        """Take in several batches joined to one.

        Args:
            outputs: of all of them.
            targets: likewise.
            sizes: the samples of each.
        """
        outputs, targets = picked(self.name, "output", self.output, outputs), picked(self.name, "target", self.target, targets)
        if len(sizes) == 1:
            self._add(self._of_batch(outputs, targets, sizes[0]))
        elif getattr(self.leaf, "per_sample", False):
            values, weights = self._checked(self.leaf(outputs, targets))
            self._add(Observed(values, weights, sizes, targets, self._classes(outputs, targets)))
        else:
            batches = zip(outputs.split(list(sizes)), targets.split(list(sizes)), sizes, strict=True)
            self._add(joined([self._of_batch(*batch) for batch in batches]))

    def compute(self) -> dict[str, float]:
        """Return the values by name. Waits for the device."""
        found: dict[str, float] = {}
        for aggregate in self._active():
            name, value = f"{aggregate.prefix}{self.name}{aggregate.suffix}", aggregate.compute()
            if isinstance(value, Mapping):
                found |= {f"{name}_{key}": each for key, each in value.items()}
            elif isinstance(value, list):
                found |= {f"{name}_{i}": each for i, each in enumerate(value)}
            else:
                found[name] = value
        return found

    def value(self) -> float | None:
        """Return the one value that arithmetic works with; None if this pass has none. Waits for the device.

        Raises:
            FitError: there is more than one.
        """
        value = self._main().compute() if self._main() in self._active() else None
        if value is not None and not isinstance(value, (int, float)):
            raise FitError(f"metric {self.name!r} has several values; arithmetic needs one")
        return value

    @property
    def direction(self) -> bool | None:
        """Whether more of the value is better that arithmetic works with."""
        return self.higher_is_better if self._main().directed else None

    def _main(self) -> Aggregate:
        """Return the aggregate whose value arithmetic works with: the mean, or the only one."""
        means: Sequence[Aggregate] = [each for each in self.aggregates if type(each) is Mean] or self.aggregates
        if len(means) > 1:
            raise FitError(f"metric {self.name!r} has {len(means)} aggregates; arithmetic needs a mean, or a single one")
        return means[0]

    def merge(self, other: MetricTree) -> None:
        """Take in what another instance has seen after it."""
        for own, its in zip(self.aggregates, other.aggregates, strict=True):
            own.merge(its)

    def directions(self) -> dict[str, bool | None]:
        """Return the names that are known beforehand, each with whether more is better."""
        found: dict[str, bool | None] = {}
        for aggregate in self.aggregates:
            name = f"{aggregate.prefix}{self.name}{aggregate.suffix}"
            names = [f"{name}_{key}" for key in aggregate.names] if hasattr(aggregate, "names") else [name]
            found |= dict.fromkeys(names, self.higher_is_better if aggregate.directed else None)
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return what was taken in."""
        return {"aggregates": {kind_of(aggregate): aggregate.state_dict() for aggregate in self.aggregates}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned; an aggregate that was not there begins anew."""
        for aggregate in self.aggregates:
            if kind_of(aggregate) in state["aggregates"]:
                aggregate.load_state_dict(state["aggregates"][kind_of(aggregate)])

    # -------------------------------------------------------------------------------------------------------- inside

    def _active(self) -> list[Aggregate]:
        return [aggregate for aggregate in self.aggregates if self._training or not aggregate.training_only]

    def _add(self, seen: Observed) -> None:
        for aggregate in self._active():
            aggregate.add(seen)

    def _of_batch(self, outputs: Any, targets: Any, size: int) -> Observed:
        """Ask the leaf for one batch."""
        values, weights = self._checked(self.leaf(outputs, targets))
        if values.dim():
            return Observed(values, weights, [len(values)], targets, self._classes(outputs, targets))
        weights = torch.full((1,), float(size), device=values.device) if weights is None else weights.reshape(1)
        return Observed(values.reshape(1), weights, [1])

    def _classes(self, outputs: Any, targets: Any) -> int | None:
        """Return how many classes outputs have, if the leaf or their shape says so."""
        if hasattr(self.leaf, "classes"):
            return int(self.leaf.classes(outputs))
        if isinstance(outputs, Tensor) and isinstance(targets, Tensor) and outputs.dim() == targets.dim() + 1:
            return outputs.shape[1]
        return None

    def _checked(self, found: Any) -> tuple[Tensor, Tensor | None]:
        values, weights = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
        if isinstance(values, (bool, int, float)):
            values = torch.tensor(values, dtype=torch.float64)
        if not isinstance(values, Tensor) or not (weights is None or isinstance(weights, Tensor)):
            raise FitError(
                f"metric {self.name!r} must return a number, a tensor, or a pair of values and weights, not {type(found).__name__}"
            )
        return values.detach(), None if weights is None else weights.detach()


class StateTree(MetricTree):
    """A tree whose leaf is a function `(state)`, called after every batch; None means that this batch has no value.

    A value for a batch counts as often as the batch has samples, unless the leaf returns a pair of value and weight.
    """

    def _settle(self) -> None:
        super()._settle()
        self._any = False
        self._values: list[Tensor | float] = []
        self._weights: list[Tensor | float] = []

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._any = False
        self._values, self._weights = [], []

    def update_state(self, state: State) -> None:
        """Take in the batch in `state`."""
        found = self.leaf(state)
        if found is None:
            return
        value, weight = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
        if isinstance(value, Tensor) and value.dim():
            self._fold()
            self._any = True
            values, weights = self._checked(found)
            self._add(Observed(values, weights, [len(values)]))
        else:
            self._keep(value, batch_size(state.targets, state.inputs, state.outputs) if weight is None else weight)

    def _keep(self, value: Tensor | float, weight: Tensor | float) -> None:
        self._any = True
        self._values.append(kept(value))
        self._weights.append(kept(weight))
        if len(self._values) >= FOLD:
            self._fold()

    def compute(self) -> dict[str, float]:
        """Return the values by name; none if no batch has had a value. Waits for the device."""
        return super(StateTree, self._complete()).compute() if self._any else {}

    def value(self) -> float | None:
        """Return the one value that arithmetic works with; None if no batch has had one. Waits for the device."""
        return super(StateTree, self._complete()).value() if self._any else None

    def merge(self, other: MetricTree) -> None:
        """Take in what another instance has seen after it."""
        assert isinstance(other, StateTree)
        self._fold()
        self._any |= other._any
        super().merge(other._complete())

    def state_dict(self) -> dict[str, Any]:
        """Return what was taken in. Waits for the device."""
        waiting = {name: [float(each) for each in values] for name, values in (("values", self._values), ("weights", self._weights))}
        return {**super().state_dict(), **waiting, "any": self._any}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        super().load_state_dict(state)
        self._values, self._weights, self._any = list(state["values"]), list(state["weights"]), state["any"]

    def _complete(self) -> StateTree:
        """Return a tree that has seen everything; reading changes nothing, so that who reads when cannot change a value."""
        if not self._values:
            return self
        other = copy.copy(self)
        other.aggregates = copy.deepcopy(self.aggregates)
        other._fold()
        return other

    def _fold(self) -> None:
        if self._values:
            device = next((each.device for each in [*self._values, *self._weights] if isinstance(each, Tensor)), torch.device("cpu"))
            values, weights = column(self._values, device), column(self._weights, device)
            self._values, self._weights = [], []
            self._add(Observed(values, weights, [1] * len(values)))


def kind_of(aggregate: Aggregate) -> str:
    """Return what tells an aggregate of a tree from the others, and from one of another kind in its place."""
    return f"{type(aggregate).__name__} {aggregate.prefix}{aggregate.suffix}"


def joined(seen: Sequence[Observed]) -> Observed:
    """Return what was observed in several batches as one."""
    weights = [spread_over(each.weights, each.values) for each in seen if each.weights is not None]
    targets = [each.targets for each in seen]
    return Observed(
        torch.cat([each.values for each in seen]),
        torch.cat(weights) if weights else None,
        [len(each.values) for each in seen],
        torch.cat(targets) if all(isinstance(each, Tensor) for each in targets) else None,
        seen[0].classes,
    )


def tree_of(leaf: Callable[..., Any]) -> MetricTree:
    """Return a tree with a leaf: a function `(outputs, targets)`, or one `(state)`."""
    return (StateTree if of_state(leaf) else MetricTree)(leaf)

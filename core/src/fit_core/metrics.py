"""Metrics: the protocol, and those that need no package: accuracy, any function, any value of the state."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from fit_core.batch import batch_size
from fit_core.errors import FitError
from fit_core.mean import WeightedMean, scalar
from fit_core.state import State, StateKey

Row = dict[str, float]
IGNORED = -100
"""The target that torch's criteria ignore if they are told nothing."""


@runtime_checkable
class Metric(Protocol):
    """What a metric has. Any object with these is one.

    Each pass over data has copies of its own (`copy.deepcopy`), and begins with `reset`. A metric may have more:

    - `update_state(state)`, called after every batch in place of `update`: for one that needs more than outputs and targets.
    - `update_block(outputs, targets, sizes)`, called in place of `update`, with the samples of each of the joined batches.
    - `update_loss(loss, terms)`, called with the loss of each batch (of the first update), and how many terms it is a mean of.
    - `begin(state)`, called when a pass begins, after `reset`.
    - `directions()`: its values by name, each with whether more is better, if `compute` returns several by name.
    - `for_loss(loss_fn)`: the metric to use with a loss function.
    - `costly = True`: computed once, when the pass is complete; `state.metrics` does without it.
    - `state_dict()` and `load_state_dict(state)`; without them its attributes are saved.
    - methods under `@hookimpl`: a copy of the metric (`copy.copy`) is a plugin of the trainer, and the copies of passes share with it
      what `copy.deepcopy` leaves shared. `leaves()` returns the metrics it is made of, whose hooks count too.

    Attributes:
        name: its name in the row.
        higher_is_better: True, False, or None if neither.
    """

    name: str
    higher_is_better: bool | None

    def reset(self) -> None:
        """Forget everything."""

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in one batch, or several joined to one. Called without gradients; must not wait for the device.

        Batches of tensors are joined if outputs and targets have the same number of samples. A metric to which it matters what was
        one batch implements `update_block`.
        """

    def compute(self) -> float | Mapping[str, float]:
        """Return the value of all that was taken in, or several by their names in the row."""

    def merge(self, other: Any) -> None:
        """Take in what another instance has seen after it."""


PARTS = ("name", "higher_is_better", "reset", "update", "compute", "merge")


class Accuracy:
    """The fraction of samples (or pixels, or tokens) whose highest score is at the target.

    outputs: (batch, classes, ...) scores; targets: (batch, ...) class indices.

    Args:
        ignore_index: targets that don't count; what the trainer's criterion ignores, if it is cross entropy.
    """

    name: str = "accuracy"
    higher_is_better: bool | None = True

    def __init__(self, ignore_index: int = IGNORED) -> None:
        self.ignore_index = ignore_index
        self.reset()

    def for_loss(self, loss_fn: Any) -> Accuracy:
        """Return one that ignores the targets that a criterion ignores."""
        other = copy.copy(self)
        other.ignore_index = ignored_by(loss_fn) if self.ignore_index == IGNORED else self.ignore_index
        return other

    def reset(self) -> None:
        """Forget everything."""
        self._right: Tensor | int = 0
        self._seen: Tensor | int = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch.

        Raises:
            FitError: outputs have no dimension of classes, or targets are no indices.
        """
        if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
            raise FitError(
                f"metric 'accuracy' needs tensors as outputs and targets, not {type(outputs).__name__} and "
                f"{type(targets).__name__}; pass a callable (outputs, targets) as metric instead"
            )
        if targets.is_floating_point() or outputs.dim() != targets.dim() + 1 or outputs.shape[1] == 1:
            raise FitError(
                f"metric 'accuracy' needs outputs (batch, classes, ...) and class indices (batch, ...), not {tuple(outputs.shape)} and "
                f"{tuple(targets.shape)} {targets.dtype}; pass a callable (outputs, targets) instead, or pip install fit-metrics"
            )
        counted = targets != self.ignore_index
        self._right = self._right + ((outputs.argmax(dim=1) == targets) & counted).sum()
        self._seen = self._seen + counted.sum()

    def compute(self) -> float:
        """Return the fraction. Waits for the device."""
        seen = int(self._seen)
        return float(self._right) / seen if seen else float("nan")

    def merge(self, other: Accuracy) -> None:
        """Take in what another instance has seen."""
        self._right = self._right + other._right
        self._seen = self._seen + other._seen

    def state_dict(self) -> dict[str, Any]:
        """Return what was counted."""
        return {"right": self._right, "seen": self._seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._right, self._seen = state["right"], state["seen"]


def ignored_by(loss_fn: Any) -> int:
    """Return the class index that a loss function ignores."""
    given = loss_fn.keywords if isinstance(loss_fn, partial) else {}
    return int(given.get("ignore_index", getattr(loss_fn, "ignore_index", IGNORED)))


class _Averaged:
    """What metrics have in common that are the mean of something."""

    higher_is_better: bool | None = None
    name: str

    def __init__(self) -> None:
        self._mean = WeightedMean()

    def reset(self) -> None:
        """Forget everything."""
        self._mean.reset()

    def compute(self) -> float:
        """Return the mean. Waits for the device."""
        return self._mean.compute()

    def merge(self, other: _Averaged) -> None:
        """Take in what another instance has seen."""
        self._mean.merge(other._mean)

    def state_dict(self) -> dict[str, Any]:
        """Return sums and what is not folded yet. Waits for the device."""
        return self._mean.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._mean.load_state_dict(state)

    def _add(self, value: Any, *samples: Any) -> None:
        if isinstance(value, Tensor) and value.dim():
            self._mean.add(value.to(torch.float64 if value.device.type != "mps" else torch.float32).mean(), value.numel())
        else:
            self._mean.add(scalar(self.name, value), batch_size(*samples))


class FunctionMetric(_Averaged):
    """The mean of a function `(outputs, targets) -> value per sample, or one value for a batch`.

    One value for a batch is weighted by the number of samples. The function is called batch by batch; one whose value of a sample does
    not depend on the others of its batch may have an attribute `per_sample = True`, and is called with many at once.

    Args:
        function: what is called; its attributes `higher_is_better` and `per_sample` count.
        name: in the row; None: the function's own.
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__()
        self.function = function
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.higher_is_better = getattr(function, "higher_is_better", None)

    def __deepcopy__(self, memo: dict[int, Any]) -> FunctionMetric:
        return FunctionMetric(self.function, self.name)  # never a copy of what the function belongs to: a model, say

    def update(self, outputs: Any, targets: Any) -> None:
        """Call the function on a batch."""
        self._add(self.function(outputs, targets), targets, outputs)

    def update_block(self, outputs: Tensor, targets: Tensor, sizes: list[int]) -> None:
        """Call the function on each of several batches, or on all at once."""
        if len(sizes) == 1 or getattr(self.function, "per_sample", False):
            self.update(outputs, targets)
            return
        for batch in zip(outputs.split(sizes), targets.split(sizes), strict=True):
            self.update(*batch)


class StateMetric(_Averaged):
    """The mean of a function `(state)`, called after every batch: of what plugins put under a key, say.

    Batches for which it is None don't count; one value for a batch is weighted by the number of samples.

    Args:
        function: what is called.
        name: in the row.
    """

    def __init__(self, function: Callable[[State], Any], name: str) -> None:
        super().__init__()
        self.function = function
        self.name = name
        self.higher_is_better = getattr(function, "higher_is_better", None)
        self._any = False

    def __deepcopy__(self, memo: dict[int, Any]) -> StateMetric:
        return StateMetric(self.function, self.name)

    def update(self, outputs: Any, targets: Any) -> None:
        """Not called: `update_state` is."""

    def compute(self) -> float | dict[str, float]:  # type: ignore[override]  # it may have nothing to say
        """Return the mean; nothing if no batch has had a value. Waits for the device."""
        return super().compute() if self._any else {}

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._any = False

    def merge(self, other: _Averaged) -> None:
        """Take in what another instance has seen."""
        assert isinstance(other, StateMetric)
        super().merge(other)
        self._any |= other._any

    def state_dict(self) -> dict[str, Any]:
        """Return sums and what is not folded yet. Waits for the device."""
        return {**super().state_dict(), "any": self._any}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        super().load_state_dict(state)
        self._any = state["any"]

    def update_state(self, state: State) -> None:
        """Take the value of a batch in, if it has one."""
        value = self.function(state)
        if value is not None:
            self._any = True
            self._add(value, state.targets, state.inputs, state.outputs)


def under(key: StateKey[Any]) -> Callable[[State], Any]:
    """Return the function `(state)` that returns what is under a key."""
    return lambda state: state.get(key)

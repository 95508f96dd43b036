"""Metrics: the protocol, accuracy, any callable; and the meter that feeds them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from fit_core.batch import batch_size, detach
from fit_core.criterion import terms
from fit_core.entrypoints import METRICS, Catalog, load, unknown
from fit_core.errors import FitError
from fit_core.mean import WeightedMean, scalar
from fit_core.state import State

Row = dict[str, float]
BLOCK_BYTES = 2**20
BLOCK_BATCHES = 256
RESERVED = ("epoch", "loss", "lr", "seconds")
PREFIXES = ("val_", "test_")
PARTS = ("name", "higher_is_better", "reset", "update", "compute", "merge")


@runtime_checkable
class Metric(Protocol):
    """What a metric has. Any object with these is one.

    Attributes:
        name: its name in the row.
        higher_is_better: True, False, or None if neither.
    """

    name: str
    higher_is_better: bool | None

    def reset(self) -> None:
        """Forget everything."""

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in one batch, or several joined to one. Called without gradients; must not wait for the device."""

    def compute(self) -> float:
        """Return the value of all that was taken in."""

    def merge(self, other: Any) -> None:
        """Take in what another instance has seen."""


class Accuracy:
    """The fraction of samples (or pixels, or tokens) whose highest score is at the target.

    outputs: (batch, classes, ...) scores; targets: (batch, ...) class indices.
    """

    name: str = "accuracy"
    higher_is_better: bool | None = True

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._right: Tensor | int = 0
        self._seen = 0

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
        if targets.is_floating_point() or outputs.dim() != targets.dim() + 1:
            raise FitError(
                f"metric 'accuracy' needs outputs (batch, classes, ...) and class indices (batch, ...), not "
                f"{tuple(outputs.shape)} and {tuple(targets.shape)} {targets.dtype}; pass a callable (outputs, targets) instead"
            )
        self._right = self._right + (outputs.argmax(dim=1) == targets).sum()
        self._seen += targets.numel()

    def compute(self) -> float:
        """Return the fraction. Waits for the device."""
        return float(self._right) / self._seen if self._seen else float("nan")

    def merge(self, other: Accuracy) -> None:
        """Take in what another instance has seen."""
        self._right = self._right + other._right
        self._seen += other._seen

    def state_dict(self) -> dict[str, Any]:
        """Return what was counted."""
        return {"right": self._right, "seen": self._seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._right, self._seen = state["right"], state["seen"]


class FunctionMetric:
    """The mean of a function `(outputs, targets) -> value per sample, or one value for a batch`.

    One value for a batch is weighted by the number of samples.
    """

    higher_is_better: bool | None = None

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function
        self.name: str = getattr(function, "__name__", type(function).__name__)
        self.higher_is_better = getattr(function, "higher_is_better", None)
        self._mean = WeightedMean()

    def __deepcopy__(self, memo: dict[int, Any]) -> FunctionMetric:
        return FunctionMetric(self.function)  # never a copy of what the function belongs to: a model, say

    def reset(self) -> None:
        """Forget everything."""
        self._mean.reset()

    def update(self, outputs: Any, targets: Any) -> None:
        """Call the function on a batch."""
        value = self.function(outputs, targets)
        if isinstance(value, Tensor) and value.dim():
            self._mean.add(value.to(torch.float64 if value.device.type != "mps" else torch.float32).mean(), value.numel())
        else:
            self._mean.add(value, batch_size(targets, outputs))

    def compute(self) -> float:
        """Return the mean. Waits for the device."""
        return self._mean.compute()

    def merge(self, other: FunctionMetric) -> None:
        """Take in what another instance has seen."""
        self._mean.merge(other._mean)

    def state_dict(self) -> dict[str, Any]:
        """Return sums and what is not folded yet. Waits for the device."""
        return self._mean.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._mean.load_state_dict(state)


def resolve_metrics(metrics: Iterable[Any]) -> list[Metric]:
    """Turn names, callables and metrics into metrics.

    Raises:
        FitError: an unknown name, something that is no metric, or two of one name.
    """
    if isinstance(metrics, str):
        raise FitError(f"metrics must be a list: metrics=[{metrics!r}]")
    resolved: dict[str, Metric] = {}
    for item in metrics:
        if item == "loss":  # always there
            continue
        metric = _resolve(item)
        if metric.name in RESERVED or metric.name.startswith(PREFIXES):
            raise FitError(f"a metric cannot be called {metric.name!r}: the row has this name for something else")
        if metric.name in resolved:
            raise FitError(f"two metrics are called {metric.name!r}; give one of them another name")
        resolved[metric.name] = metric
    return list(resolved.values())


def _resolve(item: Any) -> Metric:
    if item == "accuracy":
        return Accuracy()
    if isinstance(item, str):
        catalog = Catalog(METRICS)
        if item not in catalog:
            raise unknown(METRICS, item, [*catalog.names, "loss", "accuracy"])
        item = load(catalog.find(item))
    if isinstance(item, type):
        item = item()
    if isinstance(item, Metric):
        return item
    missing = [name for name in PARTS if not hasattr(item, name)]
    if hasattr(item, "update") and hasattr(item, "compute"):
        raise FitError(f"{type(item).__name__} is no metric yet: it lacks {', '.join(missing)}")
    if callable(item):
        return FunctionMetric(item)
    raise FitError(f"{item!r} is no metric: give a name, a callable (outputs, targets) or an object with {', '.join(PARTS)}")


def higher_is_better(who: str, monitor: str, mode: str, metrics: Iterable[Metric]) -> bool:
    """Tell in which direction a value of the row improves.

    Args:
        who: watches it, for the error.
        monitor: its name, with or without the prefix of an evaluation.
        mode: "max" or "min"; "auto" asks the metric of this name, and takes losses as better when they are lower.
        metrics: of the trainer.

    Raises:
        FitError: the mode is "auto", and neither the name nor a metric says.
    """
    if mode != "auto":
        return mode == "max"
    for metric in metrics:
        named = monitor == metric.name or monitor.endswith(f"_{metric.name}")
        if named and metric.higher_is_better is not None:
            return metric.higher_is_better
    if monitor == "loss" or monitor.endswith("_loss"):
        return False
    raise FitError(f"{who} cannot know whether more of {monitor!r} is better: pass mode='min' or mode='max'")


class Block:
    """Outputs and targets of several batches, joined before the metrics see them.

    Copies, so that a buffer that a loader or a compiled model uses again does no harm; at most 1 MB of them.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor]] = []
        self._bytes = 0

    def fits(self, outputs: Any, targets: Any) -> bool:
        """Tell whether a batch can wait here."""
        if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)) or not outputs.dim() or not targets.dim():
            return False
        size = outputs.nbytes + targets.nbytes
        if len(self._batches) >= BLOCK_BATCHES or self._bytes + size > BLOCK_BYTES:
            return False
        if not self._batches:
            return True
        first_outputs, first_targets = self._batches[0]
        return (
            outputs.shape[1:] == first_outputs.shape[1:]
            and targets.shape[1:] == first_targets.shape[1:]
            and outputs.dtype == first_outputs.dtype
            and targets.dtype == first_targets.dtype
        )

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        """Keep a copy of a batch."""
        self._batches.append((outputs.detach().clone(), targets.detach().clone()))
        self._bytes += outputs.nbytes + targets.nbytes

    def state_dict(self) -> dict[str, Any]:
        """Return the batches: joined otherwise, they could give another value in the last bit."""
        return {"batches": list(self._batches)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.take()
        for outputs, targets in state["batches"]:
            self.add(outputs, targets)

    def take(self) -> tuple[Tensor, Tensor] | None:
        """Return all batches as one, and forget them."""
        if not self._batches:
            return None
        outputs, targets = zip(*self._batches, strict=True)
        self._batches.clear()
        self._bytes = 0
        return torch.cat(outputs), torch.cat(targets)


class Meter:
    """The numbers of one pass: loss, metrics, recorded values.

    Args:
        metrics: copied, so that no two passes mix.

    Attributes:
        taken: names in the row that no plugin can record.
        open: whether values can be recorded.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._originals = list(metrics)
        self._metrics = [copy.deepcopy(metric) for metric in self._originals]
        self._losses: dict[str, WeightedMean] = {}
        self._recorded: dict[str, WeightedMean] = {}
        self._block = Block()
        self._fed = False
        self.taken: set[str] = set(RESERVED)
        self.open = False

    def begin(self) -> None:
        """Begin a pass."""
        for metric in self._metrics:
            metric.reset()
        self._losses.clear()
        self._recorded.clear()
        self._block.take()
        self._fed = False
        self.open = True

    def add_loss(self, name: str, state: State, sums: bool) -> None:
        """Take in the loss in `state`, if there is one.

        Args:
            name: in the row.
            state: of the pass.
            sums: the loss is a sum over samples, not a mean.
        """
        if state.loss is not None:
            if name not in self._losses:
                self._losses[name] = WeightedMean(total=sums)
            self._losses[name].add(state.loss, terms(state))

    def add(self, state: State) -> None:
        """Take outputs and targets of the batch in `state` in."""
        self._fed = True
        if self._metrics:
            self._feed(state.outputs, state.targets)

    def record(self, name: str, value: Tensor | float, weight: Tensor | float) -> None:
        """Take in a value of a plugin.

        Raises:
            FitError: the row is complete or not begun, the name is taken, or the value is no number.
        """
        if not self.open:
            raise FitError(f"cannot record {name!r} here: the row is open from on_epoch_start (or on_eval_start) until it is complete")
        if name in self.taken or name.startswith(PREFIXES) or any(name == metric.name for metric in self._metrics):
            raise FitError(f"cannot record {name!r}: the row has this name for something else")
        self._recorded.setdefault(name, WeightedMean()).add(scalar(name, value), scalar(f"weight of {name}", weight))

    def values(self) -> dict[str, float]:
        """Return the values so far. Waits for the device."""
        self._empty_block()
        values = {name: loss.compute() for name, loss in self._losses.items()}
        values |= {metric.name: float(metric.compute()) for metric in self._metrics if self._fed}
        return values | self.recorded()

    def recorded(self) -> dict[str, float]:
        """Return what plugins recorded so far. Waits for the device."""
        return {name: mean.compute() for name, mean in self._recorded.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return all that was taken in, so that the pass can go on. Waits for the device."""
        return {
            "losses": {name: mean.state_dict() for name, mean in self._losses.items()},
            "recorded": {name: mean.state_dict() for name, mean in self._recorded.items()},
            "metrics": {metric.name: _state_of(metric, given) for metric, given in zip(self._metrics, self._originals, strict=True)},
            "block": self._block.state_dict(),
            "fed": self._fed,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned; a metric that was not there begins anew."""
        self.begin()
        for means, saved in ((self._losses, state["losses"]), (self._recorded, state["recorded"])):
            for name, values in saved.items():
                means[name] = WeightedMean()
                means[name].load_state_dict(values)
        for metric in self._metrics:
            if metric.name in state["metrics"]:
                _restore(metric, state["metrics"][metric.name])
        self._block.load_state_dict(state["block"])
        self._fed = state["fed"]

    def _feed(self, outputs: Any, targets: Any) -> None:
        if not self._block.fits(outputs, targets):
            self._empty_block()
        if self._block.fits(outputs, targets):
            self._block.add(outputs, targets)
        else:
            self._update(detach(outputs), targets)

    def _empty_block(self) -> None:
        block = self._block.take()
        if block is not None:
            self._update(*block)

    def _update(self, outputs: Any, targets: Any) -> None:
        with torch.no_grad():
            for metric in self._metrics:
                metric.update(outputs, targets)


def _state_of(metric: Any, original: Any) -> dict[str, Any]:
    """Return the state of a metric: what its `state_dict` says, else every attribute that is not as in the one it is a copy of."""
    if hasattr(metric, "state_dict"):
        return dict(metric.state_dict())
    given = vars(original)
    return {name: value for name, value in vars(metric).items() if name not in given or given[name] is not value}


def _restore(metric: Any, state: Mapping[str, Any]) -> None:
    if hasattr(metric, "load_state_dict"):
        metric.load_state_dict(state)
    else:
        vars(metric).update(state)

"""The numbers of one pass over data: its meter feeds the metrics, in blocks of batches where they allow it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from fit_core.batch import batch_size, detach, move
from fit_core.criterion import terms
from fit_core.errors import FitError
from fit_core.mean import WeightedMean, scalar
from fit_core.metric_list import PREFIXES, RESERVED, directions
from fit_core.metrics import Metric
from fit_core.state import State

BLOCK_BYTES = 2**18
BLOCK_BATCHES = 256


class Block:
    """Outputs and targets of several batches, joined before the metrics see them.

    Copies, so that a buffer that a loader or a compiled model uses again does no harm; at most 256 kB of them.
    """

    __slots__ = ("_batches", "_bytes", "_kind", "_size")

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor]] = []
        self._kind: tuple[Any, ...] = ()
        self._size = self._bytes = 0

    def offer(self, outputs: Any, targets: Any) -> bool:
        """Keep a copy of a batch, unless it cannot wait together with those that are here, or at all."""
        if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
            return False
        kind = (outputs.shape, targets.shape, outputs.dtype, targets.dtype)
        if kind != self._kind:  # seldom: only the last batch of most data is shorter
            joinable = outputs.dim() and targets.dim() and len(outputs) == len(targets)
            if not joinable or (self._batches and not self._goes_with(outputs, targets)):
                return False
            self._kind, self._size = kind, outputs.nbytes + targets.nbytes
        if len(self._batches) >= BLOCK_BATCHES or self._bytes + self._size > BLOCK_BYTES:
            return False
        kept = outputs.detach().clone() if outputs.requires_grad else outputs.clone()
        self._batches.append((kept, targets.detach().clone() if targets.requires_grad else targets.clone()))
        self._bytes += self._size
        return True

    def _goes_with(self, *batch: Tensor) -> bool:
        """Tell whether a batch differs from those that are here in its number of samples only."""
        pairs = zip(batch, self._batches[0], strict=True)
        return all(its.shape[1:] == own.shape[1:] and its.dtype == own.dtype and its.device == own.device for its, own in pairs)

    def state_dict(self) -> dict[str, Any]:
        """Return the batches: joined otherwise, they could give another value in the last bit."""
        return {"batches": list(self._batches)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._batches = [(outputs, targets) for outputs, targets in state["batches"]]
        self._kind, self._bytes = (), sum(outputs.nbytes + targets.nbytes for outputs, targets in self._batches)

    def take(self) -> tuple[Tensor, Tensor, list[int]] | None:
        """Return all batches as one, and the samples of each; forget them."""
        if not self._batches:
            return None
        outputs, targets = zip(*self._batches, strict=True)
        self._batches.clear()
        self._bytes = 0
        return torch.cat(outputs), torch.cat(targets), [len(each) for each in targets]

    def copy(self) -> Block:
        """Return a block with the same batches."""
        other = Block()
        other._batches = list(self._batches)
        return other


class Meter:
    """The numbers of one pass: loss, metrics, recorded values.

    Args:
        metrics: copied, so that no two passes mix.

    Attributes:
        weighing: metrics that must see every loss with its weight.
        watches: whether there is a metric, which must see every batch.
        taken: names in the row that no plugin can record.
        open: whether values can be recorded.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._originals = list(metrics)
        self._metrics = [copy.deepcopy(metric) for metric in self._originals]
        self._known = directions(self._originals)
        self._fed = [metric for metric in self._metrics if not hasattr(metric, "update_state")]
        self._told = [metric for metric in self._metrics if hasattr(metric, "update_state")]
        self.weighing = [metric for metric in self._metrics if hasattr(metric, "update_loss")]
        self._device = torch.device("cpu")
        self._begun = False
        self._losses: dict[str, WeightedMean] = {}
        self._recorded: dict[str, WeightedMean] = {}
        self._block = Block()
        self.watches = bool(self._metrics)
        self.taken: set[str] = set(RESERVED)
        self.open = False

    def begin(self, state: State) -> None:
        """Begin a pass."""
        self._device = state.device
        for metric in self._metrics:
            metric.reset()
            if hasattr(metric, "begin"):
                metric.begin(state)
        self._losses.clear()
        self._recorded.clear()
        self._block.take()
        self._begun = False
        self.open = True

    def mean_of(self, name: str, sums: bool) -> WeightedMean:
        """Return the mean of a loss in this pass.

        Args:
            name: in the row.
            sums: the loss is a sum over samples, not a mean.
        """
        mean = self._losses.get(name)
        if mean is None:
            mean = self._losses[name] = WeightedMean(total=sums)
        return mean

    def add_loss(self, name: str, state: State, sums: bool) -> Tensor:
        """Take in the loss in `state`, and return what is kept of it.

        Args:
            name: in the row.
            state: of the pass.
            sums: the loss is a sum over samples, not a mean.
        """
        weight = terms(state)
        value = self.mean_of(name, sums).add_loss(state.loss, weight, weight is state._counted)
        if self.weighing and name == "loss":
            for metric in self.weighing:
                metric.update_loss(value.reshape(()), 1 if sums else weight)
        return value

    def add(self, state: State) -> None:
        """Take outputs and targets of the batch in `state` in."""
        self._begun = True
        if self._fed and not self._block.offer(state.outputs, state.targets):
            self._feed(state.outputs, state.targets)
        if self._told:
            with torch.no_grad():
                for metric in self._told:
                    metric.update_state(state)

    def record(self, name: str, value: Tensor | float, weight: Tensor | float) -> None:
        """Take in a value of a plugin.

        Raises:
            FitError: the row is complete or not begun, the name is taken, or the value is no number.
        """
        if not self.open:
            raise FitError(f"cannot record {name!r} here: the row is open from on_epoch_start (or on_eval_start) until it is complete")
        if name in self.taken or name.startswith(PREFIXES) or name in self._known:
            raise FitError(f"cannot record {name!r}: the row has this name for something else")
        self._recorded.setdefault(name, WeightedMean()).add(scalar(name, value), scalar(f"weight of {name}", weight))

    def values(self) -> dict[str, float]:
        """Return the values of the pass. Waits for the device.

        Raises:
            FitError: a metric gives a value that the row has already.
        """
        self._empty_block()
        return self._values(self._metrics)

    def so_far(self) -> dict[str, float]:
        """Return the values so far, but for those that are costly. Waits for the device.

        What waits in the block is taken in only for the moment: sums of other batches could differ in the last bit, and who looks
        must not change a value.
        """
        cheap = [metric for metric in self._metrics if not getattr(metric, "costly", False)]
        waiting = self._block.copy().take()
        if waiting is None:
            return self._values(cheap)
        looked_at = [(m, given) for m, given in zip(self._metrics, self._originals, strict=True) if m in cheap and m in self._fed]
        before = [(metric, copy.deepcopy(_state_of(metric, given)), given) for metric, given in looked_at]
        self._update([metric for metric, _ in looked_at], *waiting)
        values = self._values(cheap)
        for each in before:
            _restore(*each)
        return values

    def recorded(self) -> dict[str, float]:
        """Return what plugins recorded so far. Waits for the device."""
        return {name: mean.compute() for name, mean in self._recorded.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return all that was taken in, so that the pass can go on. Waits for the device."""
        return {
            "losses": {name: mean.state_dict() for name, mean in self._losses.items()},
            "recorded": {name: mean.state_dict() for name, mean in self._recorded.items()},
            "metrics": {key: _state_of(each, given) for (key, each), given in zip(self._keyed(), self._originals, strict=True)},
            "kinds": {key: type(metric).__qualname__ for key, metric in self._keyed()},
            "block": self._block.state_dict(),
            "begun": self._begun,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned, in a pass that has begun; a metric that was not there begins anew."""
        for means, saved in ((self._losses, state["losses"]), (self._recorded, state["recorded"])):
            for name, values in saved.items():
                means[name] = WeightedMean()
                means[name].load_state_dict(values)
        for (key, metric), given in zip(self._keyed(), self._originals, strict=True):
            if state["kinds"].get(key) == type(metric).__qualname__:
                _restore(metric, move(state["metrics"][key], self._device), given)
        self._block.load_state_dict(move(state["block"], self._device))
        self._begun = state["begun"]

    def _values(self, metrics: Iterable[Metric]) -> dict[str, float]:
        values = {name: loss.compute() for name, loss in self._losses.items()}
        for metric in metrics if self._begun else ():
            computed = metric.compute()
            for name, value in computed.items() if isinstance(computed, Mapping) else [(metric.name, computed)]:
                if name in values or name in self.taken:
                    raise FitError(f"metric {metric.name!r} gives a value {name!r}, a name that the row has for something else")
                values[name] = float(value)
        return values | self.recorded()

    def _keyed(self) -> list[tuple[str, Metric]]:
        """Return the metrics, each with a name that no other has: several may have one name for different values."""
        seen: Counter[str] = Counter()
        found = []
        for metric in self._metrics:
            seen[metric.name] += 1
            found.append((metric.name if seen[metric.name] == 1 else f"{metric.name} {seen[metric.name]}", metric))
        return found

    def _feed(self, outputs: Any, targets: Any) -> None:
        """Let the metrics see what waits, so that a batch can wait that did not go with it; or let them see it too."""
        self._empty_block()
        if not self._block.offer(outputs, targets):
            self._update(self._fed, detach(outputs), targets, [batch_size(targets, outputs)])

    def _empty_block(self) -> None:
        block = self._block.take()
        if block is not None:
            self._update(self._fed, *block)

    def _update(self, metrics: Iterable[Metric], outputs: Any, targets: Any, sizes: list[int]) -> None:
        with torch.no_grad():
            for metric in metrics:
                if hasattr(metric, "update_block"):
                    metric.update_block(outputs, targets, sizes)
                else:
                    metric.update(outputs, targets)


def _state_of(metric: Any, original: Any) -> dict[str, Any]:
    """Return the state of a metric: what its `state_dict` says, else every attribute that is not as in the one it is a copy of."""
    if hasattr(metric, "state_dict"):
        return dict(metric.state_dict())
    given = vars(original)
    return {name: value for name, value in vars(metric).items() if name not in given or given[name] is not value}


def _restore(metric: Any, state: Mapping[str, Any], original: Any) -> None:
    if hasattr(metric, "load_state_dict"):
        metric.load_state_dict(state)
    else:
        given = vars(original)
        vars(metric).update({name: given[name] for name in vars(metric) if name in given} | dict(state))

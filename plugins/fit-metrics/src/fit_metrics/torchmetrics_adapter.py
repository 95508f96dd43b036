"""Metrics of torchmetrics."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor

from fit_core.errors import FitError
from fit_core.state import State
from fit_metrics.arithmetic import Arithmetic
from fit_metrics.flat import flat
from fit_metrics.picking import picked


class TorchMetric(Arithmetic):
    """A `torchmetrics.Metric`, or a `MetricCollection`, whose values have its keys as names (after its own, if it is given one).

    It sees joined batches, so it must treat samples one by one. `validate_args=False` keeps many from waiting for the device.

    Args:
        metric: what is wrapped; each pass has a copy.
        name: of the value; None: the class's in snake case.
        output: which of several outputs to look at.
        target: likewise of the targets.
    """

    costly = False

    def __init__(self, metric: Any, name: str | None = None, *, output: Any = None, target: Any = None) -> None:
        self.metric = metric
        self.usual_name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(metric).__name__).lower()
        self.name: str = name or self.usual_name
        self.output, self.target = output, target
        self.higher_is_better: bool | None = getattr(metric, "higher_is_better", None)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = copy.copy(self)
        other.metric = copy.deepcopy(self.metric, memo)
        return other

    def begin(self, state: State) -> None:
        """Move to where outputs are."""
        self.metric.to(state.device)

    def reset(self) -> None:
        """Forget everything."""
        self.metric.reset()

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in a batch."""
        self.metric.update(picked(self.name, "output", self.output, outputs), picked(self.name, "target", self.target, targets))

    def compute(self) -> dict[str, float]:
        """Return the values by name. Waits for the device."""
        found = self.metric.compute()
        if isinstance(found, Mapping):
            return {name: value for key, each in found.items() for name, value in flat(self._named(str(key)), each).items()}
        return flat(self.name, found)

    def value(self) -> float | None:
        """Return the value for arithmetic. Waits for the device.

        Raises:
            FitError: there is more than one.
        """
        found = self.compute()
        if len(found) != 1:
            raise FitError(f"metric {self.name!r} has several values; arithmetic needs one")
        return next(iter(found.values()))

    def merge(self, other: TorchMetric) -> None:
        """Take in what another instance has seen after it."""
        for own, its in zip(parts(self.metric).values(), parts(other.metric).values(), strict=True):
            own.merge_state(its)

    def directions(self) -> dict[str, bool | None]:
        """Return the names, each with whether more is better."""
        named = parts(self.metric)
        if list(named) == [""]:
            return {self.name: self.higher_is_better}
        return {self._named(name): getattr(metric, "higher_is_better", None) for name, metric in named.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return what was taken in: by the metric, and by those that it is made of."""
        return {name: taken_in(each) for name, each in self._modules().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        for name, each in self._modules().items():
            for key, value in state.get(name, {}).items():
                setattr(each, key, value)

    def _modules(self) -> dict[str, Any]:
        parts(self.metric)  # of a collection, some have their state from others of their group when they are asked for
        return {name: each for name, each in self.metric.named_modules() if hasattr(each, "add_state")}

    def _named(self, key: str) -> str:
        return key if self.name == self.usual_name else f"{self.name}_{key}"


def taken_in(metric: Any) -> dict[str, Any]:
    """Return the numbers and tensors that one metric of torchmetrics has as attributes: its states, and what wrappers keep beside."""
    return {
        name: value for name, value in vars(metric).items() if is_number(value) or (isinstance(value, list) and all(map(is_number, value)))
    }


def is_number(value: Any) -> bool:
    """Tell whether a value is a number or a tensor."""
    return value is None or isinstance(value, (Tensor, bool, int, float))


def parts(metric: Any) -> dict[str, Any]:
    """Return the metrics of a collection by name; of a single one, itself under an empty name."""
    if not hasattr(metric, "compute_groups"):
        return {"": metric}
    return dict(metric.items())

"""Metrics of torchmetrics."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any, Self

from fit_core.errors import FitError
from fit_core.state import State
from fit_metrics.arithmetic import Arithmetic
from fit_metrics.picking import picked


class TorchMetric(Arithmetic):
    """A `torchmetrics.Metric`, or a `MetricCollection`, whose values have its keys as names.

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
        self.name: str = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(metric).__name__).lower()
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
            return {name: value for key, each in found.items() for name, value in flat(str(key), each).items()}
        return flat(self.name, found)

    def value(self) -> float:
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
        return {name: getattr(metric, "higher_is_better", None) for name, metric in named.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return what was taken in."""
        return {name: {"state": dict(each.metric_state), "updates": each._update_count} for name, each in parts(self.metric).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        for name, each in parts(self.metric).items():
            for key, value in state[name]["state"].items():
                setattr(each, key, value)
            each._update_count = state[name]["updates"]


def parts(metric: Any) -> dict[str, Any]:
    """Return the metrics of a collection by name; of a single one, itself under an empty name."""
    if not hasattr(metric, "compute_groups"):
        return {"": metric}
    return dict(metric.items(copy_state=False))


def flat(name: str, value: Any) -> dict[str, float]:
    """Return the elements of a value as numbers, each with a name."""
    if isinstance(value, Mapping):
        return {f"{name}_{key}": float(each) for key, each in value.items()}
    if not value.dim():
        return {name: float(value)}
    return {f"{name}_{i}": each for i, each in enumerate(value.flatten().tolist())}

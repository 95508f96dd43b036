"""Metrics of a whole pass: any function of all outputs and targets, such as the scores of scikit-learn."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, Self

import torch
from torch import Tensor

from fit_core.errors import FitError, listed
from fit_metrics.arithmetic import Arithmetic
from fit_metrics.flat import flat
from fit_metrics.gathered import LIMIT, Gathered
from fit_metrics.leaves import Classes, same_shape, told
from fit_metrics.picking import picked
from fit_metrics.readings import ACTIVATIONS, Activation, Kind, Reading, reading_of

On = Literal["outputs", "labels", "probabilities"]


class EpochMetric(Arithmetic):
    """A function of all outputs and targets of a pass, which are gathered on the CPU.

    Args:
        function: `(outputs, targets) -> number`, a vector (one value per element, `name_0`), or a matrix (`name_0_0`).
        name: of the value; None: the function's own.
        higher_is_better: whether more is better; None: what the function's attribute says.
        on: what is gathered of outputs: as they are; class indices, or 0 and 1 for events; or probabilities.
        activation: "softmax", "sigmoid", "exp" or "none": what makes probabilities of outputs; None: what the criterion says.
        threshold: from which probability on an event counts as 1.
        ignore_index: targets that don't count; None: what the criterion ignores.
        max_bytes: how much is gathered at most.
        running: compute it for `state.metrics` too, on what there is so far.
        output: which of several outputs to look at.
        target: likewise of the targets.

    Raises:
        FitError: an unknown `on` or `activation`.
    """

    def __init__(
        self,
        function: Any,
        name: str | None = None,
        *,
        higher_is_better: bool | None = None,
        on: On = "outputs",
        activation: str | None = None,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        max_bytes: int = LIMIT,
        running: bool = False,
        output: Any = None,
        target: Any = None,
    ) -> None:
        if on not in ("outputs", "labels", "probabilities"):
            raise FitError(f"on must be 'outputs', 'labels' or 'probabilities', not {on!r}")
        if activation is not None and activation not in ACTIVATIONS:
            raise FitError(f"activation must be one of {listed(ACTIVATIONS)}, not {activation!r}")
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", type(function).__name__))
        self.higher_is_better = getattr(function, "higher_is_better", None) if higher_is_better is None else higher_is_better
        self.on, self.activation, self.threshold, self.ignore_index = on, activation, threshold, ignore_index
        self.max_bytes, self.output, self.target = max_bytes, output, target
        self.costly = not running
        self._reading: Reading | None = None
        self._classes: int | None = None
        self._gathered = Gathered(max_bytes, f"metric {self.name!r}")

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = copy.copy(self)
        other._gathered = Gathered(self.max_bytes, f"metric {self.name!r}")
        return other

    def for_loss(self, loss_fn: Any) -> Self:
        """Return the metric to use with a loss function."""
        other = copy.deepcopy(self)
        other._reading = reading_of(loss_fn)
        return other

    def reset(self) -> None:
        """Forget everything."""
        self._gathered.reset()
        self._classes = None

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in a batch.

        Raises:
            FitError: outputs and targets are no tensors, or do not fit to what is asked of them.
        """
        outputs, targets = picked(self.name, "output", self.output, outputs), picked(self.name, "target", self.target, targets)
        if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
            raise FitError(
                f"metric {self.name!r} needs tensors, not {told(outputs)} and {told(targets)}; output= and target= pick among several"
            )
        self._gathered.add(*((outputs, targets) if self.on == "outputs" else self._read(outputs, targets)))

    def compute(self) -> dict[str, float]:
        """Return the value, or several by name. Waits for the device."""
        value = self._called()
        return flat(self.name, value)

    def value(self) -> float | None:
        """Return the value for arithmetic. Waits for the device.

        Raises:
            FitError: there is more than one.
        """
        found = self.compute()
        if list(found) != [self.name]:
            raise FitError(f"metric {self.name!r} has several values; arithmetic needs one")
        return found[self.name]

    def merge(self, other: EpochMetric) -> None:
        """Take in what another instance has seen after it."""
        self._gathered.merge(other._gathered)
        self._classes = self._classes or other._classes

    def directions(self) -> dict[str, bool | None]:
        """Return the name, and whether more is better."""
        return {self.name: self.higher_is_better}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that was gathered. Waits for the device."""
        return {**self._gathered.state_dict(), "classes": self._classes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._gathered.load_state_dict(dict(state))
        self._classes = state["classes"]

    def _called(self) -> Any:
        joined = self._gathered.joined()
        if not joined:
            return math.nan
        outputs, targets, *counted = joined
        if counted:
            outputs, targets = outputs[counted[0]], targets[counted[0]]
            if outputs.is_floating_point() and bool(outputs.isnan().any()):
                return math.nan
        if not hasattr(self.function, "of_classes"):
            return self.function(outputs, targets)
        try:
            return self.function.of_classes(outputs, targets, self._classes)
        except ValueError as error:
            said = " ".join(str(error).split())
            raise FitError(f"metric {self.name!r} cannot be computed of {told(outputs)} and {told(targets)}: {said}") from error

    def _read(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """Return labels or probabilities, targets as indices or events, and which count."""
        kind, activation, ignored = self._way(outputs, targets)
        if kind == "classes":
            outputs, targets = Classes(self.name, ignored).indices(outputs, targets)
            self._classes = outputs.shape[1]
            found = (
                outputs.argmax(dim=1).to(torch.int32) if self.on == "labels" else activated(self.name, activation, outputs).movedim(1, -1)
            )
            found = found.flatten() if self.on == "labels" else found.flatten(0, -2)
            return found, targets.flatten().to(torch.int32), (targets != ignored).flatten()
        same_shape(self.name, outputs, targets)
        if outputs.dim() != 2 or outputs.shape[1] == 1:  # of two dimensions, the second are labels
            outputs, targets = outputs.flatten(), targets.flatten()
        found = activated(self.name, activation, outputs)
        counted = (targets != ignored).all(dim=tuple(range(1, targets.dim()))) if targets.dim() > 1 else targets != ignored
        return (found > self.threshold).to(torch.uint8) if self.on == "labels" else found, (targets > 0.5).to(torch.uint8), counted

    def _way(self, outputs: Tensor, targets: Tensor) -> tuple[Kind, Activation | None, int]:
        """Return whether outputs are of classes or events, and how they are to be read."""
        reading = self._reading
        ignored = self.ignore_index if self.ignore_index is not None else -100 if reading is None else reading.ignore_index
        if self.activation is not None:
            activation = ACTIVATIONS[self.activation]
            return "binary" if outputs.shape == targets.shape else "classes", activation, ignored
        if reading is not None and reading.kind in ("classes", "binary"):
            return reading.kind, reading.activation, ignored
        if reading is None and self.on == "labels" and outputs.dim() == targets.dim() + 1 and not targets.is_floating_point():
            return "classes", None, ignored
        raise FitError(
            f"metric {self.name!r} cannot know what this loss function takes outputs for; pass activation= ({listed(ACTIVATIONS)})"
        )


def activated(name: str, activation: Activation | None, outputs: Tensor) -> Tensor:
    """Return probabilities.

    Raises:
        FitError: how to make them is not known.
    """
    if activation is None:
        raise FitError(f"metric {name!r} cannot make probabilities of these outputs; pass activation= ({listed(ACTIVATIONS)})")
    return activation(outputs)


def epoch_metric(function: Any = None, **options: Any) -> Any:
    """Make a metric of a function of all outputs and targets of a pass; usable as a decorator.

    Args:
        function: `(outputs, targets) -> number`; None: return a decorator.
        **options: those of `EpochMetric`.
    """
    return partial(EpochMetric, **options) if function is None else EpochMetric(function, **options)

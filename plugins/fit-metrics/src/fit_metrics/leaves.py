"""Leaves: functions (outputs, targets) that return a value for each sample, pixel or token, and weights if some don't count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fit_core.errors import FitError


def told(value: object) -> str:
    """Describe a value for an error."""
    return f"{tuple(value.shape)} {value.dtype}".replace("torch.", "") if isinstance(value, Tensor) else type(value).__name__


@dataclass(frozen=True, slots=True)
class Classes:
    """Looks at outputs as scores of classes.

    outputs: (batch, classes, ...); targets: (batch, ...) class indices, or (batch, classes, ...) probabilities of classes.

    Args:
        name: of the metric, for errors.
        ignore_index: targets that don't count.
        class_dim: the dimension of the classes: -1 for outputs (batch, tokens, classes).
    """

    name: str
    ignore_index: int = -100
    class_dim: int = 1
    per_sample = True

    def classes(self, outputs: Tensor) -> int:
        """Return how many classes outputs have."""
        return outputs.shape[self.class_dim]

    def indices(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs with classes in dimension 1, and targets as class indices.

        Raises:
            FitError: they don't fit to each other.
        """
        if isinstance(outputs, Tensor) and isinstance(targets, Tensor) and outputs.dim() > 1 and self.classes(outputs) > 1:
            outputs = outputs if self.class_dim == 1 else outputs.movedim(self.class_dim, 1)
            if targets.is_floating_point():
                targets = targets if self.class_dim == 1 or targets.dim() < 2 else targets.movedim(self.class_dim, 1)
                if targets.shape == outputs.shape:
                    return outputs, targets.argmax(dim=1)
            elif targets.shape == outputs.shape[:1] + outputs.shape[2:]:
                return outputs, targets
        raise FitError(
            f"metric {self.name!r} needs outputs (batch, classes, ...) and class indices (batch, ...) or probabilities of classes, not "
            f"{told(outputs)} and {told(targets)}; output=, target= and class_dim= choose others, binary_accuracy is for events"
        )


@dataclass(frozen=True, slots=True)
class Correct(Classes):
    """Whether the highest score is at the target."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return (batch, ...) whether each is right, and whether it counts."""
        outputs, targets = self.indices(outputs, targets)
        return outputs.argmax(dim=1) == targets, targets != self.ignore_index


@dataclass(frozen=True, slots=True)
class TopK(Classes):
    """Whether the target is among the `k` highest scores."""

    k: int = 5

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return (batch, ...) whether each is right, and whether it counts.

        Raises:
            FitError: there are fewer classes.
        """
        outputs, targets = self.indices(outputs, targets)
        if outputs.shape[1] < self.k:
            raise FitError(f"metric {self.name!r} needs at least {self.k} classes; the outputs have {outputs.shape[1]}")
        best = outputs.topk(self.k, dim=1, sorted=False).indices
        return (best == targets.unsqueeze(1)).any(dim=1), targets != self.ignore_index


@dataclass(frozen=True, slots=True)
class Decided:
    """Whether an event was foretold: a probability above a threshold where the target is above a half, one not above it elsewhere.

    outputs, targets: of one shape, one value for each event.

    Args:
        name: of the metric, for errors.
        threshold: of the probability.
        logits: outputs are logits.
        ignore_index: targets that don't count; None: all do.
    """

    name: str
    threshold: float = 0.5
    logits: bool = False
    ignore_index: int | None = None
    per_sample = True

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return whether each is right, and whether it counts."""
        same_shape(self.name, outputs, targets)
        threshold = math.log(self.threshold / (1 - self.threshold)) if self.logits else self.threshold
        right = (outputs > threshold) == (targets > 0.5)
        return right if self.ignore_index is None else (right, targets != self.ignore_index)


@dataclass(frozen=True, slots=True)
class Squared:
    """The square of the error of each value. outputs, targets: of one shape."""

    name: str
    per_sample = True

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the squared errors."""
        same_shape(self.name, outputs, targets)
        return gaps(outputs, targets).square()


@dataclass(frozen=True, slots=True)
class Absolute:
    """The magnitude of the error of each value. outputs, targets: of one shape."""

    name: str
    per_sample = True

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the errors."""
        same_shape(self.name, outputs, targets)
        return gaps(outputs, targets).abs()


@dataclass(frozen=True, slots=True)
class Pairs:
    """Each target beside the square of its error. outputs, targets: of one shape."""

    name: str
    per_sample = True

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return values (batch, ..., 2) in double precision."""
        same_shape(self.name, outputs, targets)
        wide = torch.float32 if targets.device.type == "mps" else torch.float64
        targets = targets.to(wide)
        return torch.stack([targets, (outputs.to(wide) - targets).square()], dim=-1)


def gaps(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return outputs - targets, in single precision at least."""
    wide = torch.promote_types(torch.promote_types(outputs.dtype, targets.dtype), torch.float32)
    return outputs.to(wide) - targets.to(wide)


def same_shape(name: str, outputs: object, targets: object) -> None:
    """Refuse shapes that would be broadcast.

    Raises:
        FitError: the shapes differ, or one is no tensor.
    """
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor) or outputs.shape != targets.shape:
        raise FitError(f"metric {name!r} needs outputs and targets of one shape, not {told(outputs)} and {told(targets)}")

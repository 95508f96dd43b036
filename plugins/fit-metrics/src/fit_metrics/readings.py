"""How outputs are to be read, which the criterion says: as scores of classes, logits of events, or plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from fit_core.metrics import ignored_by

Kind = Literal["classes", "binary", "squared", "absolute"]
Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Reading:
    """What a criterion takes outputs for.

    Attributes:
        kind: "classes" (scores in dimension 1), "binary" (one output per event), or values with a "squared" or "absolute" error.
        activation: turns outputs into probabilities; None if the criterion does not say how.
        ignore_index: the target that does not count.
    """

    kind: Kind
    activation: Activation | None = None
    ignore_index: int = -100

    @property
    def of_logits(self) -> bool:
        """Whether outputs are logits of events."""
        return self.activation is sigmoid


def softmax(outputs: Tensor) -> Tensor:
    """Return probabilities of classes (batch, classes, ...) from logits."""
    return outputs.float().softmax(dim=1)


def sigmoid(outputs: Tensor) -> Tensor:
    """Return probabilities from logits."""
    return outputs.float().sigmoid()


def exponential(outputs: Tensor) -> Tensor:
    """Return probabilities from their logarithms."""
    return outputs.float().exp()


def as_they_are(outputs: Tensor) -> Tensor:
    """Return outputs that are probabilities."""
    return outputs


ACTIVATIONS: dict[str, Activation] = {"softmax": softmax, "sigmoid": sigmoid, "exp": exponential, "none": as_they_are}

CRITERIA: tuple[tuple[type[nn.Module], Callable[..., Tensor], Kind, Activation | None], ...] = (
    (nn.CrossEntropyLoss, F.cross_entropy, "classes", softmax),
    (nn.NLLLoss, F.nll_loss, "classes", exponential),
    (nn.MultiMarginLoss, F.multi_margin_loss, "classes", None),
    (nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits, "binary", sigmoid),
    (nn.BCELoss, F.binary_cross_entropy, "binary", as_they_are),
    (nn.MSELoss, F.mse_loss, "squared", None),
    (nn.L1Loss, F.l1_loss, "absolute", None),
)


def reading_of(loss_fn: Any) -> Reading | None:
    """Return what a criterion of torch, or a subclass of one, takes outputs for; None if it is unknown."""
    function = loss_fn
    while isinstance(function, partial):
        function = function.func
    for module, functional, kind, activation in CRITERIA:
        if isinstance(function, module) or function is functional:
            return Reading(kind, activation, ignored_by(loss_fn))
    return None

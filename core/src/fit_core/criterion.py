"""The loss of a batch, and the number of terms it is a mean of.

A mean of means is not the mean when batches differ in size. So every loss has a weight: the number of terms its criterion
averaged over, which for torch's own criteria is known, and for any other is the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.loss import _Loss

from fit_core.batch import batch_size, names_state
from fit_core.errors import FitError
from fit_core.optimizers import names_of
from fit_core.state import State

Weight = int | float | Tensor
Rule = Callable[[Any, Any], Weight | None]
COUNTING = (torch.float32, torch.float64)
"""Types in which a sum of weights is good enough."""

ELEMENTWISE: tuple[type[nn.Module], ...] = (
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.GaussianNLLLoss,
    nn.HingeEmbeddingLoss,
    nn.HuberLoss,
    nn.L1Loss,
    nn.MSELoss,
    nn.PoissonNLLLoss,
    nn.SmoothL1Loss,
    nn.SoftMarginLoss,
)
"""Criteria whose mean is over all elements."""

ELEMENTWISE_FUNCTIONS = (
    F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits,
    F.gaussian_nll_loss,
    F.huber_loss,
    F.l1_loss,
    F.mse_loss,
    F.poisson_nll_loss,
    F.smooth_l1_loss,
    F.soft_margin_loss,
)


class Criterion:
    """Calls a loss function and weighs its result.

    Args:
        loss_fn: `loss_fn(outputs, targets)`, with `state` by keyword if its signature names it; None if the
            outputs carry a loss of their own (`outputs.loss` or `outputs["loss"]`).
    """

    def __init__(self, loss_fn: Callable[..., Tensor] | None) -> None:
        self.loss_fn = loss_fn
        given = loss_fn.keywords if isinstance(loss_fn, partial) else {}
        self.sums = given.get("reduction", getattr(loss_fn, "reduction", None)) == "sum"
        self._extra = loss_fn is not None and names_state(loss_fn)
        self._rule = weight_rule(loss_fn)
        made = loss_fn.func if isinstance(loss_fn, partial) else loss_fn
        self._is_counted = isinstance(made, (nn.CrossEntropyLoss, nn.NLLLoss)) or made in (F.cross_entropy, F.nll_loss)
        self._needs_targets = isinstance(made, _Loss) or getattr(made, "__module__", None) == F.__name__

    def __call__(self, state: State) -> Tensor:
        """Return the loss of the batch in `state`; set `state.weight` unless the loss function did."""
        outputs, targets = state.outputs, state.targets
        if targets is None and self._needs_targets:
            name = names_of(self.loss_fn)
            raise FitError(f"the batch has no targets, and {name} needs them: data must give (inputs, targets); predict works without")
        if self.loss_fn is None:
            loss = carried_loss(outputs, state)
        else:
            loss = self.loss_fn(outputs, targets, state=state) if self._extra else self.loss_fn(outputs, targets)
        if state.weight is None:
            counted = (
                getattr(getattr(loss, "grad_fn", None), "_saved_total_weight", None) if self._is_counted else None
            )  # torch has done it
            is_good = counted is not None and counted.dtype in COUNTING
            state.weight = state._counted = counted if is_good else self._rule(outputs, targets)
        return loss


def carried_loss(outputs: Any, state: State) -> Tensor:
    """Return the loss that a model put into its outputs; zero without data or without outputs, for plugins to add to.

    Raises:
        FitError: there is none.
    """
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
    if not isinstance(loss, Tensor) and (state.inputs is None or (isinstance(outputs, tuple) and not outputs)):
        return torch.zeros((), device=state.device, requires_grad=True)
    if not isinstance(loss, Tensor):
        raise FitError("the trainer has no loss_fn, and the model's outputs carry no loss (outputs.loss or outputs['loss'])")
    return loss


def weight_rule(loss_fn: Callable[..., Tensor] | None) -> Rule:
    """Return how to count the terms that a loss function averages over; None as a count means the samples."""
    if isinstance(loss_fn, (nn.CrossEntropyLoss, nn.NLLLoss)):
        criterion = loss_fn  # its weight is read at each call: the module may have been moved
        return lambda outputs, targets: class_terms(outputs, targets, criterion.weight, criterion.ignore_index)
    loss_fn, given = (loss_fn.func, loss_fn.keywords) if isinstance(loss_fn, partial) else (loss_fn, {})
    if loss_fn in (F.cross_entropy, F.nll_loss):
        return lambda outputs, targets: class_terms(outputs, targets, given.get("weight"), given.get("ignore_index", -100))
    if isinstance(loss_fn, ELEMENTWISE) or loss_fn in ELEMENTWISE_FUNCTIONS:
        return element_terms
    if isinstance(loss_fn, nn.KLDivLoss) and loss_fn.reduction == "mean":
        return element_terms
    return lambda *_: None


def class_terms(outputs: Any, targets: Any, weights: Tensor | None, ignored: int) -> Weight | None:
    """Count the targets of a classification, without ignored ones, weighted by class; None if they are nested.

    Args:
        outputs: (batch, classes, ...) scores.
        targets: (batch, ...) class indices, or (batch, classes, ...) probabilities.
        weights: (classes,) or None.
        ignored: the index that does not count.
    """
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return None
    if targets.is_floating_point():
        return targets.numel() // max(outputs.shape[1 if outputs.dim() > 1 else 0], 1)
    counted = targets != ignored
    if weights is None:
        return torch.count_nonzero(counted)
    weight: Tensor = (weights[torch.where(counted, targets, 0)] * counted).sum()
    return weight


def element_terms(outputs: Any, targets: Any) -> Weight | None:
    """Count the elements of an element-wise loss."""
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return None
    if outputs.shape == targets.shape:
        return outputs.numel()
    elements: int = math.prod(torch.broadcast_shapes(outputs.shape, targets.shape))
    return elements


def terms(state: State) -> Weight:
    """The weight of the batch in `state`: what was set, or the number of samples."""
    if state.weight is not None:
        return state.weight
    return batch_size(state.targets, state.inputs, state.outputs)

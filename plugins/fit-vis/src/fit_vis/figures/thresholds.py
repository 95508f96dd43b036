"""Points of ROC and precision-recall curves, and the areas under them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Curve:
    """A curve over thresholds.

    Attributes:
        x: (points,) ascending or, of precision and recall, by falling threshold.
        y: (points,).
        area: under it; NaN if the data has only one of the two classes.
        share: of samples that are positive.
    """

    x: Tensor
    y: Tensor
    area: float
    share: float


def counts(scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Count true and false positives at every threshold, from the highest score down; equal scores are one threshold.

    Args:
        scores: (samples,) more is more likely positive.
        truth: (samples,) booleans.

    Returns:
        True positives and false positives, (thresholds,) each, in float64.
    """
    order = scores.argsort(descending=True, stable=True)
    scores, truth = scores[order], truth[order].double()
    last = torch.ones(len(scores), dtype=torch.bool)
    last[:-1] = scores[1:] != scores[:-1]
    return truth.cumsum(0)[last], (1 - truth).cumsum(0)[last]


def roc(scores: Tensor, truth: Tensor) -> Curve:
    """Return the receiver operating characteristic: true over false positive rate, from (0, 0) to (1, 1), area by trapezoids.

    Args:
        scores: (samples,).
        truth: (samples,) booleans.
    """
    true, false = (torch.cat([torch.zeros(1, dtype=torch.float64), found]) for found in counts(scores, truth))
    x, y = false / false[-1], true / true[-1]
    return Curve(x, y, float(torch.trapezoid(y, x)), float(truth.double().mean()))


def precision_recall(scores: Tensor, truth: Tensor) -> Curve:
    """Return precision (y) over recall (x) by falling threshold; the area is the average precision, without interpolation.

    Args:
        scores: (samples,).
        truth: (samples,) booleans.
    """
    true, false = counts(scores, truth)
    recall, precision = true / true[-1:], true / (true + false)
    steps = torch.diff(recall, prepend=torch.zeros(min(len(recall), 1), dtype=torch.float64))
    area = float((steps * precision).sum()) if len(recall) else torch.nan
    return Curve(recall, precision, area, float(truth.double().mean()))


def one_by_one(outputs: Tensor, targets: Tensor) -> dict[int | None, tuple[Tensor, Tensor]]:
    """Take outputs and targets apart into binary problems.

    Args:
        outputs: (samples,) or (samples, 1) scores of an event; (samples, 2) of two classes; (samples, classes) of several.
        targets: (samples,) class indices; or 0 (or -1) and 1 in the shape of the outputs: an event, or several labels.

    Returns:
        Scores and truth by class: one under None for an event or the second of two classes, else one for each class (against the rest) or
        label. Of classes the scores are probabilities: outputs that are none go through a softmax. Targets below 0 of classes don't count.
    """
    outputs = outputs.double()
    if outputs.dim() == 1 or outputs.shape[1] == 1:
        return {None: (outputs.flatten(), targets.flatten() > 0)}
    if targets.dim() == outputs.dim():
        return {i: (outputs[:, i], targets[:, i] > 0) for i in range(outputs.shape[1])}
    counted = targets >= 0
    outputs, targets = probabilities(outputs[counted]), targets[counted]
    if outputs.shape[1] == 2:
        return {None: (outputs[:, 1], targets == 1)}
    return {i: (outputs[:, i], targets == i) for i in range(outputs.shape[1])}


def probabilities(outputs: Tensor) -> Tensor:
    """Return probabilities of classes: outputs that are some already as they are, logits and log-probabilities through a softmax.

    Args:
        outputs: (samples, classes).
    """
    are = bool((outputs >= 0).all()) and bool(((outputs.sum(1) - 1).abs() < 1e-3).all())
    return outputs if are else outputs.softmax(1)

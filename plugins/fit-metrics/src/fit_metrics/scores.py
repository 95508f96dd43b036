"""The scores of scikit-learn, as metrics of a whole pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from torch import Tensor

from fit_core.errors import FitError
from fit_metrics.epoch_metric import EpochMetric, On

WAYS: dict[str, On] = {
    **dict.fromkeys(
        (
            "accuracy_score",
            "balanced_accuracy_score",
            "cohen_kappa_score",
            "confusion_matrix",
            "f1_score",
            "fbeta_score",
            "hamming_loss",
            "jaccard_score",
            "matthews_corrcoef",
            "multilabel_confusion_matrix",
            "precision_score",
            "recall_score",
            "zero_one_loss",
        ),
        "labels",
    ),
    **dict.fromkeys(
        ("average_precision_score", "brier_score_loss", "d2_log_loss_score", "log_loss", "roc_auc_score", "top_k_accuracy_score"),
        "probabilities",
    ),
    **dict.fromkeys(
        (
            "d2_absolute_error_score",
            "d2_pinball_score",
            "d2_tweedie_score",
            "explained_variance_score",
            "max_error",
            "mean_absolute_error",
            "mean_absolute_percentage_error",
            "mean_gamma_deviance",
            "mean_pinball_loss",
            "mean_poisson_deviance",
            "mean_squared_error",
            "mean_squared_log_error",
            "mean_tweedie_deviance",
            "median_absolute_error",
            "r2_score",
            "root_mean_squared_error",
            "root_mean_squared_log_error",
        ),
        "outputs",
    ),
}
"""What the functions of scikit-learn compare: labels, labels with probabilities, or values."""
OF_ONE_CLASS = ("average_precision_score", "brier_score_loss", "roc_auc_score", "top_k_accuracy_score")
"""Those that are given the probability of the second class if there are two."""
TOLD_LABELS = ("d2_log_loss_score", "log_loss", "roc_auc_score", "top_k_accuracy_score")
"""Those that are told which classes there are: data need not have samples of each."""
BY_CLASS = ("confusion_matrix", "multilabel_confusion_matrix")
"""Those that have a place for each class; others do with `average=None`."""
PROBABILITIES = tuple(name for name, on in WAYS.items() if on == "probabilities")
WORSE = ("_loss", "_error", "_deviance")
"""How functions end of which less is better; scikit-learn says so of its names."""


@dataclass(frozen=True)
class Score:
    """Calls a function of scikit-learn with truth first, as arrays."""

    function: Callable[..., Any]
    name: str

    def of_classes(self, outputs: Tensor, targets: Tensor, classes: int | None) -> Any:
        """Return what the function says of outputs and targets.

        Args:
            outputs: labels, probabilities or values of all samples.
            targets: likewise.
            classes: how many there are; None if these are events or values.
        """
        found, truth = (each.float() if each.is_floating_point() else each for each in (outputs, targets))
        if self.name in OF_ONE_CLASS and found.dim() == 2 and found.shape[1] == 2 and truth.dim() == 1:
            found = found[:, 1]
        given = self.function.keywords if isinstance(self.function, partial) else {}
        labels = {} if "labels" in given or not self._takes_labels(given, classes, truth) else {"labels": list(range(classes or 2))}
        return self.function(truth.numpy(), found.numpy(), **labels)

    def _takes_labels(self, given: Mapping[str, Any], classes: int | None, truth: Tensor) -> bool:
        """Tell whether the function is to be told which labels there are."""
        if self.name in BY_CLASS or ("average" in given and given["average"] is None and self.name not in PROBABILITIES):
            return classes is not None
        return self.name in TOLD_LABELS and truth.dim() == 1


def score(function: Callable[..., Any], name: str | None = None, *, on: On | None = None, **options: Any) -> EpochMetric:
    """Make a metric of a function `(y_true, y_pred)` of scikit-learn, or of one like it.

    Args:
        function: itself, or a `partial` of it with options.
        name: of the value; None: the function's own.
        on: what it is given: "labels", "probabilities" or "outputs"; None: what is known of the functions of scikit-learn.
        **options: those of `EpochMetric`.

    Raises:
        FitError: it is not known what the function compares.
    """
    inner = function
    while isinstance(inner, partial):
        inner = inner.func
    own = str(getattr(inner, "__name__", type(inner).__name__))
    on = WAYS.get(own) if on is None else on
    if on is None:
        raise FitError(f"what does {own} compare? pass score({own}, on='labels'), 'probabilities' or 'outputs'")
    if "higher_is_better" not in options and own in WAYS and own not in BY_CLASS:
        options["higher_is_better"] = not own.endswith(WORSE)
    return EpochMetric(Score(function, own), name or own, on=on, **options)


def _function(name: str, function: str) -> Callable[..., Any]:
    """Return a function of scikit-learn for a metric of this name.

    Raises:
        FitError: it is not installed.
    """
    try:
        found: Callable[..., Any] = getattr(import_module("sklearn.metrics"), function)
    except ImportError:
        raise FitError(f"metric {name!r} is one of scikit-learn: pip install 'fit-metrics[sklearn]'") from None
    return found


@dataclass(frozen=True)
class Averaged(Score):
    """Takes the second of two classes, or the event, and of several classes or labels their mean (macro average)."""

    def of_classes(self, outputs: Tensor, targets: Tensor, classes: int | None) -> Any:
        """Return what the function says of labels."""
        average = "binary" if targets.dim() == 1 and classes in (None, 2) else "macro"
        return self.function(targets.numpy(), outputs.numpy(), average=average, zero_division=0)


@dataclass(frozen=True)
class OneByOne(Score):
    """Takes the second of two classes, or the event, and of several classes the mean of those that the data has, each against the rest."""

    def of_classes(self, outputs: Tensor, targets: Tensor, classes: int | None) -> Any:
        """Return what the function says of probabilities."""
        if classes is None or classes == 2:
            return super().of_classes(outputs, targets, classes)
        truth, found = targets.numpy(), outputs.float().numpy()
        there = [i for i in range(classes) if 0 < (truth == i).sum() < len(truth)]
        return sum(self.function(truth == i, found[:, i]) for i in there) / len(there) if there else math.nan


def f1() -> EpochMetric:
    """The F1 score: of events or of the second of two classes; of several classes their mean (macro average)."""
    return EpochMetric(Averaged(_function("f1", "f1_score"), "f1_score"), "f1", on="labels", higher_is_better=True)


def precision() -> EpochMetric:
    """The precision: of events or of the second of two classes; of several classes their mean (macro average)."""
    return EpochMetric(
        Averaged(_function("precision", "precision_score"), "precision_score"), "precision", on="labels", higher_is_better=True
    )


def recall() -> EpochMetric:
    """The recall: of events or of the second of two classes; of several classes their mean (macro average)."""
    return EpochMetric(Averaged(_function("recall", "recall_score"), "recall_score"), "recall", on="labels", higher_is_better=True)


def roc_auc() -> EpochMetric:
    """The area under the ROC curve: of events or of the second of two classes; of several classes the mean of each against the rest."""
    function = OneByOne(_function("roc_auc", "roc_auc_score"), "roc_auc_score")
    return EpochMetric(function, "roc_auc", on="probabilities", higher_is_better=True)


def average_precision() -> EpochMetric:
    """The area under the precision-recall curve: of events or of the second of two classes; of several the mean."""
    function = OneByOne(_function("average_precision", "average_precision_score"), "average_precision_score")
    return EpochMetric(function, "average_precision", on="probabilities", higher_is_better=True)

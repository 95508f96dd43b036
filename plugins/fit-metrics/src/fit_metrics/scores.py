"""The scores of scikit-learn, as metrics of a whole pass."""

from __future__ import annotations

from collections.abc import Callable
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
WORSE = ("_loss", "_error", "_deviance")
"""How functions end of which less is better; scikit-learn says so of its names."""


@dataclass(frozen=True)
class Score:
    """Calls a function of scikit-learn with truth first, as arrays."""

    function: Callable[..., Any]
    name: str

    def __call__(self, outputs: Tensor, targets: Tensor) -> Any:
        """Return what the function says."""
        found = outputs.float() if outputs.is_floating_point() else outputs
        if self.name in OF_ONE_CLASS and found.dim() == 2 and found.shape[1] == 2 and targets.dim() == 1:
            found = found[:, 1]
        classes = range(found.shape[1]) if found.dim() == 2 and targets.dim() == 1 else range(2)
        labels = {"labels": list(classes)} if self.name in TOLD_LABELS and not has_keyword(self.function, "labels") else {}
        return self.function(targets.numpy(), found.numpy(), **labels)


def has_keyword(function: Any, name: str) -> bool:
    """Tell whether a `partial` gives a keyword already."""
    return isinstance(function, partial) and (name in function.keywords or has_keyword(function.func, name))


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
    if "higher_is_better" not in options and own not in ("confusion_matrix", "multilabel_confusion_matrix"):
        options["higher_is_better"] = not own.endswith(WORSE)
    return EpochMetric(Score(function, own), name or own, on=on, **options)


def _named(name: str, function: str, **given: Any) -> EpochMetric:
    try:
        module = import_module("sklearn.metrics")
    except ImportError:
        raise FitError(f"metric {name!r} is one of scikit-learn: pip install 'fit-metrics[sklearn]'") from None
    return score(partial(getattr(module, function), **given), name)


def _averaged(function: str) -> Callable[..., Any]:
    """Return a function of labels that averages over classes, or takes the second class of events."""

    def call(truth: Any, found: Any) -> Any:
        module = import_module("sklearn.metrics")
        events = truth.dtype.name == "uint8" and truth.ndim == 1
        return getattr(module, function)(truth, found, average="binary" if events else "macro", zero_division=0)

    call.__name__ = function
    return call


def f1() -> EpochMetric:
    """The F1 score: of events, or the mean over classes (macro average)."""
    _named("f1", "f1_score")
    return score(_averaged("f1_score"), "f1")


def precision() -> EpochMetric:
    """The precision: of events, or the mean over classes (macro average)."""
    _named("precision", "precision_score")
    return score(_averaged("precision_score"), "precision")


def recall() -> EpochMetric:
    """The recall: of events, or the mean over classes (macro average)."""
    _named("recall", "recall_score")
    return score(_averaged("recall_score"), "recall")


def roc_auc() -> EpochMetric:
    """The area under the ROC curve; of several classes the mean of each against the rest."""
    return _named("roc_auc", "roc_auc_score", multi_class="ovr")


def average_precision() -> EpochMetric:
    """The area under the precision-recall curve; of several classes their mean."""
    return _named("average_precision", "average_precision_score")

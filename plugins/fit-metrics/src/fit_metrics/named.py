"""The metrics that have names: what `metrics=["top_5_accuracy"]` means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fit_core.errors import FitError
from fit_metrics.aggregates import Explained, RootMean
from fit_metrics.batches import RunningMean
from fit_metrics.leaves import Absolute, Correct, Decided, Pairs, Squared, TopK
from fit_metrics.readings import reading_of
from fit_metrics.state_leaves import loss
from fit_metrics.tree import MetricTree


class ByLoss(MetricTree):
    """A tree whose leaf depends on the trainer's loss function.

    Args:
        choose: returns the leaf and the name for a loss function.
    """

    def __init__(self, name: str, choose: Callable[[Any], tuple[Callable[..., Any], str, bool]], **options: Any) -> None:
        super().__init__(choose(None)[0], name, **options)
        self.choose = choose
        self.usual_name = name

    def for_loss(self, loss_fn: Any) -> MetricTree:
        """Return the tree to use with a loss function; a name that was given stays."""
        leaf, name, more = self.choose(loss_fn)
        return self.changed(leaf=leaf, name=name if self.name == self.usual_name else self.name, higher_is_better=more)


def accuracy(output: Any = None, target: Any = None) -> MetricTree:
    """What is right, in the sense of the criterion: the fraction of right classes, or of right yes and no; or the error of values.

    Cross entropy and its kin: `categorical_accuracy`. Binary cross entropy: `binary_accuracy` at a probability of a half, also of
    logits. `MSELoss` and `L1Loss`: their errors, as `mse` and `mae`. Any other loss function: outputs must be (batch, classes, ...)
    and targets class indices.

    Args:
        output: which of several outputs to look at.
        target: likewise of the targets.
    """
    return ByLoss("accuracy", accuracy_for, higher_is_better=True, output=output, target=target)


def accuracy_for(loss_fn: Any) -> tuple[Callable[..., Any], str, bool]:
    """Return leaf, name and direction of the accuracy of a criterion."""
    reading = reading_of(loss_fn)
    if reading is None:
        return Strict("accuracy"), "accuracy", True
    if reading.kind == "classes":
        return Correct("accuracy", reading.ignore_index), "accuracy", True
    if reading.kind == "binary":
        return Decided("accuracy", logits=reading.of_logits), "accuracy", True
    return (Squared("mse"), "mse", False) if reading.kind == "squared" else (Absolute("mae"), "mae", False)


class Strict(Correct):
    """Looks at class indices only: what a loss function that is not known takes probabilities for is not guessed."""

    def __call__(self, outputs: Any, targets: Any) -> Any:
        """Return whether each is right, and whether it counts.

        Raises:
            FitError: outputs and targets are something else.
        """
        if hasattr(targets, "is_floating_point") and not targets.is_floating_point():
            return Correct.__call__(self, outputs, targets)
        raise FitError(
            "metric 'accuracy' cannot know what this loss function takes outputs for; use 'categorical_accuracy', 'binary_accuracy', "
            "'mse', or a function (outputs, targets)"
        )


class Ignoring(MetricTree):
    """A tree of classes, which ignores what the criterion ignores unless it was told."""

    def for_loss(self, loss_fn: Any) -> MetricTree:
        """Return the tree to use with a loss function."""
        reading = reading_of(loss_fn)
        return self if reading is None else self.changed(leaf=replace(self.leaf, ignore_index=reading.ignore_index))


def _of_classes(leaf: Correct | TopK, ignore_index: int | None, output: Any, target: Any) -> MetricTree:
    kind = Ignoring if ignore_index is None else MetricTree
    leaf = leaf if ignore_index is None else replace(leaf, ignore_index=ignore_index)
    return kind(leaf, higher_is_better=True, output=output, target=target)


def categorical_accuracy(ignore_index: int | None = None, class_dim: int = 1, output: Any = None, target: Any = None) -> MetricTree:
    """The fraction of samples (or pixels, or tokens) whose highest score is at the target.

    outputs: (batch, classes, ...); targets: (batch, ...) class indices, or (batch, classes, ...) probabilities, of which the highest
    counts.

    Args:
        ignore_index: targets that don't count; None: what the criterion ignores.
        class_dim: the dimension of the classes; -1 for outputs (batch, tokens, classes).
        output: which of several outputs to look at.
        target: likewise of the targets.
    """
    return _of_classes(Correct("categorical_accuracy", class_dim=class_dim), ignore_index, output, target)


def top_k_accuracy(k: int = 5, ignore_index: int | None = None, class_dim: int = 1, output: Any = None, target: Any = None) -> MetricTree:
    """The fraction of samples whose target is among the `k` highest scores: `top_5_accuracy`.

    Args:
        k: how many.
        ignore_index: as for `categorical_accuracy`, like the others.
        class_dim: see there.
        output: see there.
        target: see there.

    Raises:
        FitError: `k` is below 1.
    """
    if k < 1:
        raise FitError(f"k must be at least 1, not {k}")
    return _of_classes(TopK(f"top_{k}_accuracy", class_dim=class_dim, k=k), ignore_index, output, target)


def top_5_accuracy() -> MetricTree:
    """The fraction of samples whose target is among the 5 highest scores."""
    return top_k_accuracy(5)


def top_10_accuracy() -> MetricTree:
    """The fraction of samples whose target is among the 10 highest scores."""
    return top_k_accuracy(10)


class Events(MetricTree):
    """A tree of yes and no, which takes outputs for logits if the criterion does."""

    def for_loss(self, loss_fn: Any) -> MetricTree:
        """Return the tree to use with a loss function."""
        reading = reading_of(loss_fn)
        return self.changed(leaf=replace(self.leaf, logits=reading is not None and reading.of_logits))


def binary_accuracy(
    threshold: float = 0.5, logits: bool | None = None, ignore_index: int | None = None, output: Any = None, target: Any = None
) -> MetricTree:
    """The fraction of events that are foretold: a probability above the threshold where the target is above a half.

    outputs, targets: of one shape, a value for each event; several labels for a sample are several events.

    Args:
        threshold: of the probability, between 0 and 1.
        logits: whether outputs are logits; None: if the criterion is `BCEWithLogitsLoss`.
        ignore_index: targets that don't count.
        output: which of several outputs to look at.
        target: likewise of the targets.

    Raises:
        FitError: the threshold is not between 0 and 1.
    """
    if not 0 < threshold < 1:
        raise FitError(f"threshold must be between 0 and 1, not {threshold}")
    leaf = Decided("binary_accuracy", threshold, bool(logits), ignore_index)
    return (Events if logits is None else MetricTree)(leaf, higher_is_better=True, output=output, target=target)


def mse(output: Any = None, target: Any = None) -> MetricTree:
    """The mean squared error of all values. outputs, targets: of one shape."""
    return MetricTree(Squared("mse"), higher_is_better=False, output=output, target=target)


def mae(output: Any = None, target: Any = None) -> MetricTree:
    """The mean absolute error of all values. outputs, targets: of one shape."""
    return MetricTree(Absolute("mae"), higher_is_better=False, output=output, target=target)


def rmse(output: Any = None, target: Any = None) -> MetricTree:
    """The root of the mean squared error. outputs, targets: of one shape."""
    return MetricTree(Squared("rmse"), aggregates=[RootMean()], higher_is_better=False, output=output, target=target)


def r2(output: Any = None, target: Any = None) -> MetricTree:
    """The coefficient of determination; the mean over columns. outputs, targets: (batch, ...) of one shape."""
    return MetricTree(Pairs("r2"), aggregates=[Explained()], higher_is_better=True, output=output, target=target)


def running_accuracy() -> MetricTree:
    """The accuracy over the last 50 batches of training."""
    return accuracy().grown(RunningMean())


def running_loss() -> MetricTree:
    """The loss over the last 50 batches of training."""
    return loss().grown(RunningMean())

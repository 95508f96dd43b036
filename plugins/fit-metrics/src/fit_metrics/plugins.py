"""Plugins: metrics by name from the command line, and a picture of confusions."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fit_core import FitError, State, hookimpl
from fit_core.items import Heatmap
from fit_core.metrics import ignored_by
from fit_metrics.leaves import Classes
from fit_metrics.picking import picked

if TYPE_CHECKING:
    from fit_core import Trainer


class Metrics:
    """Adds metrics to those of the trainer: `-p metrics:names=[f1,running_accuracy]`.

    Args:
        names: of metrics, as in `Trainer(metrics=[...])`.

    Raises:
        FitError: there are none.
    """

    passive = True

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise FitError("which metrics? -p metrics:names=[accuracy,f1]")
        self.brings_metrics = tuple(names)


class Confusions:
    """Counts how often each class was taken for each other one, in evaluations. It has no value for the row.

    Args:
        output: which of several outputs to look at.
        target: likewise of the targets.
    """

    name = "confusions"
    higher_is_better: bool | None = None
    costly = True

    def __init__(self, output: Any = None, target: Any = None) -> None:
        self.output, self.target = output, target
        self.ignored = -100
        self.latest: list[Tensor] = []
        self.reset()

    def __deepcopy__(self, memo: dict[int, Any]) -> Confusions:
        other = copy.copy(self)
        other.reset()
        return other

    def for_loss(self, loss_fn: Any) -> Confusions:
        """Return one that ignores what a criterion ignores."""
        other = copy.copy(self)
        other.ignored = ignored_by(loss_fn)
        return other

    def directions(self) -> dict[str, bool | None]:
        """Return no names."""
        return {}

    def reset(self) -> None:
        """Forget everything."""
        self._matrix: Tensor | None = None
        self._evaluates = False

    def begin(self, state: State) -> None:
        """Note whether this is an evaluation."""
        self._evaluates = state.phase != "train"

    def update(self, outputs: Any, targets: Any) -> None:
        """Count a batch."""
        if self._evaluates:
            outputs, targets = picked(self.name, "output", self.output, outputs), picked(self.name, "target", self.target, targets)
            outputs, targets = Classes("confusion-matrix", self.ignored).indices(outputs, targets)
            counts = confusions(outputs.argmax(dim=1), targets, outputs.shape[1], self.ignored)
            self._matrix = counts if self._matrix is None else self._matrix + counts

    def compute(self) -> dict[str, float]:
        """Leave the matrix for the plugin; return no value."""
        if self._matrix is not None:
            self.latest[:] = [self._matrix]
        return {}

    def merge(self, other: Confusions) -> None:
        """Take in what another instance has seen."""
        if other._matrix is not None:
            self._matrix = other._matrix if self._matrix is None else self._matrix + other._matrix

    def state_dict(self) -> dict[str, Any]:
        """Return what was counted."""
        return {"matrix": self._matrix}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._matrix = state["matrix"]


class ConfusionMatrix:
    """Shows how often each class was taken for each other one, after each evaluation: `val_confusion`.

    Rows are the truth, columns what the model says.

    Args:
        classes: their names; none: numbers.
        output: which of several outputs to look at.
        target: likewise of the targets.
    """

    passive = True

    def __init__(self, classes: Sequence[str] = (), output: int | str | None = None, target: int | str | None = None) -> None:
        self.classes = list(classes)
        self._counts = Confusions(output, target)
        self.brings_metrics = (self._counts,)

    @hookimpl
    def on_eval_end(self, trainer: Trainer, state: State) -> None:
        if state.interrupted or not self._counts.latest:
            return
        matrix = self._counts.latest.pop()
        names = self.classes or [str(i) for i in range(len(matrix))]
        if len(names) != len(matrix):
            raise FitError(f"confusion-matrix has {len(names)} names of classes, but the outputs have {len(matrix)} classes")
        prefix = next((name.removesuffix("loss") for name in state.row if name.endswith("_loss")), "")
        trainer.show(f"{prefix}confusion", Heatmap(matrix.cpu(), names, names, "truth", "prediction"))


def confusions(found: Tensor, truth: Tensor, classes: int, ignored: int) -> Tensor:
    """Count each pair of truth and prediction.

    Args:
        found: (batch, ...) class indices.
        truth: likewise.
        classes: how many there are.
        ignored: the target that does not count.

    Returns:
        (classes, classes); rows are the truth.
    """
    counted = (truth != ignored) & (truth >= 0) & (truth < classes)
    places = torch.where(counted, truth * classes + found, 0).flatten()
    zeros = torch.zeros(classes * classes, dtype=torch.int64, device=found.device)
    return zeros.index_add_(0, places, counted.flatten().to(torch.int64)).reshape(classes, classes)

"""Plugins: metrics by name from the command line, and a picture of confusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fit_core import FitError, State, hookimpl
from fit_core.items import Heatmap
from fit_metrics.leaves import Classes
from fit_metrics.picking import picked
from fit_metrics.readings import reading_of

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


class ConfusionMatrix:
    """Shows how often each class was taken for each other one, after each evaluation: `val_confusion`.

    Rows are the truth, columns what the model says.

    Args:
        classes: their names; none: numbers.
        output: which of several outputs to look at.
        target: likewise of the targets.
    """

    passive = True

    def __init__(self, classes: Sequence[str] = (), output: str | None = None, target: str | None = None) -> None:
        self.classes = list(classes)
        self.output, self.target = output, target
        self._matrix: Tensor | None = None

    @hookimpl
    def on_eval_start(self) -> None:
        self._matrix = None

    @hookimpl
    def on_eval_batch_end(self, trainer: Trainer, state: State) -> None:
        if state.phase == "predict" or state.outputs is None:
            return
        outputs = picked("confusion-matrix", "output", self.output, state.outputs)
        targets = picked("confusion-matrix", "target", self.target, state.targets)
        reading = reading_of(trainer.loss_fn)
        ignored = -100 if reading is None else reading.ignore_index
        outputs, targets = Classes("confusion-matrix", ignored).indices(outputs, targets)
        counts = confusions(outputs.argmax(dim=1), targets, outputs.shape[1], ignored)
        self._matrix = counts if self._matrix is None else self._matrix + counts

    @hookimpl
    def on_eval_end(self, trainer: Trainer, state: State) -> None:
        if self._matrix is None or state.interrupted:
            return
        names = self.classes or [str(i) for i in range(len(self._matrix))]
        if len(names) != len(self._matrix):
            raise FitError(f"confusion-matrix has {len(names)} names of classes, but the outputs have {len(self._matrix)} classes")
        prefix = next((name.removesuffix("loss") for name in state.row if name.endswith("_loss")), "")
        trainer.show(f"{prefix}confusion", Heatmap(self._matrix.cpu(), names, names, "truth", "prediction"))
        self._matrix = None


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

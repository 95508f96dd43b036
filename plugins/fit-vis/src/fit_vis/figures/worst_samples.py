"""The samples of an evaluation that the model finds hardest and easiest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fit_core import FitError, State, hookimpl
from fit_core.items import Images, Table
from fit_core.optimizers import names_of
from fit_vis.figures.samples import Extremes, Loss, per_sample
from fit_vis.figures.words import guess, labels, said
from fit_vis.looking import picked, pictures_or_none, prefix_of, shown, tensor_or_error
from fit_vis.schedule import Schedule

if TYPE_CHECKING:
    from fit_core import Trainer


class WorstSamples:
    """Shows the samples of each evaluation with the highest and the lowest loss, with truth and prediction: `val_worst_samples`.

    Pictures are shown as pictures, anything else as a table with the place of the sample in the data.

    Args:
        count: how many of each.
        every: how often, of validations; other evaluations are always shown.
        classes: names of classes; none: numbers.
        best: show the samples with the lowest loss too, as `val_best_samples`.
        loss: `(outputs, targets) -> (batch,)` losses of samples; None: those of the trainer's criterion, if it is one of torch's.
        shape: (channels, height, width) of pictures that are flat.
        mean: of each channel, and `std`: what was subtracted from pictures, and divided by.
        std: see `mean`.
        input: which of several inputs is the picture.
        output: which of several outputs is compared with the targets.
        target: which of several targets.
    """

    passive = True

    def __init__(
        self,
        count: int = 16,
        every: str = "1 epoch",
        classes: Sequence[str] = (),
        best: bool = True,
        loss: Loss | None = None,
        shape: list[int] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        input: int | str | None = None,
        output: int | str | None = None,
        target: int | str | None = None,
    ) -> None:
        if count < 1:
            raise FitError(f"count must be at least 1, not {count}")
        self.count, self.classes, self.best, self.loss = count, list(classes), best, loss
        self.shape, self.mean, self.std = shape, mean, std
        self.input, self.output, self.target = input, output, target
        self._schedule = Schedule(every)
        self._state: State | None = None
        self._loss: Loss | None = None
        self._kept = Extremes(count)
        self._seen = 0
        self._shapes: dict[str, torch.Size] = {}

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        self._schedule.begin(state)
        if shown(trainer):
            self._losses(trainer, state)

    @hookimpl
    def on_eval_start(self, trainer: Trainer, state: State) -> None:
        looks = state.phase != "predict" and shown(trainer) and self._schedule.end(state)
        self._state, self._kept, self._seen = state if looks else None, Extremes(self.count), 0
        self._shapes = {}
        if looks:
            self._loss = self._losses(trainer, state)

    @hookimpl
    def on_eval_batch_end(self, state: State) -> None:
        if state is not self._state or self._loss is None:
            return
        inputs = tensor_or_error("worst-samples", "input", picked(state.inputs, self.input))
        outputs = tensor_or_error("worst-samples", "output", picked(state.outputs, self.output))
        targets = tensor_or_error("worst-samples", "target", picked(state.targets, self.target))
        losses = self._loss(outputs, targets)
        if losses.shape != inputs.shape[:1]:
            raise FitError(f"worst-samples needs one loss for each of {len(inputs)} samples, not {tuple(losses.shape)}; pass loss=")
        for what, value in (("inputs", inputs), ("outputs", outputs), ("targets", targets)):
            shape = self._shapes.setdefault(what, value.shape[1:])
            if shape != value.shape[1:]:
                raise FitError(f"worst-samples needs {what} of one size, not {tuple(shape)} and {tuple(value.shape[1:])}; leave it out")
        places = torch.arange(self._seen, self._seen + len(inputs), device=losses.device)
        self._seen += len(inputs)
        self._kept.add(losses, places, inputs, outputs, targets)

    @hookimpl
    def on_eval_end(self, trainer: Trainer, state: State) -> None:
        if state is self._state and self._seen and not state.interrupted:
            prefix = prefix_of(state)
            trainer.show(f"{prefix}worst_samples", lambda: self._item(self._kept.worst))
            if self.best:
                trainer.show(f"{prefix}best_samples", lambda: self._item(self._kept.best))
        self._state, self._kept = None, Extremes(self.count)

    def _losses(self, trainer: Trainer, state: State) -> Loss:
        found = self.loss or per_sample(trainer.criterion_for(state).loss_fn)
        if found is None:
            name = names_of(trainer.criterion_for(state).loss_fn)
            raise FitError(
                f"worst-samples cannot tell the losses of single samples from {name}; pass loss=: (outputs, targets) -> (batch,)"
            )
        return found

    def _item(self, kept: tuple[Tensor, ...]) -> Images | Table:
        losses, places, inputs, outputs, targets = (each.cpu() for each in kept)
        told = [f"{float(loss):.3g}" for loss in losses]
        truth = labels(targets, self.classes)
        found = [said(guess(each, targets[0]), self.classes) for each in outputs]
        pictures = pictures_or_none("worst-samples", inputs, self.shape, self.mean, self.std)
        if pictures is not None:
            captions = [f"{t}, taken for {f}\nloss {x}" if t != f else f"{t}\nloss {x}" for t, f, x in zip(truth, found, told, strict=True)]
            return Images(pictures, captions)
        few = [said(each, ()) for each in inputs]
        return Table(["sample", "loss", "truth", "prediction", "inputs"], list(zip(places.tolist(), told, truth, found, few, strict=True)))

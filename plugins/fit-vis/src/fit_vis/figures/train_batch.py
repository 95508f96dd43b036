"""The training batch as the model saw it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fit_core import FitError, State, hookimpl
from fit_core.items import Images
from fit_vis.figures.words import labels
from fit_vis.looking import picked, pictures_or_error, shown
from fit_vis.schedule import Schedule

if TYPE_CHECKING:
    from fit_core import Trainer


class TrainBatch:
    """Shows samples of a training batch as the model is given them, after all augmentation, with their labels: `train_batch`.

    Args:
        count: how many samples.
        every: how often; the first batch is always shown.
        classes: names of classes; none: numbers.
        shape: (channels, height, width) of pictures that are flat.
        mean: of each channel, and `std`: what was subtracted from pictures, and divided by.
        std: see `mean`.
        input: which of several inputs is the picture.
        target: which of several targets is the label.
    """

    passive = True

    def __init__(
        self,
        count: int = 16,
        every: str = "1 epoch",
        classes: Sequence[str] = (),
        shape: list[int] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        input: int | str | None = None,
        target: int | str | None = None,
    ) -> None:
        if count < 1:
            raise FitError(f"count must be at least 1, not {count}")
        self.count, self.classes, self.input, self.target = count, list(classes), input, target
        self.shape, self.mean, self.std = shape, mean, std
        self._schedule = Schedule(every)
        self._due = False

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        self._schedule.begin(state)

    @hookimpl
    def on_batch_start(self, trainer: Trainer, state: State) -> None:
        self._due = shown(trainer) and self._schedule.batch(state)

    @hookimpl(wrapper=True, trylast=True)
    def forward(self, trainer: Trainer, state: State) -> Generator[None, Any, Any]:
        if self._due and state.phase == "train":
            self._due = False
            trainer.show("train_batch", lambda: self._item(state))
        return (yield)

    def _item(self, state: State) -> Images:
        inputs = picked(state.inputs, self.input)
        pictures = pictures_or_error("train-batch", inputs, self.shape, self.mean, self.std)[: self.count]
        targets = picked(state.targets, self.target)
        labelled = isinstance(targets, Tensor) and len(targets) == len(inputs)
        return Images(pictures, labels(targets[: self.count], self.classes) if labelled else ())

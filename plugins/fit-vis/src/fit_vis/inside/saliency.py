"""What predictions rest on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from fit_core import FitError, State, hookimpl
from fit_core.items import Images
from fit_vis.figures.words import guess, said
from fit_vis.inside.ascent import overlaid, saliency
from fit_vis.looking import asked, picked, pictures_or_error, shown, tensor_or_error
from fit_vis.pictures import stretched
from fit_vis.schedule import Schedule
from fit_vis.undisturbed import undisturbed

if TYPE_CHECKING:
    from fit_core import Trainer


class Saliency:
    """Shows validation samples, each beside itself with the places in colour that change the score of its class most: `saliency`.

    It takes one more forward and backward pass over these samples. Gradients of parameters stay as they are.

    Args:
        count: how many samples, of the first validation batch.
        every: how often, of validations.
        of: whose score: that of the class that the model says ("prediction"), or of the right one ("truth").
        classes: names of classes; none: numbers.
        shape: (channels, height, width) of pictures that are flat.
        mean: of each channel, and `std`: what was subtracted from pictures, and divided by.
        std: see `mean`.
        output: which of several outputs has the scores.
        target: which of several targets.
    """

    passive = True

    def __init__(
        self,
        count: int = 8,
        every: str = "1 epoch",
        of: Literal["prediction", "truth"] = "prediction",
        classes: Sequence[str] = (),
        shape: list[int] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        output: int | str | None = None,
        target: int | str | None = None,
    ) -> None:
        if count < 1:
            raise FitError(f"count must be at least 1, not {count}")
        if of not in ("prediction", "truth"):
            raise FitError(f"of must be 'prediction' or 'truth', not {of!r}")
        self.count, self.of, self.classes = count, of, list(classes)
        self.shape, self.mean, self.std = shape, mean, std
        self.output, self.target = output, target
        self._schedule = Schedule(every)
        self._state: State | None = None

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        self._schedule.begin(state)

    @hookimpl
    def on_eval_start(self, trainer: Trainer, state: State) -> None:
        looks = state.phase == "validate" and shown(trainer) and self._schedule.end(state)
        self._state = state if looks else None

    @hookimpl
    def on_eval_batch_end(self, trainer: Trainer, state: State) -> None:
        if state is self._state:
            self._state = None
            trainer.show("saliency", lambda: self._item(trainer, state))

    def _item(self, trainer: Trainer, state: State) -> Images:
        inputs = tensor_or_error("saliency", "input", state.inputs, pick=False)[: self.count]
        pictures = pictures_or_error("saliency", inputs, self.shape, self.mean, self.std)
        if not inputs.is_floating_point():
            raise FitError(f"saliency needs inputs that have a gradient: floats, not {inputs.dtype}; make them floats before the model")
        targets = picked(state.targets, self.target)
        targets = targets[: self.count] if isinstance(targets, Tensor) else None
        if self.of == "truth" and targets is None:
            raise FitError("saliency of='truth' needs targets that are a tensor; pick one with target=")
        with undisturbed(state.model, state.device):
            maps, scores = saliency(asked(trainer, state, self.output), inputs, targets if self.of == "truth" else None)
        maps = stretched(maps.reshape(pictures.shape).amax(1))  # of the channels, the one that matters most
        pairs = torch.stack([pictures.expand(-1, 3, -1, -1), overlaid(pictures, maps)], 1).flatten(0, 1)
        return Images(pairs, self._captions(scores.cpu(), None if targets is None else targets.cpu()), columns=4)

    def _captions(self, scores: Tensor, targets: Tensor | None) -> list[str]:
        captions = []
        for i, score in enumerate(scores):
            found = said(score if targets is None else guess(score, targets[0]), self.classes)
            captions += ["" if targets is None else said(targets[i], self.classes), f"taken for {found}"]
        return captions

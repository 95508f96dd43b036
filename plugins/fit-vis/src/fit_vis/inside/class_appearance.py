"""What the model takes the classes to look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fit_core import FitError, State, hookimpl
from fit_core.items import Images
from fit_vis.figures.words import class_name
from fit_vis.inside.ascent import Model, appearance
from fit_vis.looking import asked, pictures_or_error, shown, tensor_or_error
from fit_vis.pictures import stretched
from fit_vis.schedule import Schedule
from fit_vis.undisturbed import undisturbed

if TYPE_CHECKING:
    from fit_core import Trainer

MOST = 16


class ClassAppearance:
    """Shows pictures that the model is sure are of a class, made by gradient ascent on its score: `class_appearance`.

    They begin as the same noise each time, so that one sees the model learn, and are stretched to their range.

    Args:
        every: how often, at the ends of epochs.
        targets: which classes; None: all, the first 16 of more.
        steps: of the ascent.
        lr: its learning rate, of Adam.
        decay: what large values of the picture cost.
        start: "random", "zeros", or a sample to begin with.
        shape: (channels, height, width) of pictures that are flat.
        transform: what is done to pictures before the model sees them, in each step.
        classes: names of classes; none: numbers.
        output: which of several outputs has the scores.
        seed: of the noise.
    """

    passive = True

    def __init__(
        self,
        every: str = "1 epoch",
        targets: list[int] | None = None,
        steps: int = 64,
        lr: float = 0.1,
        decay: float = 0.01,
        start: str | Tensor = "random",
        shape: list[int] | None = None,
        transform: Model | None = None,
        classes: Sequence[str] = (),
        output: int | str | None = None,
        seed: int = 0,
    ) -> None:
        if steps < 1:
            raise FitError(f"steps must be at least 1, not {steps}")
        if not isinstance(start, Tensor) and start not in ("random", "zeros"):
            raise FitError(f"start must be 'random', 'zeros' or a tensor, not {start!r}")
        self.targets, self.steps, self.lr, self.decay, self.start = targets, steps, lr, decay, start
        self.shape, self.transform, self.classes, self.output, self.seed = shape, transform, list(classes), output, seed
        self._schedule = Schedule(every)
        self._input: tuple[int, ...] | None = None

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        self._schedule.begin(state)

    @hookimpl
    def on_batch_end(self, trainer: Trainer, state: State) -> None:
        if self._input is None and shown(trainer):
            inputs = tensor_or_error("class-appearance", "input", state.inputs, pick=False)
            pictures_or_error("class-appearance", inputs[:1], self.shape)
            self._input = inputs.shape[1:]

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State) -> None:
        if self._schedule.end(state):
            trainer.show("class_appearance", lambda: self._item(trainer, state))

    def state_dict(self) -> dict[str, Any]:
        """Return the shape of a sample: a run that goes on after the last batch of an epoch sees none."""
        return {"input": None if self._input is None else list(self._input)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._input = None if state["input"] is None else tuple(state["input"])

    def _item(self, trainer: Trainer, state: State) -> Images:
        assert self._input is not None, "there was a batch, or the epoch would not have ended"
        ask = asked(trainer, state, self.output)
        dtype = next((p.dtype for p in state.model.parameters() if p.is_floating_point()), torch.float32)
        start = self._start(self._input).to(state.device, dtype)
        with undisturbed(state.model, state.device):
            targets = self._targets(ask, start[None])
            starts = start.expand(len(targets), *start.shape)
            found, scores = appearance(ask, targets, starts, self.steps, self.lr, self.decay, self.transform)
        chances = scores.softmax(1).gather(1, targets[:, None]).flatten()
        captions = [f"{class_name(self.classes, i)} ({p:.2f})" for i, p in zip(targets.tolist(), chances.tolist(), strict=True)]
        return Images(pictures_or_error("class-appearance", stretched(found), self.shape), captions)

    def _targets(self, ask: Model, sample: Tensor) -> Tensor:
        """Return which classes to show; how many there are is asked of the model."""
        with torch.no_grad():
            scores = tensor_or_error("class-appearance", "output", ask(sample.clone()))
        if scores.dim() != 2 or scores.shape[1] < 2:
            raise FitError(f"class-appearance needs scores (batch, classes), not {tuple(scores.shape)}; pick an output with output=")
        targets = list(range(min(scores.shape[1], MOST))) if self.targets is None else self.targets
        if not all(0 <= target < scores.shape[1] for target in targets):
            raise FitError(f"class-appearance has targets {targets}, but the model has {scores.shape[1]} classes, from 0 on")
        return torch.tensor(targets, device=sample.device)

    def _start(self, shape: tuple[int, ...]) -> Tensor:
        """Return what to begin with: the same for all, so that what differs is the class."""
        if isinstance(self.start, Tensor):
            return self.start.reshape(shape)
        return torch.rand(shape, generator=torch.Generator().manual_seed(self.seed)) * (self.start == "random")

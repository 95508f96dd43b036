"""Vectors of validation samples, for a projector."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fit_core import FitError, State, hookimpl
from fit_core.items import Embedding as EmbeddingItem
from fit_vis.figures.words import labels
from fit_vis.looking import picked, pictures_or_none, prefix_of, shown, tensor_or_error, the_layer, users_model
from fit_vis.schedule import Schedule
from fit_vis.undisturbed import first_tensor, outputs_heard

if TYPE_CHECKING:
    from fit_core import Trainer


class Embedding:
    """Shows what the model, or one of its layers, makes of samples of each validation, as vectors with labels: `val_embedding`.

    Samples that are pictures are their own thumbnails.

    Args:
        layer: whose outputs; None: those of the model.
        count: how many samples.
        every: how often, of validations.
        avg_pool: size of the windows over which maps (batch, channels, height, width) are averaged before they are laid flat.
        inputs: show the samples themselves as vectors too, as `val_inputs`.
        classes: names of classes; none: numbers.
        shape: (channels, height, width) of pictures that are flat.
        mean: of each channel, and `std`: what was subtracted from pictures, and divided by.
        std: see `mean`.
        output: which of several outputs of the model.
        target: which of several targets is the label.
    """

    passive = True

    def __init__(
        self,
        layer: str | None = None,
        count: int = 500,
        every: str = "1 epoch",
        avg_pool: int = 1,
        inputs: bool = False,
        classes: Sequence[str] = (),
        shape: list[int] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        output: int | str | None = None,
        target: int | str | None = None,
    ) -> None:
        if count < 1 or avg_pool < 1:
            raise FitError("count and avg_pool must be at least 1")
        self.layer, self.count, self.avg_pool, self.inputs, self.classes = layer, count, avg_pool, inputs, list(classes)
        self.shape, self.mean, self.std, self.output, self.target = shape, mean, std, output, target
        self._schedule = Schedule(every)
        self._state: State | None = None
        self._kept: list[tuple[Tensor, Tensor | None, Tensor | None]] = []
        self._heard: Tensor | None = None
        self._seen = 0

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        self._schedule.begin(state)
        if self.layer is not None:
            the_layer(users_model(trainer, state), self.layer)

    @hookimpl
    def on_eval_start(self, trainer: Trainer, state: State) -> None:
        self._forget()
        if state.phase in ("validate", "test") and shown(trainer) and self._schedule.end(state):
            self._state = state

    @hookimpl(wrapper=True, trylast=True)
    def forward(self, trainer: Trainer, state: State) -> Generator[None, Any, Any]:
        if state is not self._state or self._seen >= self.count or self.layer is None:
            return (yield)
        heard: list[Any] = []
        with outputs_heard({self.layer: the_layer(users_model(trainer, state), self.layer)}, lambda _, outputs: heard.append(outputs)):
            outputs = yield
        self._heard = first_tensor(heard)
        if self._heard is None:
            raise FitError(f"embedding heard no tensor from layer {self.layer!r}; choose another one")
        self._heard = self._heard[: self.count - self._seen].detach().clone()
        return outputs

    @hookimpl
    def on_eval_batch_end(self, state: State) -> None:
        if state is not self._state or self._seen >= self.count:
            return
        left = self.count - self._seen
        vectors = tensor_or_error("embedding", "output", picked(state.outputs, self.output)) if self._heard is None else self._heard
        vectors = vectors[:left].detach().clone()
        self._fits(vectors)
        self._kept.append((vectors, first(left, picked(state.targets, self.target)), first(left, state.inputs)))
        self._seen += len(vectors)
        self._heard = None

    @hookimpl
    def on_eval_end(self, trainer: Trainer, state: State) -> None:
        if state is self._state and self._kept and not state.interrupted:
            each, labelled, pictured = zip(*self._kept, strict=True)
            vectors, targets, samples = torch.cat(each), joined(labelled), joined(pictured)
            names = None if targets is None else labels(targets, self.classes)
            pictures = None if samples is None else pictures_or_none("embedding", samples, self.shape, self.mean, self.std)
            trainer.show(f"{prefix_of(state)}embedding", EmbeddingItem(as_vectors(vectors, self.avg_pool), names, pictures))
            if self.inputs and samples is None:
                raise FitError("embedding cannot show inputs that are no tensors of one size; leave inputs=true out")
            if self.inputs and samples is not None:
                trainer.show(f"{prefix_of(state)}inputs", EmbeddingItem(as_vectors(samples, self.avg_pool), names, pictures))
        self._forget()

    def _fits(self, values: Tensor) -> None:
        """Raise a FitError if values of a batch cannot become vectors like those of the batches before."""
        if values.dim() == 4 and self.avg_pool > min(values.shape[2:]):
            raise FitError(f"avg_pool={self.avg_pool} is larger than maps of {values.shape[2]} x {values.shape[3]}; choose a smaller one")
        if self._kept and values.shape[1:] != self._kept[0][0].shape[1:]:
            sizes = f"{tuple(self._kept[0][0].shape[1:])} and {tuple(values.shape[1:])}"
            raise FitError(f"embedding needs vectors of one size, not {sizes}; choose another layer= or output=")

    def _forget(self) -> None:
        self._state, self._kept, self._heard, self._seen = None, [], None, 0


def first(count: int, value: Any) -> Tensor | None:
    """Return a copy of the first of several values, None if they are no tensor."""
    return value[:count].detach().clone() if isinstance(value, Tensor) else None


def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Join the parts of all batches; None if a batch has none, or one of another size."""
    there = [part for part in parts if part is not None]
    alike = len(there) == len(parts) and len({part.shape[1:] for part in there}) == 1
    return torch.cat(there) if alike else None


def as_vectors(values: Tensor, avg_pool: int) -> Tensor:
    """Lay values flat.

    Args:
        values: (count, ...); maps (count, channels, height, width) are averaged over windows first.
        avg_pool: the size of the windows.

    Returns:
        (count, dimensions), floats.
    """
    values = values.float() if not values.is_floating_point() else values
    pooled = F.avg_pool2d(values, avg_pool) if values.dim() == 4 and avg_pool > 1 else values
    return pooled.flatten(1) if pooled.dim() > 1 else pooled[:, None]

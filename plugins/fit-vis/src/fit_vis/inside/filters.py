"""The filters of the first layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fit_core import FitError, State, hookimpl
from fit_core.items import Images
from fit_vis.looking import pictures_or_error, shown, the_layer
from fit_vis.pictures import signed
from fit_vis.schedule import Schedule

if TYPE_CHECKING:
    from fit_core import Trainer


class Filters:
    """Shows the filters of a convolution, the first one if nothing else is said, as pictures: `filters`.

    All have one scale: a weight of 0 is grey, the largest magnitude is black or white. A filter over other than one or three channels is a
    row of pictures, one for each channel.

    Args:
        every: how often, at the ends of epochs.
        layer: its name; a linear layer is one of flat pictures.
        count: how many pictures at most.
        shape: (channels, height, width) of the inputs of a linear layer.
    """

    passive = True

    def __init__(self, every: str = "1 epoch", layer: str | None = None, count: int = 64, shape: list[int] | None = None) -> None:
        if count < 1:
            raise FitError(f"count must be at least 1, not {count}")
        self.layer, self.count, self.shape = layer, count, shape
        self._schedule = Schedule(every)

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        self._schedule.begin(state)
        if shown(trainer):
            first_filters(trainer.model, self.layer)

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State) -> None:
        if self._schedule.end(state):
            trainer.show("filters", lambda: self._item(trainer))

    def _item(self, trainer: Trainer) -> Images:
        weights = first_filters(trainer.model, self.layer).detach()
        if weights.dim() == 2:
            return Images(pictures_or_error("filters", signed(weights), self.shape)[: self.count])
        if weights.shape[1] in (1, 3):
            return Images(signed(weights)[: self.count])
        count, channels = weights.shape[:2]
        return Images(signed(weights).flatten(0, 1)[: self.count, None], columns=min(channels, math.ceil(math.sqrt(count * channels))))


def first_filters(model: nn.Module, layer: str | None) -> Tensor:
    """Return the weights of a layer, or of the first convolution: (filters, channels, height, width), of a linear one (outputs, inputs).

    Raises:
        FitError: there is no such layer, or it has none.
    """
    if layer is None:
        module: nn.Module | None = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
        if module is None:
            raise FitError("filters found no convolution; say which linear layer to show: layer=NAME, with shape=[channels,height,width]")
    else:
        module = the_layer(model, layer)
    weights = getattr(module, "weight", None)
    if not isinstance(weights, Tensor) or (not is_lazy(weights) and weights.dim() not in (2, 4)):
        raise FitError(f"layer {layer!r} has no filters to show; name a two-dimensional convolution or a linear layer")
    return weights

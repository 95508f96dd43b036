"""What convolutions make of a picture."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fit_core import FitError, State, hookimpl
from fit_core.batch import move
from fit_core.items import Images
from fit_vis.looking import Patterns, asked, matching_layers, shown, users_model
from fit_vis.pictures import stretched
from fit_vis.schedule import Schedule
from fit_vis.undisturbed import first_tensor, outputs_heard, undisturbed

if TYPE_CHECKING:
    from fit_core import Trainer


class FeatureMaps:
    """Shows what layers make of one sample, each channel as a picture: `feature_maps/LAYER`.

    It is a sample of the first validation batch, whose forward pass is listened to, or of inputs of your own. Every map is stretched to
    its own range.

    Args:
        every: how often, of validations (of epochs with inputs of your own).
        layers: names or patterns of layers whose outputs are maps; None: every convolution.
        sample: which of the batch.
        count: how many maps of a layer at most.
        inputs: a batch of inputs to look at in place of the validation's.
    """

    passive = True

    def __init__(
        self, every: str = "1 epoch", layers: Patterns | None = None, sample: int = 0, count: int = 16, inputs: Any = None
    ) -> None:
        if count < 1 or sample < 0:
            raise FitError("count must be at least 1, and sample at least 0")
        self.layers, self.sample, self.count, self.inputs = layers, sample, count, inputs
        self._schedule = Schedule(every)
        self._state: State | None = None

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        self._schedule.begin(state)
        if shown(trainer):
            self._layers(users_model(trainer, state))

    @hookimpl
    def on_eval_start(self, trainer: Trainer, state: State) -> None:
        looks = self.inputs is None and state.phase == "validate" and shown(trainer) and self._schedule.end(state)
        self._state = state if looks else None

    @hookimpl(wrapper=True, trylast=True)
    def forward(self, trainer: Trainer, state: State) -> Generator[None, Any, Any]:
        if state is not self._state:
            return (yield)
        self._state = None
        maps: dict[str, Tensor] = {}
        with outputs_heard(self._layers(users_model(trainer, state)), self._hearer(maps)):
            outputs = yield
        self._show(trainer, maps)
        return outputs

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State) -> None:
        if self.inputs is None or not shown(trainer) or not self._schedule.end(state):
            return
        maps: dict[str, Tensor] = {}
        model = users_model(trainer, state)
        with undisturbed(state.model, state.device), torch.no_grad(), outputs_heard(self._layers(model), self._hearer(maps)):
            asked(trainer, state)(move(self.inputs, state.device))
        self._show(trainer, maps)

    def _layers(self, model: nn.Module) -> dict[str, nn.Module]:
        if self.layers is not None:
            return matching_layers(model, self.layers)
        found: dict[str, nn.Module] = {
            name: module for name, module in matching_layers(model, "*").items() if isinstance(module, nn.Conv2d)
        }
        if not found:
            raise FitError("feature-maps found no convolution; say which layers to show: layers=NAME")
        return found

    def _hearer(self, maps: dict[str, Tensor]) -> Any:
        def hear(name: str, outputs: Any) -> None:
            values = first_tensor(outputs)
            if values is not None and values.dim() == 4 and self.sample < len(values):
                maps[name] = values[self.sample, : self.count].detach().clone()  # before a layer that works in place changes them

        return hear

    def _show(self, trainer: Trainer, maps: dict[str, Tensor]) -> None:
        if not maps:
            raise FitError("feature-maps found no maps (batch, channels, height, width) of this sample; choose other layers= or sample=")
        for name, values in maps.items():
            captions = [f"channel {i}" for i in range(len(values))]
            trainer.show(f"feature_maps/{name}", Images(stretched(values)[:, None], captions))

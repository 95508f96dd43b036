"""What plugins that average weights share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim.swa_utils import AveragedModel

from fit_core import FitError, State, hookimpl
from fit_optim.averaging import Average, averaged_copy

if TYPE_CHECKING:
    from fit_core import Trainer


class Averaging:
    """Keeps a copy of the model with averaged weights, which passes over other data and weights-only files may use.

    The model that is trained is never touched: the copy takes its place in `state.model` of such a pass.

    Args:
        average: what brings the copy nearer to the model.
        buffers: whether buffers are averaged too, or copied.
        use: whether the copy is evaluated, predicted with and exported.

    Attributes:
        averaged: the copy; None before there is an average.
    """

    def __init__(self, average: Average, buffers: bool, use: bool) -> None:
        self.average = average
        self.buffers = buffers
        self.use = use
        self.averaged: AveragedModel | None = None
        self._saved: dict[str, Any] = {}

    @hookimpl
    def on_setup(self, trainer: Trainer) -> None:
        used = [name for name, plugin in trainer.plugins.items() if isinstance(plugin, Averaging) and plugin.use]
        if self.use and len(used) > 1:
            raise FitError(f"{' and '.join(used)} would both be evaluated; leave one out of that: use=false")

    @hookimpl
    def on_eval_start(self, trainer: Trainer, state: State) -> None:
        module = self.module(trainer)
        if self.use and module is not None:
            state.model = module

    @hookimpl
    def export_model(self, trainer: Trainer) -> nn.Module | None:
        return self.module(trainer) if self.use else None

    def module(self, trainer: Trainer) -> nn.Module | None:
        """Return the module with averaged weights; None before there is an average."""
        if self.averaged is None and self._saved:
            self.averaged = averaged_copy(trainer.model, self.average, self.buffers)
            self.averaged.load_state_dict(self._saved)
            self._saved = {}
        return None if self.averaged is None else self.averaged.module

    def take_in(self, trainer: Trainer) -> nn.Module:
        """Bring the average nearer to the weights of the model; the first time it becomes equal to them."""
        self.module(trainer)
        if self.averaged is None:
            self.averaged = averaged_copy(trainer.model, self.average, self.buffers)
        self.averaged.update_parameters(trainer.model)
        return self.averaged.module

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and how many are in."""
        if self.averaged is None:
            return dict(self._saved)
        return {name: value.clone() for name, value in self.averaged.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.averaged, self._saved = None, dict(state)

"""A generator with averaged weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fit_core import FitError, State, hookimpl
from fit_gan.adversarial import side_of
from fit_gan.model import parts_of

if TYPE_CHECKING:
    from fit_core import Trainer


class GeneratorEMA:
    """Keeps an exponential moving average of the generator's weights and buffers, which samples are made with.

    Args:
        decay: how much of the average stays at every step of the generator.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise FitError(f"decay must be from 0 to below 1, not {decay}")
        self.decay = decay
        self.averaged: AveragedModel | None = None
        self._saved: dict[str, Any] = {}

    @hookimpl
    def on_fit_start(self, trainer: Trainer) -> None:
        if self.averaged is None:
            average = get_ema_multi_avg_fn(self.decay)
            self.averaged = AveragedModel(parts_of(trainer.model)[0], multi_avg_fn=average, use_buffers=True).requires_grad_(False)
            if self._saved:
                self.averaged.load_state_dict(self._saved)
                self._saved = {}

    @hookimpl
    def on_step_end(self, trainer: Trainer, state: State) -> None:
        assert self.averaged is not None
        if side_of(state) != "d":
            self.averaged.update_parameters(parts_of(trainer.model)[0])

    @hookimpl
    def choose_generator(self) -> nn.Module | None:
        return None if self.averaged is None else self.averaged.module

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights."""
        return self._saved if self.averaged is None else {name: value.clone() for name, value in self.averaged.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        if self.averaged is None:
            self._saved = dict(state)
        else:
            self.averaged.load_state_dict(dict(state))

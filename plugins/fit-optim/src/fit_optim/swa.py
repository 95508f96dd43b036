"""Stochastic weight averaging."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_swa_multi_avg_fn

from fit_core import FitError, State, hookimpl
from fit_core.errors import whole
from fit_optim.averages import Averaging
from fit_optim.averaging import measured_anew, moving_norms

if TYPE_CHECKING:
    from fit_core import Trainer


class SWA(Averaging):
    """Averages the weights at the end of the last epochs (Izmailov et al. 2018, algorithm 1).

    After each average the statistics of batch norm are taken anew, in a pass over the trainer's training data. Validation, test,
    predictions and weights-only files then use it; the model that is trained is never touched.

    Args:
        start: the first epoch to average; none: after three quarters of the run.
        every: epochs from one average to the next.
        batch_norm: whether statistics of batch norm are taken anew, or copied from the model.
        batches: how many batches they are taken from; none: as many as an epoch has.
        use: evaluate, predict and export with the average; otherwise it is only kept, as the plugin's `averaged`.

    Raises:
        FitError: the run has no number of epochs and `start` is not given; or there is no training data for batch norm.
    """

    name = "swa"
    runs_after = ("ema",)

    def __init__(
        self, start: int | None = None, every: int = 1, batch_norm: bool = True, batches: int | None = None, use: bool = True
    ) -> None:
        super().__init__(get_swa_multi_avg_fn(), buffers=False, use=use)
        self.start = None if start is None else whole("start", start)
        self.every = whole("every", every)
        self.batch_norm = batch_norm
        self.batches = None if batches is None else whole("batches", batches)
        self._first = 0
        self._measuring: Sequence[_BatchNorm] = ()

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        if self.start is None and math.isinf(state.epochs):
            raise FitError("swa cannot tell when three quarters of a run without a number of epochs are over; say from which one: start=10")
        self._first = self.start or math.floor(0.75 * state.epochs) + 1
        if self.batch_norm and trainer.train_data is None and moving_norms(trainer.model, trainer.model):
            raise FitError(
                "swa takes the statistics of batch norm from the trainer's own data; pass Trainer(train_data=...), or batch_norm=False"
            )

    @hookimpl
    def on_train_epoch_end(self, trainer: Trainer, state: State) -> None:
        complete = state.position == "epoch"  # else a stop cut it short
        if complete and state.epoch >= self._first and (state.epoch - self._first) % self.every == 0:
            self.measure(trainer, state, self.take_in(trainer))

    def measure(self, trainer: Trainer, state: State, module: nn.Module) -> None:
        """Take the statistics of batch norm anew, in a pass over training data."""
        norms = moving_norms(module, trainer.model) if self.batch_norm else []
        if norms:
            self._measuring = norms
            try:
                with measured_anew(norms):
                    trainer.evaluate(trainer.train_data, prefix="swa_", limit_batches=self.batches or state.batches)
            finally:
                self._measuring = ()

    @hookimpl
    def on_eval_start(self, trainer: Trainer, state: State) -> None:
        module = self.module(trainer)
        if module is not None and (self.use or self._measuring):
            state.model = module

    @hookimpl
    def on_eval_batch_start(self) -> None:
        for norm in self._measuring:
            norm.train()

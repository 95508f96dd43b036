"""Clipping at every real step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fit_core import FitError, Trainer, hookimpl
from fit_core.testing import tiny_trainer
from fit_optim import Clip


class Gradients:
    """Keeps the gradients of every step, as the optimizer sees them."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    @hookimpl(trylast=True)
    def on_step_start(self, trainer: Trainer) -> None:
        self.seen.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]))


@pytest.mark.parity("C17", "C18", "B1")
def test_clipping_logs_the_norm_and_clips_values() -> None:
    @hookimpl
    def on_log(entries: Any, trainer: Trainer) -> None:
        heard.extend(entry.values["grad_norm"] for entry in entries if "grad_norm" in entry.values)

    heard: list[float] = []
    gradients = Gradients()
    tiny_trainer(plugins=[Clip(norm=0.01), gradients, on_log]).fit(epochs=1)
    assert len(heard) == 2
    assert all(norm > 0.01 for norm in heard)
    assert all(found.norm() <= 0.0100001 for found in gradients.seen)
    gradients = Gradients()
    tiny_trainer(plugins=[Clip(value=0.001), gradients]).fit(epochs=1)
    assert all(found.abs().max() <= 0.001 for found in gradients.seen)
    with pytest.raises(FitError, match="norm must be above 0, not -1"):
        Clip(norm=-1)

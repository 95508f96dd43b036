"""Which plugins may come and go between two parts of a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from fit_core import State, Trainer, hookimpl
from fit_core.testing import Outcome, check_resume, tiny_batches, tiny_trainer
from fit_optim import EMA, SWA, Clip, DecayGroups, Freeze, GradCentralization, GradNoise, Init, LayerLR, WeightDecay

SCRIPT = """
from fit_core.testing import tiny_batches, tiny_trainer

def build_trainer(epochs: int = 2):
    return tiny_trainer(epochs=epochs, train_data=tiny_batches(4))
"""


def test_a_plugin_that_changes_training_is_a_difference(tmp_path: Path, run_fit: Callable[..., Outcome]) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    assert run_fit("train", "script.py", "--run-dir", "mine").code == 0
    more = ("train", "script.py", "--resume", "mine", "--epochs", "3")
    other = run_fit(*more, "-p", "early-stopping:monitor=loss")
    assert (other.code, "plugin 'early-stopping' is new" in other.stderr) == (2, True), other.stderr
    assert run_fit(*more, "-p", "csv").code == 0
    assert len((tmp_path / "mine" / "history.csv").read_text().splitlines()) == 4, "with the rows before"


def test_everything_that_changes_weights_goes_on_together() -> None:
    def make() -> Trainer:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
        gradients: list[object] = [GradNoise(), Clip(norm=1), GradCentralization()]
        weights: list[object] = [Init(), WeightDecay(), DecayGroups(0.1), LayerLR(0.5), SWA(start=1), EMA(use=False)]
        plugins = ["lr:schedule=cosine", *gradients, *weights, Freeze("0.*", until="1 epoch")]
        optimizer = partial(torch.optim.AdamW, lr=0.1)
        return tiny_trainer(model=model, optimizer=optimizer, plugins=plugins, train_data=tiny_batches(4), accumulate=2)

    check_resume(make, epochs=3, at=[1, 2, 3, 4])


@pytest.mark.parametrize("first", [True, False])
def test_schedules_multiply_the_rates_of_layers(first: bool) -> None:
    @hookimpl
    def on_step_start(state: State) -> None:
        seen.append([group["lr"] for group in state.update.optimizer.param_groups])

    seen: list[list[float]] = []
    plugins = ["lr:schedule=cosine", LayerLR(0.5)][:: 1 if first else -1]
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    tiny_trainer(model=model, optimizer=partial(torch.optim.AdamW, lr=1.0), plugins=[*plugins, on_step_start]).fit(epochs=2)
    assert [lower / upper for upper, lower in seen] == pytest.approx([0.5] * 4)
    assert [upper for upper, _ in seen] == pytest.approx([1.0, 0.853553, 0.5, 0.146447], rel=1e-4)

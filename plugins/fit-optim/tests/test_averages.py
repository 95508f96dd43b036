"""Averages of weights: against torch's own, in evaluation and files, never in the model that is trained, and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn, update_bn

from fit_core import FitError, State, Trainer, Update, Updates, hookimpl
from fit_core.testing import Outcome, check_plugin, check_resume, tiny_batches, tiny_trainer
from fit_optim import EMA, SWA
from fit_optim.averaging import averaged_copy, warmed_up


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.0), nn.Linear(6, 3))


class Weights:
    """Keeps a copy of the model after every step, and one of every epoch."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.epochs: list[dict[str, torch.Tensor]] = []

    @hookimpl
    def on_step_end(self, trainer: Trainer) -> None:
        self.steps.append({name: value.clone() for name, value in trainer.model.state_dict().items()})

    @hookimpl(tryfirst=True)
    def on_train_epoch_end(self, trainer: Trainer) -> None:
        self.epochs.append({name: value.clone() for name, value in trainer.model.state_dict().items()})


def equal(a: nn.Module, b: nn.Module) -> bool:
    mine, other = a.state_dict(), b.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in mine.items())


def replayed(weights: list[dict[str, torch.Tensor]], average: Any = None, buffers: bool = False) -> nn.Module:
    model = network()
    averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=buffers)
    for each in weights:
        model.load_state_dict(each)
        averaged.update_parameters(model)
    return averaged.module


@pytest.mark.parametrize("accumulate", [1, 2])
def test_ema_is_torchs(accumulate: int) -> None:
    weights, ema = Weights(), EMA(decay=0.9, warmup=False, buffers=False)
    tiny_trainer(model=network(), plugins=[ema, weights], train_data=tiny_batches(4), accumulate=accumulate).fit(epochs=2)
    assert len(weights.steps) == 8 // accumulate
    assert ema.averaged is not None
    assert equal(ema.averaged.module, replayed(weights.steps, get_ema_multi_avg_fn(0.9)))


def test_the_decay_rises_and_integers_are_copied() -> None:
    assert [warmed_up(0.9, count) for count in (0, 8, 1000)] == [0.1, 0.5, 0.9]
    model = nn.Linear(1, 1, bias=False)
    model.register_buffer("index", torch.arange(10))
    model.register_buffer("mean", torch.zeros(1))
    averaged = averaged_copy(model, get_ema_multi_avg_fn(0.9), buffers=True)
    averaged.update_parameters(model)
    model.mean.fill_(1)
    averaged.update_parameters(model)
    assert averaged.module.index.tolist() == list(range(10))
    assert averaged.module.mean.item() == pytest.approx(0.1)
    weights, ema = Weights(), EMA()
    tiny_trainer(model=network(), plugins=[ema, weights], train_data=tiny_batches(3)).fit(epochs=1)
    a, b, c = (each["0.weight"] for each in weights.steps)
    second = 0.1 * a + 0.9 * b
    assert ema.averaged is not None
    assert torch.allclose(ema.averaged.module[0].weight, 2 / 11 * second + 9 / 11 * c)


@pytest.mark.parametrize("make", [lambda: EMA(decay=0.5, warmup=False), lambda: SWA(start=1)])
def test_passes_over_other_data_use_it_and_training_is_as_without(make: Any, tmp_path: Path) -> None:
    average, plain = make(), network()
    how = {"train_data": tiny_batches(4), "seed": 3}
    without = tiny_trainer(model=plain, **how)
    alone = without.fit(epochs=3)
    model = network()
    trainer = tiny_trainer(model=model, plugins=[average], **how)
    rows = trainer.fit(epochs=3)
    assert equal(model, plain), "the trained model is never touched"
    assert [row["loss"] for row in rows] == [row["loss"] for row in alone]
    assert rows[-1]["val_loss"] != alone[-1]["val_loss"]
    inputs = tiny_batches(1, seed=5)[0][0]
    expected = average.averaged.module.eval()(inputs)
    assert torch.equal(trainer.predict([(inputs, None)]), expected)
    trainer.save(tmp_path / "weights", weights_only=True)
    other = network(1)
    tiny_trainer(model=other).load_weights(tmp_path / "weights")
    assert equal(other, average.averaged.module)
    kept = make()
    kept.use = False
    trainer = tiny_trainer(model=network(), plugins=[kept], **how)
    assert trainer.fit(epochs=3)[-1]["val_loss"] == alone[-1]["val_loss"]
    assert kept.averaged is not None


def test_swa_is_torchs_with_statistics_of_batch_norm() -> None:
    weights, swa, data = Weights(), SWA(), tiny_batches(4)
    tiny_trainer(model=network(), plugins=[swa, weights], train_data=data).fit(epochs=8)
    expected = replayed(weights.epochs[6:])  # the last quarter
    update_bn([inputs for inputs, _ in data], expected)
    assert swa.averaged is not None
    assert swa.averaged.n_averaged == 2
    assert all(torch.allclose(value, expected.state_dict()[name]) for name, value in swa.averaged.module.state_dict().items())
    assert swa.averaged.module[1].momentum == 0.1
    weights, swa = Weights(), SWA(start=2, every=3, batch_norm=False)
    tiny_trainer(model=network(), plugins=[swa, weights], train_data=data).fit(epochs=6)
    assert swa.averaged is not None
    assert equal(swa.averaged.module, replayed([weights.epochs[1], weights.epochs[4]], get_swa_multi_avg_fn()))


def test_batch_norm_that_is_frozen_stays() -> None:
    model, swa = network(), SWA(start=1)
    model[1].eval()
    tiny_trainer(model=model, plugins=[swa]).fit(epochs=2)
    assert swa.averaged is not None
    assert swa.averaged.module[1].running_mean.tolist() == [0.0] * 6


def test_an_epoch_that_is_cut_short_is_not_averaged() -> None:
    @hookimpl
    def on_batch_end(trainer: Trainer, state: State) -> None:
        if state.batch_count == 3:
            trainer.stop("enough")

    swa = SWA(start=1)
    tiny_trainer(plugins=[swa, on_batch_end]).fit(epochs=4)
    assert swa.averaged is not None
    assert swa.averaged.n_averaged == 1


def test_several_updates_and_lazy_and_frozen_parameters() -> None:
    model, weights, ema = network(), Weights(), EMA(decay=0.9, warmup=False, buffers=False)
    sgd = partial(torch.optim.SGD, lr=0.1)
    model[1].requires_grad_(False)
    updates = Updates([Update("a", sgd(model[0].parameters())), Update("b", sgd(model[4].parameters()))])
    tiny_trainer(model=model, optimizer=updates, plugins=[ema, weights]).fit(epochs=2)
    assert ema.averaged is not None
    assert equal(ema.averaged.module, replayed(weights.steps[::2], get_ema_multi_avg_fn(0.9)))
    lazy = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.LazyLinear(3))
    assert len(tiny_trainer(model=lazy, plugins=[EMA(), SWA(use=False)]).fit(epochs=2)) == 2


def test_the_command_line_evaluates_with_it(tmp_path: Path, run_script: Callable[..., Outcome], run_fit: Callable[..., Outcome]) -> None:
    source = """
        from fit_core.testing import tiny_batches, tiny_trainer
        from fit_optim import EMA

        def build_trainer(epochs: int = 2):
            return tiny_trainer(epochs=epochs, train_data=tiny_batches(8), plugins=[EMA()])
    """
    done = run_script(source)
    assert done.code == 0, done.stderr
    evaluated = run_fit("evaluate", "script.py", "--checkpoint", str(done.run_dir), "--data", "val", "--format", "json")
    assert evaluated.code == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["val_loss"] == pytest.approx(done.manifest["last_row"]["val_loss"], rel=1e-6)


def test_mistakes_are_told() -> None:
    with pytest.raises(FitError, match="ema and swa would both be evaluated"):
        tiny_trainer(plugins=[EMA(), SWA()]).fit(epochs=1)
    with pytest.raises(FitError, match="start=10"):
        tiny_trainer(plugins=[SWA()]).fit(steps=3)
    with pytest.raises(FitError, match=r"pass Trainer\(train_data=...\)"):
        tiny_trainer(model=network(), plugins=[SWA()], train_data=None).fit(tiny_batches(2), epochs=1)
    with pytest.raises(FitError, match="decay must be"):
        EMA(decay=1)


@pytest.mark.parametrize("plugin", [EMA(), EMA(buffers=False, warmup=False), SWA(start=1), SWA()])
def test_conformance_and_resume(plugin: Any) -> None:
    check_plugin(plugin, make=lambda: {"model": network()})
    how = {"train_data": tiny_batches(4), "accumulate": 2, "seed": 1}
    check_resume(lambda: tiny_trainer(model=network(), plugins=[EMA(), SWA(start=1, use=False)], **how))

"""Half precision, and gradients scaled through it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import check_plugin, check_resume, tiny_batches, tiny_trainer
from fit_device import Autocast, GradScaler


def overflowing(at: set[int]) -> Any:
    """A plugin that lets gradients overflow at some batches."""

    @hookimpl
    def on_backward_end(trainer: Trainer, state: State) -> None:
        if state.batch_count in at:
            trainer.model.weight.grad.fill_(float("inf"))

    return on_backward_end


def test_bf16_trains_and_evaluates_in_half_precision() -> None:
    seen = []

    @hookimpl
    def on_forward_end(state: State) -> None:
        seen.append((state.phase, state.outputs.dtype))

    trainer = tiny_trainer(plugins=["mixed-precision", on_forward_end], metrics=["accuracy"], train_data=tiny_batches(20))
    rows = trainer.fit(epochs=5)
    assert set(seen) == {("train", torch.bfloat16), ("validate", torch.bfloat16)}
    assert trainer.model.weight.dtype == torch.float32
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]


def test_evaluation_and_a_replaced_update_are_in_half_precision_too() -> None:
    seen = []

    @hookimpl
    def on_forward_end(state: State) -> None:
        seen.append((state.phase, state.outputs.dtype))

    @hookimpl
    def run_update(trainer: Trainer, state: State) -> bool:
        trainer.forward()
        trainer.compute_loss()
        trainer.backward()
        trainer.maybe_step()
        return True

    for plugins in (["autocast", run_update], [run_update, "autocast"]):
        seen.clear()
        trainer = tiny_trainer(plugins=[*plugins, on_forward_end], val_data=None)
        trainer.fit(epochs=1)
        trainer.evaluate()
        assert trainer.predict(tiny_batches(1)).dtype == torch.bfloat16
        assert seen == [("train", torch.bfloat16)] * 2 + [("test", torch.bfloat16), ("predict", torch.bfloat16)]


def test_nothing_waits() -> None:
    check_plugin("autocast")


def test_fp16_is_refused_on_the_cpu() -> None:
    with pytest.raises(FitError, match="fp16 on the CPU .*; use dtype=bf16"):
        tiny_trainer(plugins=["mixed-precision:dtype=fp16"]).fit(epochs=1)
    with pytest.raises(FitError, match="dtype must be 'bf16' or 'fp16', not 'int8'"):
        Autocast("int8")  # type: ignore[arg-type]


def test_a_step_that_overflows_is_skipped_and_the_scale_halved() -> None:
    scaler = GradScaler(init_scale=64.0, growth_interval=1000)
    trainer = tiny_trainer(plugins=[scaler, overflowing({2})], train_data=tiny_batches(4))
    trainer.fit(epochs=1)
    assert trainer.updates["main"].steps == 3
    assert scaler.state_dict()["main"]["scale"] == 32.0
    batches = tiny_batches(4)
    clean = tiny_trainer(train_data=[batches[0], *batches[2:]])
    clean.fit(epochs=1)
    assert torch.allclose(trainer.model.weight, clean.model.weight, atol=1e-6)


def test_the_scale_can_be_saved() -> None:
    scaler = GradScaler(init_scale=8.0)
    tiny_trainer(plugins=[scaler, overflowing({1})]).fit(epochs=1)
    later = GradScaler()
    later.load_state_dict(scaler.state_dict())
    assert later.state_dict() == scaler.state_dict()
    tiny_trainer(plugins=[later]).fit(epochs=1)
    assert later.state_dict()["main"]["scale"] == 4.0


def test_a_closure_cannot_be_scaled() -> None:
    with pytest.raises(FitError, match="grad-scaler cannot scale update 'main': its optimizer evaluates the batch several times"):
        tiny_trainer(plugins=[GradScaler()], optimizer=partial(torch.optim.LBFGS, lr=0.1)).fit(epochs=1)


def test_a_scale_goes_on_where_it_was() -> None:
    def make() -> Trainer:
        scaler = GradScaler(init_scale=64.0, growth_interval=3)
        return tiny_trainer(plugins=["autocast", scaler, overflowing({2, 5})], train_data=tiny_batches(4), seed=1)

    check_resume(make, epochs=2, at=[1, 3, 4, 5])

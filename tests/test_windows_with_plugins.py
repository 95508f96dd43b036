"""Windows, loss scaling and clipping together: exact in any order, whatever the cutting."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import tiny_batches, tiny_trainer
from fit_device import Autocast, GradScaler
from fit_optim import Clip
from fit_schedulers import LR

SAMPLES = 24
generator = torch.Generator().manual_seed(0)
X = torch.randn(SAMPLES, 4, generator=generator, dtype=torch.float64)
Y = torch.where(torch.arange(SAMPLES) % 7 < 2, -100, torch.randint(0, 3, (SAMPLES,), generator=generator))
LIMIT = 0.05


class Gradients:
    """Keeps the gradients of every step, as the optimizer sees them."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    @hookimpl(trylast=True)
    def on_step_start(self, trainer: Trainer) -> None:
        self.seen.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]))


class Penalty:
    """Adds a term to the loss."""

    @hookimpl
    def on_loss_end(self, trainer: Trainer, state: State) -> None:
        state.loss = state.loss + 0.01 * sum(p.square().sum() for p in trainer.model.parameters())


def network() -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Linear(4, 3).double()


def expected(start: int, stop: int) -> Tensor:
    """The clipped gradient of the samples in one batch, in the plain loop."""
    model = network()
    loss = nn.CrossEntropyLoss()(model(X[start:stop]), Y[start:stop]) + 0.01 * sum(p.square().sum() for p in model.parameters())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), LIMIT)
    return torch.cat([p.grad.flatten() for p in model.parameters()])


ORDERS: dict[str, list[Any]] = {
    "clip": [Clip, Penalty],
    "scaler": [GradScaler, Clip, Penalty],
    "clip before scaler": [Penalty, Clip, GradScaler],
    "penalty between": [Clip, Penalty, GradScaler],
}


@pytest.mark.parametrize("name", ORDERS)
@given(cuts=st.lists(st.integers(1, SAMPLES - 1), max_size=12), accumulate=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_every_order_is_exact(name: str, cuts: list[int], accumulate: int) -> None:
    parts = list(pairwise([0, *sorted(set(cuts)), SAMPLES]))
    gradients = Gradients()
    plugins = [Clip(norm=LIMIT) if kind is Clip else kind() for kind in ORDERS[name]]
    trainer = Trainer(
        network(),
        nn.CrossEntropyLoss(),
        partial(torch.optim.SGD, lr=0.0),
        plugins=[*plugins, gradients],
        accumulate=accumulate,
        quiet=True,
    )
    trainer.fit([(X[a:b], Y[a:b]) for a, b in parts], epochs=1)
    windows = [parts[i : i + accumulate] for i in range(0, len(parts), accumulate)]
    assert len(gradients.seen) == len(windows)
    for found, window in zip(gradients.seen, windows, strict=True):
        start, stop = window[0][0], window[-1][1]
        if not (Y[start:stop] == -100).all():
            assert (found - expected(start, stop)).abs().max() <= 1e-12


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


def test_fp16_is_refused_on_the_cpu() -> None:
    with pytest.raises(FitError, match="fp16 on the CPU .*; use dtype=bf16"):
        tiny_trainer(plugins=["mixed-precision:dtype=fp16"]).fit(epochs=1)
    with pytest.raises(FitError, match="dtype must be 'bf16' or 'fp16', not 'int8'"):
        Autocast("int8")  # type: ignore[arg-type]


def overflowing(at: set[int]) -> Any:
    """A plugin that lets gradients overflow at some batches."""

    @hookimpl
    def on_backward_end(trainer: Trainer, state: State) -> None:
        if state.batch_count in at:
            trainer.model.weight.grad.fill_(float("inf"))

    return on_backward_end


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


@pytest.mark.parametrize(
    "plugins", [[GradScaler(init_scale=4.0), overflowing({3, 50, 51})], [overflowing({3, 50, 51})]], ids=["scaler", "guard"]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_schedule_over_steps_ends_where_it_should_although_some_are_skipped(plugins: list[Any], accumulate: int) -> None:
    rates = []

    @hookimpl
    def on_step_end(state: State) -> None:
        rates.append(float(state.update.optimizer.param_groups[0]["lr"]))

    trainer = tiny_trainer(
        plugins=[*plugins, LR("LinearLR", start_factor=1.0, end_factor=0.0, total_iters=100), on_step_end],
        train_data=tiny_batches(8),
        finite="skip",
        accumulate=accumulate,
    )
    trainer.fit(steps=100)
    assert len(rates) == 100
    assert trainer.updates["main"].steps == 100
    assert trainer.updates["main"].optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)


def test_the_scale_can_be_saved() -> None:
    scaler = GradScaler(init_scale=8.0)
    tiny_trainer(plugins=[scaler, overflowing({1})]).fit(epochs=1)
    later = GradScaler()
    later.load_state_dict(scaler.state_dict())
    assert later.state_dict() == scaler.state_dict()
    tiny_trainer(plugins=[later]).fit(epochs=1)
    assert later.state_dict()["main"]["scale"] == 4.0


def test_clipping_logs_the_norm_and_clips_values() -> None:
    entries: list[Any] = []

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
    assert not entries
    with pytest.raises(FitError, match="norm must be above 0, not -1"):
        Clip(norm=-1)


def test_a_closure_cannot_be_scaled() -> None:
    with pytest.raises(FitError, match="grad-scaler cannot scale update 'main': its optimizer evaluates the batch several times"):
        tiny_trainer(plugins=[GradScaler()], optimizer=partial(torch.optim.LBFGS, lr=0.1)).fit(epochs=1)

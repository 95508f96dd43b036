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

from fit_core import State, Trainer, hookimpl
from fit_core.testing import tiny_batches, tiny_trainer
from fit_device import GradScaler
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


def overflowing(at: set[int]) -> Any:
    """A plugin that lets gradients overflow at some batches."""

    @hookimpl
    def on_backward_end(trainer: Trainer, state: State) -> None:
        if state.batch_count in at:
            trainer.model.weight.grad.fill_(float("inf"))

    return on_backward_end


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

"""Optimizers that evaluate the batch themselves, and plugins that evaluate it twice."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD

from fit_core import FitError, State, Trainer, TrainingError, hookimpl
from fit_core.testing import record_hooks, tiny_batches, tiny_trainer

OPTIONS: list[dict[str, Any]] = [{"lr": 0.5, "max_iter": 4}, {"lr": 1.0, "line_search_fn": "strong_wolfe"}]


def plain(batches: list[Any], **options: Any) -> nn.Linear:
    """The loop that torch's documentation shows."""
    model = tiny_trainer().model
    optimizer, loss_fn = LBFGS(model.parameters(), **options), nn.CrossEntropyLoss()
    for inputs, targets in batches:

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = loss_fn(model(inputs), targets)  # noqa: B023
            loss.backward()
            return loss.detach()

        optimizer.step(closure)
    return model


@pytest.mark.parametrize("options", OPTIONS, ids=["steps", "line search"])
def test_lbfgs_is_equal_to_the_plain_loop(options: dict[str, Any]) -> None:
    trainer = tiny_trainer(optimizer=partial(LBFGS, **options))
    rows = trainer.fit(epochs=1)
    assert torch.equal(trainer.model.weight, plain(tiny_batches(2), **options).weight)
    assert trainer.updates["main"].steps == 2
    model, loss_fn = tiny_trainer().model, nn.CrossEntropyLoss()
    first = loss_fn(model(tiny_batches(2)[0][0]), tiny_batches(2)[0][1]).item()
    second_model = plain(tiny_batches(2)[:1], **options)
    second = loss_fn(second_model(tiny_batches(2)[1][0]), tiny_batches(2)[1][1]).item()
    assert rows[0]["loss"] == pytest.approx((first + second) / 2), "the loss before each step is what is reported"


def test_the_order_is_turned_inside_out() -> None:
    trainer = tiny_trainer(optimizer=partial(LBFGS, max_iter=2), train_data=tiny_batches(1))
    with record_hooks(trainer) as calls:
        trainer.fit(epochs=1)
    begin, end = calls.hooks.index("run_update"), calls.hooks.index("on_batch_end")
    inside = [
        *("forward", "on_forward_end", "compute_loss", "on_loss_end", "backward", "on_backward_end"),
        *("should_step", "finish_gradients", "on_step_start"),
    ]
    assert calls.hooks[begin:end] == ["run_update", "optimizer_step", *inside, *inside, "on_step_end", "zero_grad"]


def test_what_is_not_finite_leaves_everything_as_it_was() -> None:
    batches = tiny_batches(3)
    batches[1][0][0, 0] = float("nan")
    trainer = tiny_trainer(optimizer=partial(LBFGS, max_iter=3), train_data=batches)
    with pytest.raises(TrainingError, match="loss is nan: update 'main', in epoch 1, batch 2"):
        trainer.fit(epochs=1)
    assert torch.equal(trainer.model.weight, plain(batches[:1], max_iter=3).weight)
    skipping = tiny_trainer(optimizer=partial(LBFGS, max_iter=3), train_data=batches, finite="skip")
    skipping.fit(epochs=1)
    assert torch.equal(skipping.model.weight, plain([batches[0], batches[2]], max_iter=3).weight)
    assert skipping.updates["main"].steps == 2


def test_a_line_search_that_leaves_the_numbers_is_undone() -> None:
    class Cliff(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = nn.Parameter(torch.tensor([1.0]))

        def forward(self) -> Tensor:
            return torch.sqrt(self.x).sum()

    trainer = Trainer(Cliff(), lambda outputs, _: outputs, partial(LBFGS, lr=10.0, max_iter=5), quiet=True)
    with pytest.raises(TrainingError, match="loss is nan"):
        trainer.fit(steps=1)
    assert trainer.model.x.item() == 1.0
    assert trainer.updates["main"].steps == 0


@pytest.mark.parametrize("where", ["on_forward_end", "on_backward_end"])
def test_a_step_can_be_skipped_inside(where: str) -> None:
    @hookimpl(specname=where)
    def skip(trainer: Trainer, state: State) -> None:
        if state.batch == 1 and state.phase == "train":
            trainer.skip_step("not now")

    trainer = tiny_trainer(optimizer=partial(LBFGS, max_iter=3), plugins=[skip])
    trainer.fit(epochs=1)
    assert torch.equal(trainer.model.weight, plain(tiny_batches(2)[1:], max_iter=3).weight)


def test_a_batch_can_be_skipped_inside() -> None:
    @hookimpl
    def on_forward_end(trainer: Trainer, state: State) -> None:
        if state.batch == 1 and state.phase == "train":
            trainer.skip_batch("not this one")

    trainer = tiny_trainer(optimizer=partial(LBFGS, max_iter=3), plugins=[on_forward_end])
    trainer.fit(epochs=1)
    assert torch.equal(trainer.model.weight, plain(tiny_batches(2)[1:], max_iter=3).weight)


def test_mistakes() -> None:
    with pytest.raises(FitError, match="LBFGS evaluates a batch several times in one step, so it cannot accumulate 2 batches"):
        tiny_trainer(optimizer=LBFGS, accumulate=2).fit(epochs=1)
    model = tiny_trainer().model
    two = [LBFGS([model.weight]), SGD([model.bias], lr=0.1)]
    with pytest.raises(FitError, match="LBFGS evaluates .* so it cannot share an update with another one"):
        tiny_trainer(model=model, optimizer=two).fit(epochs=1)

    @hookimpl
    def should_step() -> bool:
        return False

    with pytest.raises(FitError, match="steps on every batch, since its optimizer evaluates it itself; should_step must be True"):
        tiny_trainer(optimizer=LBFGS, plugins=[should_step]).fit(epochs=1)


class SAM:
    """Steps with the gradient at the worst point nearby (Foret et al. 2021, algorithm 1)."""

    def __init__(self, radius: float = 0.05) -> None:
        self.radius = radius

    @hookimpl
    def run_update(self, trainer: Trainer, state: State) -> bool:
        params = state.update.params
        earlier = [p.grad for p in params]
        self.gradients_at_hand(trainer, params)
        loss, outputs = state.loss, state.outputs
        norm = torch.stack([p.grad.norm() for p in params]).norm()
        moves = [p.grad * (self.radius / norm) for p in params]
        with torch.no_grad():
            torch._foreach_add_(params, moves)
        self.gradients_at_hand(trainer, params)
        with torch.no_grad():
            torch._foreach_sub_(params, moves)
        for p, gradient in zip(params, earlier, strict=True):
            if gradient is not None:
                p.grad += gradient
        state.loss, state.outputs = loss, outputs
        trainer.maybe_step()
        return True

    def gradients_at_hand(self, trainer: Trainer, params: list[Tensor]) -> None:
        for p in params:
            p.grad = None
        trainer.forward()
        trainer.compute_loss()
        trainer.backward()


def sam_by_hand(batches: list[Any]) -> nn.Linear:
    model = tiny_trainer().model
    optimizer, loss_fn = SGD(model.parameters(), lr=0.1, momentum=0.9), nn.CrossEntropyLoss()
    for inputs, targets in batches:
        optimizer.zero_grad()
        loss_fn(model(inputs), targets).backward()
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        moves = [p.grad * (0.05 / norm) for p in model.parameters()]
        with torch.no_grad():
            for p, move in zip(model.parameters(), moves, strict=True):
                p += move
        optimizer.zero_grad()
        loss_fn(model(inputs), targets).backward()
        with torch.no_grad():
            for p, move in zip(model.parameters(), moves, strict=True):
                p -= move
        optimizer.step()
    return model


def test_a_plugin_that_replaces_run_update_keeps_windows_and_counters() -> None:
    trainer = tiny_trainer(plugins=[SAM()])
    with record_hooks(trainer) as calls:
        rows = trainer.fit(epochs=1)
    assert torch.equal(trainer.model.weight, sam_by_hand(tiny_batches(2)).weight)
    assert trainer.updates["main"].steps == calls.hooks.count("on_step_end") == calls.hooks.count("on_step_start") == 2
    assert rows[0]["loss"] == pytest.approx(tiny_trainer(optimizer=partial(SGD, lr=0.0)).fit(epochs=1)[0]["loss"], rel=0.2)
    ragged = tiny_trainer(plugins=[SAM()], accumulate=2, train_data=tiny_batches(3))
    ragged.fit(epochs=1)
    assert ragged.updates["main"].steps == 2

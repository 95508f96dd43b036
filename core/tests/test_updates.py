"""Several updates: each with its parameters, loss, rate, window and counters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from fit_core import FitError, State, Trainer, TrainingError, Update, Updates, hookimpl
from fit_core.testing import record_hooks, tiny_batches, tiny_trainer


class Two(nn.Module):
    """Two parts, each of which can be trained alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.d = nn.Linear(4, 3)
        self.g = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.d(inputs) + self.g(inputs)


def pair(model: Two, **options: Any) -> list[Update]:
    return [
        Update("d", SGD(model.d.parameters(), lr=0.1, momentum=0.9), **options.get("d", {})),
        Update("g", Adam(model.g.parameters(), lr=0.01), **options.get("g", {})),
    ]


def trainer_of(model: Two, optimizer: Any, **changes: Any) -> Trainer:
    return tiny_trainer(model=model, optimizer=optimizer, **{"train_data": tiny_batches(10), "val_data": None} | changes)


def test_ten_batches_with_d_every_batch_and_g_every_other() -> None:
    model = Two()
    trainer = trainer_of(model, Updates(pair(model, g={"every": 2})))
    rows = trainer.fit(epochs=1)
    assert (trainer.updates["d"].steps, trainer.updates["g"].steps) == (10, 5)
    assert trainer._progress.step == 10
    assert rows[0].keys() == {"epoch", "loss", "d_loss", "g_loss", "d_lr", "g_lr", "seconds"}
    assert rows[0]["loss"] == rows[0]["d_loss"] != rows[0]["g_loss"]
    assert (rows[0]["d_lr"], rows[0]["g_lr"]) == (0.1, 0.01)


def test_it_is_equal_to_the_loop_by_hand() -> None:
    model, other = Two(), Two()
    trainer_of(model, {"d": SGD(model.d.parameters(), lr=0.1, momentum=0.9), "g": Adam(model.g.parameters(), lr=0.01)}).fit(epochs=1)
    optimizers = [SGD(other.d.parameters(), lr=0.1, momentum=0.9), Adam(other.g.parameters(), lr=0.01)]
    for inputs, targets in tiny_batches(10):
        for optimizer in optimizers:
            other.zero_grad()
            nn.functional.cross_entropy(other(inputs), targets).backward()
            optimizer.step()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_an_update_that_is_not_due_leaves_everything_alone() -> None:
    model = Two()
    before = [p.detach().clone() for p in model.g.parameters()]
    trainer = trainer_of(model, Updates(pair(model, g={"every": 11})))
    trainer.fit(epochs=1)
    for p, was in zip(model.g.parameters(), before, strict=True):
        assert torch.equal(p, was)
    assert trainer.updates["g"].optimizer.state_dict()["state"] == {}
    assert all(p.grad is None for p in model.g.parameters())


def test_others_are_switched_off_and_back_and_what_is_frozen_stays_frozen() -> None:
    model = Two()
    model.g.bias.requires_grad_(False)
    seen = []

    @hookimpl
    def on_forward_end(state: State) -> None:
        seen.append((state.update.name, model.d.weight.requires_grad, model.g.weight.requires_grad, model.g.bias.requires_grad))

    bias = model.g.bias.detach().clone()
    trainer_of(model, Updates(pair(model)), plugins=[on_forward_end]).fit(epochs=1)
    assert set(seen) == {("d", True, False, False), ("g", False, True, False)}
    assert [p.requires_grad for p in model.parameters()] == [True, True, True, False]
    assert torch.equal(model.g.bias, bias)

    @hookimpl
    def on_backward_end() -> None:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        trainer_of(model, Updates(pair(model)), plugins=[on_backward_end]).fit(epochs=1)
    assert [p.requires_grad for p in model.parameters()] == [True, True, True, False]


@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulation_of_each_update_is_exact(accumulate: int) -> None:
    batches = tiny_batches(accumulate, size=4)
    found, expected = Two(), Two()
    trainer_of(found, Updates(pair(found, g={"accumulate": accumulate})), train_data=batches).fit(epochs=1)
    d, g = SGD(expected.d.parameters(), lr=0.1, momentum=0.9), Adam(expected.g.parameters(), lr=0.01)
    for inputs, targets in batches:
        d.zero_grad()
        nn.functional.cross_entropy(expected(inputs), targets).backward(inputs=list(expected.d.parameters()))
        d.step()
        (nn.functional.cross_entropy(expected(inputs), targets) / accumulate).backward(inputs=list(expected.g.parameters()))
    g.step()
    for one, two in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


def test_a_loss_and_a_weight_of_its_own() -> None:
    model = Two()
    mine = partial(nn.functional.cross_entropy, reduction="sum")
    trainer = trainer_of(model, Updates(pair(model, g={"loss_fn": mine})), train_data=tiny_batches(4), finite="off")
    trainer.fit(epochs=1)
    row = trainer.history[0]
    assert row["g_loss"] > 8 * row["d_loss"], "sums are reported as sums, means as means"
    assert row["loss"] == row["d_loss"]


def test_without_a_loss_of_the_trainer_evaluation_uses_the_first_updates() -> None:
    model = Two()
    loss = nn.CrossEntropyLoss()
    trainer = trainer_of(model, Updates(pair(model, d={"loss_fn": loss}, g={"loss_fn": nn.MultiMarginLoss()})), loss_fn=None)
    trainer.fit(epochs=1)
    assert trainer.evaluate(tiny_batches(2)) == trainer_of(model, None, loss_fn=loss).evaluate(tiny_batches(2))


def test_a_shared_forward_is_made_once_per_batch() -> None:
    model = Two()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))

    updates = Updates(pair(model), shared_forward=True)
    seen = []

    @hookimpl(specname="on_loss_end")
    def note(state: State) -> None:
        seen.append((state.update.name, state.outputs is not None))

    @hookimpl(specname="backward")
    def leads_back_once(state: State, loss: Tensor) -> bool:
        loss.backward(retain_graph=state.update.name == "d")
        return True

    trainer_of(model, updates, plugins=[leads_back_once, note], finite="off", train_data=tiny_batches(3)).fit(epochs=1)
    assert len(calls) == 3
    assert all(calls)
    assert seen == [("d", True), ("g", True)] * 3


def test_two_optimizers_over_one_loss_make_one_forward_and_one_backward() -> None:
    model = Two()
    trainer = trainer_of(model, [SGD(model.d.parameters(), lr=0.1), Adam(model.g.parameters())])
    with record_hooks(trainer) as calls:
        trainer.fit(epochs=1)
    assert (calls.hooks.count("forward"), calls.hooks.count("backward"), calls.hooks.count("optimizer_step")) == (10, 10, 10)
    assert trainer.history[0].keys() == {"epoch", "loss", "lr", "seconds"}


def test_the_guard_names_the_update() -> None:
    model = Two()

    @hookimpl
    def on_backward_end(state: State) -> None:
        if state.update.name == "g":
            model.g.weight.grad.fill_(float("nan"))

    with pytest.raises(TrainingError, match="gradient of g.weight is not finite: update 'g', in epoch 1, batch 1"):
        trainer_of(model, Updates(pair(model)), plugins=[on_backward_end]).fit(epochs=1)


def test_skipping_a_step_concerns_the_update_at_work() -> None:
    model = Two()

    @hookimpl
    def on_backward_end(trainer: Trainer, state: State) -> None:
        if state.update.name == "d" and state.batch == 2:
            trainer.skip_step("only d")

    trainer = trainer_of(model, Updates(pair(model)), plugins=[on_backward_end])
    trainer.fit(epochs=1)
    assert (trainer.updates["d"].steps, trainer.updates["g"].steps) == (9, 10)

    @hookimpl
    def on_batch_start(trainer: Trainer, state: State) -> None:
        if state.batch == 2:
            trainer.skip_step("both")

    model = Two()
    trainer = trainer_of(model, Updates(pair(model)), plugins=[on_batch_start])
    trainer.fit(epochs=1)
    assert (trainer.updates["d"].steps, trainer.updates["g"].steps) == (9, 9)


def test_a_train_step_may_run_an_update_several_times() -> None:
    model = Two()

    @hookimpl
    def train_step(trainer: Trainer, state: State) -> bool:
        for _ in range(3):
            trainer.run_update(state.updates["d"])
        trainer.run_update(state.updates["g"])
        return True

    trainer = trainer_of(model, Updates(pair(model)), plugins=[train_step])
    trainer.fit(epochs=1)
    assert (trainer.updates["d"].steps, trainer.updates["g"].steps) == (30, 10)


def test_states_can_be_saved() -> None:
    model = Two()
    trainer = trainer_of(model, Updates(pair(model)))
    trainer.fit(epochs=1)
    saved = trainer.updates["d"].state_dict()
    model = Two()
    other = trainer_of(model, Updates(pair(model)))
    other.fit(epochs=1, limit_batches=1)
    other.updates["d"].load_state_dict(saved)
    assert (other.updates["d"].steps, other.updates["d"].lr) == (10, 0.1)
    assert other.updates["d"].state_dict()["optimizers"][0]["param_groups"] == saved["optimizers"][0]["param_groups"]
    with pytest.raises(FitError, match="update 'd' was saved with 2 optimizers, and has 1"):
        other.updates["d"].load_state_dict({**saved, "optimizers": saved["optimizers"] * 2})


def test_params_of_a_callable() -> None:
    model = Two()
    updates = Updates([Update("d", partial(SGD, lr=0.1), model.d.parameters()), Update("g", Adam, model.g.parameters())])
    trainer = trainer_of(model, updates)
    trainer.fit(epochs=1)
    assert {id(p) for p in trainer.updates["g"].params} == {id(p) for p in model.g.parameters()}
    assert "Update('d', SGD, steps=10), Update('g', Adam, steps=10)" in repr(trainer)


def g_loss(outputs: Any, targets: Any) -> Any:
    return outputs.mean()


STRANGER = nn.Linear(2, 2)
MISTAKES: dict[str, tuple[Callable[[Two], Any], str]] = {
    "empty dict": (lambda _: {}, "there is no update: give one optimizer at least"),
    "empty list": (lambda _: Updates([]), "there is no update"),
    "no update": (lambda m: Updates([SGD(m.parameters(), lr=1)]), "Updates takes a list of Update, not of SGD"),  # type: ignore[list-item]
    "two of a name": (lambda m: Updates([*pair(m)[:1], *pair(m)[:1]]), "two updates are called 'd'"),
    "name": (lambda _: Update("d loss", None), "'d loss' is no name for an update"),
    "every": (lambda _: Update("d", None, every=0), "every of update 'd' must be at least 1 and whole, not 0"),
    "overlap": (
        lambda m: {"d": SGD(m.parameters(), lr=0.1), "g": SGD(m.g.parameters(), lr=0.1)},
        r"two optimizers of updates 'd' and 'g' hold the same parameter, of shape \(3, 4\)",
    ),
    "foreign": (
        lambda m: {"d": SGD(m.d.parameters(), lr=0.1), "g": SGD([*m.g.parameters(), *STRANGER.parameters()], lr=0.1)},
        "the optimizer of update 'g' holds 2 parameters that are neither the model's nor the loss's",
    ),
    "callable": (
        lambda m: {"d": SGD(m.d.parameters(), lr=0.1), "g": partial(SGD, lr=0.1)},
        r"the optimizer of update 'g' is a callable, and nobody says which parameters it gets: write Update\('g', partial",
    ),
    "metric": (
        lambda m: Updates(pair(m)),
        "a metric cannot be called 'g_loss': the row has this name for an update",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    make, message = MISTAKES[name]
    model = Two()
    with pytest.raises(FitError, match=message):
        trainer_of(model, make(model), metrics=[g_loss] if name == "metric" else []).fit(epochs=1)

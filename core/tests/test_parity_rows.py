"""Rows of docs/comparison.md that no other test shows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fit_core import FitError, State, StateKey, Trainer, hookimpl
from fit_core.testing import tiny_batches, tiny_trainer

SCALE: StateKey[Tensor] = StateKey("scale")


class Places:
    """Notes the first input of every sample, which is its place in the data, by phase and batch."""

    def __init__(self) -> None:
        self.seen: dict[str, list[list[float]]] = {}

    @hookimpl
    def on_forward_end(self, state: State) -> None:
        self.seen.setdefault(state.phase, []).append(state.inputs[:, 0].tolist())


def numbered(count: int) -> tuple[Tensor, Tensor]:
    inputs = torch.zeros(count, 4)
    inputs[:, 0] = torch.arange(count)
    return inputs, torch.arange(count) % 3


@pytest.mark.parity("T10", "T11", "T12", "T13", "T14")
def test_each_set_is_optional_and_only_training_is_shuffled() -> None:
    places = Places()
    trainer = tiny_trainer(plugins=[places], train_data=tiny_batches(9), val_data=None, test_data=None)
    assert "val_loss" not in trainer.fit(numbered(70), epochs=1)[0]
    trainer.fit(tiny_batches(1), numbered(40), epochs=1)
    assert trainer.predict(numbered(40)[0], batch_size=16).shape == (40, 3)
    assert [len(batch) for batch in places.seen["train"]] == [32, 32, 6, 8], "what a call is given goes before train_data"
    assert [len(batch) for batch in places.seen["validate"]] == [32, 8]
    order = {phase: list(itertools.chain(*batches)) for phase, batches in places.seen.items()}
    assert order["train"][:70] != sorted(order["train"][:70]) == list(range(70))
    assert order["validate"] == order["predict"] == list(range(40))
    with pytest.raises(FitError, match="there is no data to evaluate"):
        trainer.evaluate()
    untrained = tiny_trainer(train_data=None, val_data=None)
    assert untrained.evaluate(untrained.test_data).keys() == {"test_loss"}


@pytest.mark.parity("T2", "T22")
def test_without_an_optimizer_any_data_is_evaluated() -> None:
    trainer = tiny_trainer(optimizer=None)
    assert trainer.evaluate(trainer.val_data, prefix="val_").keys() == {"val_loss"}
    assert trainer.history == []
    assert trainer.predict(trainer.test_data).shape == (8, 3)


@pytest.mark.parity("T3")
def test_a_model_without_outputs_has_a_loss_of_zero_to_add_to() -> None:
    class Silent(nn.Linear):
        def forward(self, inputs: Tensor) -> tuple[()]:
            return ()

    @hookimpl
    def on_loss_end(trainer: Trainer, state: State) -> None:
        assert state.loss == 0
        state.loss = state.loss + trainer.model.weight.square().sum()

    trainer = tiny_trainer(model=Silent(4, 3), loss_fn=None, plugins=[on_loss_end])
    before = trainer.model.weight.detach().clone()
    trainer.fit(epochs=1)
    assert trainer.model.weight.norm() < before.norm()


@pytest.mark.parity("T4", "T5")
def test_an_error_of_the_model_or_the_loss_comes_through_after_one_call() -> None:
    calls: list[str] = []

    class Broken(nn.Linear):
        def forward(self, inputs: Tensor, state: State | None = None) -> Tensor:
            calls.append("model")
            raise TypeError("forward() got an unexpected keyword argument 'state'")

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append("loss")
        raise TypeError("missing 1 required positional argument")

    for changes, message in [({"model": Broken(4, 3)}, "unexpected keyword"), ({"loss_fn": loss_fn}, "missing 1 required")]:
        with pytest.raises(TypeError, match=message):
            tiny_trainer(**changes).fit(epochs=1)
    assert calls == ["model", "loss"]


@pytest.mark.parity("T7")
def test_plugins_are_set_up_once_when_data_and_device_are_known() -> None:
    heard: list[torch.device] = []

    @hookimpl
    def on_setup(trainer: Trainer, state: State) -> None:
        assert trainer.train_data is not None
        heard.append(state.device)

    trainer = tiny_trainer(plugins=[on_setup])
    assert heard == []
    trainer.fit(epochs=1)
    trainer.evaluate()
    trainer.fit(epochs=1)
    assert heard == [torch.device("cpu")]


@pytest.mark.parity("T16")
def test_endless_training_on_endless_data_with_endless_validation() -> None:
    def endless() -> Iterator[Any]:
        while True:
            yield from tiny_batches(1)

    @hookimpl
    def on_epoch_end(trainer: Trainer, state: State) -> None:
        if state.epoch == 3:
            trainer.stop("enough")

    trainer = tiny_trainer(plugins=[on_epoch_end])
    rows = trainer.fit(endless(), endless(), epochs=math.inf, steps_per_epoch=2, limit_batches={"validate": 2})
    assert len(rows) == 3
    assert "val_loss" in rows[2]


@pytest.mark.parity("T29")
def test_weights_are_loaded_as_far_as_they_fit_and_the_others_are_named(tmp_path: Path) -> None:
    torch.save({"0.weight": torch.ones(3, 4), "0.bias": torch.ones(5), "gone": torch.ones(1)}, tmp_path / "weights.pt")
    trainer = tiny_trainer(model=nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3)))
    missing, unexpected = trainer.load_weights(tmp_path / "weights.pt")
    assert sorted(missing) == ["0.bias", "1.bias", "1.weight"]
    assert sorted(unexpected) == ["0.bias", "gone"]
    assert torch.equal(trainer.model[0].weight, torch.ones(3, 4))
    assert trainer.history == []


@pytest.mark.parity("S2", "S4", "S5")
def test_a_loss_function_reads_a_key_and_text_is_none() -> None:
    @hookimpl
    def on_forward_end(state: State) -> None:
        state[SCALE] = state.outputs.square().mean()
        with pytest.raises(TypeError):
            state["scale"]  # type: ignore[index]

    def loss_fn(outputs: Tensor, targets: Tensor, state: State) -> Tensor:
        return state[SCALE]

    trainer = tiny_trainer(plugins=[on_forward_end], loss_fn=loss_fn)
    first, last = (trainer.fit(epochs=1)[0] for _ in range(2))
    assert 0 < last["loss"] < first["loss"]

    def names(value: Any) -> Iterator[Any]:
        for name, item in value.items() if isinstance(value, dict) else ():
            yield name
            yield from names(item)

    found = list(names(trainer.state_dict()))
    assert "weight" in found
    assert not any(isinstance(name, StateKey) for name in found)


@pytest.mark.parity("S6")
def test_a_metric_may_look_at_the_state_itself() -> None:
    states: list[State] = []

    @hookimpl
    def on_forward_end(state: State) -> None:
        states.append(state)

    def largest(state: State) -> Tensor:
        assert not torch.is_grad_enabled()
        assert state is states[-1]
        return state.outputs.amax()

    assert "largest" in tiny_trainer(metrics=[largest], plugins=[on_forward_end]).fit(epochs=1)[0]


@pytest.mark.parity("S7")
def test_each_pass_has_a_state_with_the_counters_of_the_run() -> None:
    states: dict[str, State] = {}

    @hookimpl
    def on_forward_end(state: State) -> None:
        states[state.phase] = state
        assert (state.epoch, state.step) == ((1, state.batch - 1) if state.phase == "train" else (1, 2))

    trainer = tiny_trainer(plugins=[on_forward_end])
    trainer.fit(epochs=1)
    trainer.evaluate()
    assert list(states) == ["train", "validate", "test"]
    assert len({id(state) for state in states.values()}) == 3


def test_text_is_no_key_however_the_state_is_asked() -> None:
    @hookimpl
    def on_batch_start(state: State) -> None:
        asked: list[Callable[[], object]] = [
            lambda: state["x"],  # type: ignore[index]
            lambda: state.get("x"),  # type: ignore[arg-type]
            lambda: "x" in state,  # type: ignore[operator]
        ]
        for ask in asked:
            with pytest.raises(TypeError, match="a key must be a StateKey; write KEY = StateKey\\('x'\\)"):
                ask()

    tiny_trainer(plugins=[on_batch_start]).fit(epochs=1)


def test_a_state_of_something_else_is_refused() -> None:
    trainer = tiny_trainer()
    with pytest.raises(FitError, match="this is no state that trainer.state_dict\\(\\) returned"):
        trainer.load_state_dict(trainer.model.state_dict())

"""Nothing that is not finite gets into the parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fit_core import State, Trainer, TrainingError, hookimpl
from fit_core.testing import record_hooks, tiny_batches, tiny_trainer


def spoilt(what: float, at: int = 2) -> list[Any]:
    batches = tiny_batches(4)
    batches[at][0][0, 0] = what
    return batches


@pytest.mark.parametrize("what", [float("nan"), float("inf")])
def test_stop_names_where_and_changes_nothing(what: float) -> None:
    trainer = tiny_trainer(train_data=spoilt(what))
    message = (
        r"loss is (nan|inf): update 'main', in epoch 1, batch 3 \(train\), step 3; no parameter was changed\. "
        "Lower the learning rate, look at the data, or train with finite='skip'"
    )
    with pytest.raises(TrainingError, match=message):
        trainer.fit(epochs=1)
    clean = tiny_trainer()
    clean.fit(spoilt(what)[:2], epochs=1)
    assert torch.equal(trainer.model.weight, clean.model.weight)
    assert not trainer.history


def test_stop_names_the_parameter_whose_gradient_is_bad() -> None:
    @hookimpl
    def on_backward_end(trainer: Trainer) -> None:
        trainer.model.bias.grad[0] = float("inf")

    with pytest.raises(TrainingError, match="gradient of bias is not finite"):
        tiny_trainer(plugins=[on_backward_end]).fit(epochs=1)


def test_an_infinite_norm_of_finite_gradients_is_caught() -> None:
    @hookimpl
    def on_backward_end(trainer: Trainer) -> None:
        trainer.model.weight.grad.fill_(3e38)

    with pytest.raises(TrainingError, match="the norm of the gradient is infinite"):
        tiny_trainer(plugins=[on_backward_end]).fit(epochs=1)


def test_skip_equals_a_run_without_the_batch() -> None:
    trainer, clean = tiny_trainer(train_data=spoilt(float("nan")), finite="skip"), tiny_trainer()
    with record_hooks(trainer) as calls:
        trainer.fit(epochs=1)
    batches = tiny_batches(4)
    clean.fit([*batches[:2], batches[3]], epochs=1)
    assert torch.equal(trainer.model.weight, clean.model.weight)
    assert calls.hooks.count("on_step_start") == calls.hooks.count("on_step_end") == 3
    assert calls.hooks.count("zero_grad") == 4


def test_off_lets_everything_through() -> None:
    trainer = tiny_trainer(train_data=spoilt(float("nan")), finite="off")
    trainer.fit(epochs=1)
    assert trainer.model.weight.isnan().any()


def test_on_an_accelerator_a_bad_step_is_made_harmless_without_reading() -> None:
    """Exercised on meta: shapes and calls are checked there, values cannot be."""
    steps: list[int] = []

    @hookimpl
    def on_step_end(state: State) -> None:
        steps.append(state.step)

    class Leave(Exception):
        pass

    @hookimpl(specname="on_safe_point")
    def leave(state: State) -> None:
        if state.batch == 2:
            raise Leave

    trainer = tiny_trainer(model=torch.nn.Linear(4, 3, device="meta"), plugins=[on_step_end, leave])
    with pytest.raises(Leave):
        trainer.fit(epochs=1)
    assert steps == [1, 2]

"""Nothing that is not finite gets into the parameters."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fit_core import State, Trainer, TrainingError, Update, hookimpl
from fit_core.guard import Guard, forget_flags, make_harmless, size_of
from fit_core.testing import record_hooks, tiny_batches, tiny_trainer


def spoilt(what: float, at: int = 2) -> list[Any]:
    batches = tiny_batches(4)
    batches[at][0][0, 0] = what
    return batches


@pytest.mark.parity("C13")
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


@pytest.mark.parametrize("features", [4, 2**14])
@pytest.mark.parametrize("norm_is_wanted", [False, True])
def test_gradients_that_are_large_and_finite_are_let_through(norm_is_wanted: bool, features: int) -> None:
    """Their norm is infinite in float32, and so is their sum."""

    @hookimpl
    def on_backward_end(trainer: Trainer) -> None:
        trainer.model.weight.grad.fill_(3e38)

    @hookimpl
    def on_step_start(state: State) -> None:
        assert state.update is not None
        if norm_is_wanted:
            assert state.update.gradient_norm() == math.inf

    trainer = tiny_trainer(
        model=nn.Linear(features, 3),
        train_data=[(torch.randn(2, features), torch.tensor([0, 1]))],
        val_data=None,
        plugins=[on_backward_end, on_step_start],
        optimizer=partial(torch.optim.SGD, lr=1e-38),
    )
    trainer.fit(epochs=1)
    assert torch.isfinite(trainer.model.weight).all()


BAD = [float("nan"), float("inf"), -float("inf")]


@given(
    st.lists(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64]), min_size=1, max_size=4),
    st.sampled_from([None, *BAD]),
    st.sampled_from([None, 0.0, -3.0, *BAD]),
    st.integers(0, 3),
    st.sampled_from(["as it is", "transposed", "expanded", "sparse"]),
    st.booleans(),
    st.booleans(),
)
def test_one_number_tells_whether_all_is_finite(
    dtypes: list[torch.dtype], bad: float | None, loss: float | None, at: int, kind: str, norm_is_wanted: bool, large: bool
) -> None:
    shape = (2**14, 4) if large else (3, 4)
    gradients = [torch.randn(shape, dtype=torch.float32).to(dtype) for dtype in dtypes]
    chosen = at % len(gradients)
    if bad is not None:
        gradients[chosen][2, 1] = bad
    if kind == "transposed":
        gradients = [gradient.t() for gradient in gradients]
    elif kind == "expanded":
        gradients = [gradient[:, :, None].expand(*shape, 2) for gradient in gradients]
    elif kind == "sparse":
        gradients = [gradient.to_sparse() for gradient in gradients]
    before = [gradient.clone() for gradient in gradients]
    value = None if loss is None else torch.tensor(loss, requires_grad=True)
    good = bad is None and (loss is None or math.isfinite(loss))
    params = [nn.Parameter(torch.zeros(gradient.shape, dtype=gradient.dtype)) for gradient in gradients]
    for p, gradient in zip(params, gradients, strict=True):
        p.grad = gradient
    trainer = tiny_trainer()
    state, guard = trainer.current_state(), Guard("skip")
    state.loss, state.weight = value, 1  # type: ignore[assignment]
    for _ in range(2):  # nothing of the first time is left
        update = update_with(torch.optim.SGD(params, lr=0.1), steps=0)
        update.norm.is_wanted = norm_is_wanted
        assert guard.admits(state, update, trainer) is good
    assert math.isfinite(size_of(gradients, value)) is good
    for mine, old in zip(gradients, before, strict=True):
        assert torch.equal(mine.to_dense().nan_to_num(7.0), old.to_dense().nan_to_num(7.0)), "they are as they were"


@pytest.mark.parametrize("norm_is_wanted", [False, True])
@pytest.mark.parametrize("bad", [None, *BAD])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_gradients_without_elements_are_good(device: str, bad: float | None, norm_is_wanted: bool) -> None:
    """An empty parameter, and an embedding of which nothing was looked up."""
    empty, wide, sparse = torch.zeros(0), torch.zeros(3, dtype=torch.float64), torch.zeros(4, 2)
    params = [nn.Parameter(each.to(device)) for each in (empty, wide, sparse)]
    params[0].grad, params[1].grad = torch.zeros_like(params[0]), torch.zeros_like(params[1])
    params[2].grad = sparse.to_sparse(1) if device == "cpu" else None
    if bad is not None:
        params[1].grad[1] = bad
    trainer = tiny_trainer()
    guard, update = Guard("skip" if device == "cpu" else "stop"), update_with(torch.optim.SGD(params, lr=0.1), steps=0)
    update.norm.is_wanted = norm_is_wanted
    assert guard.admits(trainer.current_state(), update, trainer) is (bad is None or device == "meta")


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


def update_with(optimizer: Any, steps: int) -> Update:
    update = Update("main", optimizer)
    update.build(list, accumulate=1, sums=False)
    update.steps = steps
    return update


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("make", "untouched"),
    [
        (lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9), False),
        (lambda p: torch.optim.Adam([p], lr=0.1), False),
        (lambda p: torch.optim.Adam([p], lr=0.1, fused=True), True),
        (lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, fused=True), True),
    ],
    ids=["sgd", "adam", "fused adam", "fused sgd"],
)
def test_a_bad_step_is_harmless_although_nobody_looks(bad: float, make: Any, untouched: bool) -> None:
    """What is done on an accelerator, on the values of a CPU: fused optimizers leave the step out, others see zeros."""
    p = torch.nn.Parameter(torch.ones(3))
    update = update_with(make(p), steps=0)
    for value in (1.0, bad, 1.0):
        p.grad = torch.full((3,), value)
        before = p.detach().clone()
        make_harmless(update, torch.isfinite(size_of(update.gradients())))
        update.optimizer.step()
        forget_flags(update)
        update.steps += 1
        assert torch.isfinite(p).all()
        assert torch.equal(p, before) == (untouched and value != 1.0)
    assert not {"found_inf", "grad_scale"} & vars(update.optimizer).keys()
    assert all(torch.isfinite(v).all() for v in update.optimizer.state[p].values() if isinstance(v, torch.Tensor))


def test_a_first_step_that_is_bad_leaves_no_rubbish_in_the_state() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    update = update_with(torch.optim.SGD([p], lr=0.1, momentum=0.9, fused=True), steps=0)
    p.grad = torch.full((3,), float("nan"))
    make_harmless(update, torch.isfinite(size_of(update.gradients())))
    update.optimizer.step()
    assert torch.equal(p, torch.ones(3))
    assert torch.equal(update.optimizer.state[p]["momentum_buffer"], torch.zeros(3))


def test_skip_leaves_out_a_whole_window() -> None:
    batches = spoilt(float("nan"), at=1)
    trainer, clean = tiny_trainer(train_data=batches, finite="skip", accumulate=2), tiny_trainer(accumulate=2)
    rows = trainer.fit(epochs=1)
    clean.fit(tiny_batches(4)[2:], epochs=1)
    assert torch.equal(trainer.model.weight, clean.model.weight)
    state, expected = (t.updates["main"].optimizer.state_dict()["state"] for t in (trainer, clean))
    assert torch.equal(state[0]["momentum_buffer"], expected[0]["momentum_buffer"])
    assert rows[0]["loss"] != rows[0]["loss"], "a NaN is shown as what it is"

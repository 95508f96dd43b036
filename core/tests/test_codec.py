"""State as JSON and tensors: what is read is what was written, types too."""

from __future__ import annotations

import json
import math
import random
from collections import Counter, OrderedDict
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch.optim import lr_scheduler

from fit_core import FitError
from fit_core.codec import Encoder, decode


def there_and_back(value: Any) -> Any:
    encoder = Encoder()
    text = json.dumps(encoder.encode(value, "it"), allow_nan=False)
    return decode(json.loads(text), load(save(encoder.tensors)))


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(7), b.nan_to_num(7))
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(k, j) and same(v, w) for (k, v), (j, w) in zip(a.items(), b.items(), strict=True))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (float, complex)):
        return repr(a) == repr(b)
    return bool(a == b)


keys = st.one_of(st.text(max_size=4), st.integers(), st.tuples(st.integers(), st.text(max_size=2)), st.floats(allow_nan=False), st.none())
hashable = st.one_of(st.integers(), st.text(max_size=3), st.booleans())
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(max_size=20),
    st.sampled_from(["$tuple", "$", torch.float16, torch.device("cuda:1"), torch.Size([2, 3]), torch.Size([])]),
    st.lists(st.floats(width=32), max_size=5).map(torch.tensor),
    st.integers(-(2**62), 2**62).map(torch.tensor),
    st.lists(st.integers(0, 255), max_size=4).map(lambda x: np.array(x, dtype="u1")),
    st.floats(width=32).map(np.float32),
    st.sets(hashable, max_size=3),
    st.frozensets(hashable, max_size=3),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
        st.dictionaries(st.sampled_from(["$tuple", "$x", "a"]), inner, max_size=2),
    ),
    max_leaves=12,
)


@given(value=values)
@settings(max_examples=300, deadline=None)
def test_what_is_read_is_what_was_written(value: Any) -> None:
    assert same(value, there_and_back(value))


EXAMPLES: list[Any] = [
    math.nan,
    -math.inf,
    -0.0,
    10**40,
    Counter({3: 2, 1: 1}),
    random.Random(3).getstate(),
    np.random.RandomState(3).get_state(),
    torch.get_rng_state(),
    torch.randn(4, 3).T,
    torch.randn(2, 2).bfloat16(),
    torch.zeros(0),
    torch.tensor(True),
    torch.complex(torch.ones(2), torch.ones(2)).conj(),
    np.array(3.5),
    np.arange(6, dtype=">i4").reshape(2, 3)[:, ::2],
    np.bool_(True),
    {"a": {"b": [1, (2, {"c": None})]}},
]


@pytest.mark.parametrize("value", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples(value: Any) -> None:
    assert same(value, there_and_back(value))


def test_views_of_one_tensor_are_saved_apart() -> None:
    whole = torch.arange(6.0)
    found = there_and_back([whole, whole, whole[2:4], whole.reshape(2, 3)])
    assert same(found, [whole, whole, whole[2:4], whole.reshape(2, 3)])


class Own:
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"plugin": {"model": [Own()]}},
            r"cannot save it\['plugin'\]\['model'\]\[0\]: it is .*test_codec.Own; return numbers, text, tensors",
        ),
        ([lambda: 0], r"cannot save it\[0\]: it is builtins.function"),
        ({"a": np.array(["x"])}, r"cannot save it\['a'\]: it is numpy.ndarray"),
        (torch.zeros(2, dtype=torch.complex128), r"cannot save it: it is a tensor \(complex128, strided\) that a checkpoint cannot hold"),
        ({Own(): 1}, "cannot save a key of it: it is"),
    ],
)
def test_what_cannot_be_saved_is_named(value: Any, message: str) -> None:
    with pytest.raises(FitError, match=message):
        Encoder().encode(value, "it")


OPTIMIZERS = [
    value
    for name, value in vars(torch.optim).items()
    if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and name not in ("Optimizer", "SparseAdam")
]


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.__name__)
def test_states_of_every_optimizer(kind: Any) -> None:
    def made() -> tuple[torch.nn.Linear, Any]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2, bias=False)
        return model, kind(model.parameters(), lr=0.01)

    def step(model: torch.nn.Linear, optimizer: Any) -> None:
        def closure() -> Any:
            optimizer.zero_grad()
            loss = model(torch.ones(4, 3)).square().sum()
            loss.backward()
            return loss.detach()

        optimizer.step(closure)

    model, optimizer = made()
    for _ in range(3):
        step(model, optimizer)
    saved = optimizer.state_dict()
    found = there_and_back(saved)
    assert same(saved, found)
    again, other = made()
    again.load_state_dict(model.state_dict())
    other.load_state_dict(found)
    step(model, optimizer)
    step(again, other)
    assert torch.equal(model.weight, again.weight)


SCHEDULES: list[Any] = [
    partial(lr_scheduler.StepLR, step_size=2),
    partial(lr_scheduler.MultiStepLR, milestones=[2, 4]),
    lr_scheduler.ConstantLR,
    lr_scheduler.LinearLR,
    partial(lr_scheduler.ExponentialLR, gamma=0.9),
    partial(lr_scheduler.PolynomialLR, total_iters=9),
    partial(lr_scheduler.CosineAnnealingLR, T_max=9),
    partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=3),
    partial(lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1),
    partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=20),
    partial(lr_scheduler.LambdaLR, lr_lambda=lambda step: 0.9**step),
    lr_scheduler.ReduceLROnPlateau,
    lambda o: lr_scheduler.SequentialLR(o, [lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [2]),
    lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.9)]),
]


@pytest.mark.parametrize("make", SCHEDULES, ids=range(len(SCHEDULES)))
def test_states_of_every_schedule(make: Any) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    schedule = make(optimizer)
    for _ in range(3):
        optimizer.step()
        schedule.step(1.0) if isinstance(schedule, lr_scheduler.ReduceLROnPlateau) else schedule.step()
    assert same(schedule.state_dict(), there_and_back(schedule.state_dict()))

"""Numbers that don't depend on how data is cut into batches."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from fit_core import FitError
from fit_core.criterion import Criterion, terms
from fit_core.mean import WeightedMean
from fit_core.metrics import Accuracy, FunctionMetric, resolve_metrics
from fit_core.state import Progress, State
from fit_core.testing import tiny_trainer

SAMPLES = 24
cuttings = st.lists(st.integers(1, SAMPLES - 1), unique=True).map(lambda cuts: [0, *sorted(cuts), SAMPLES])


def cut(cuts: list[int], *arrays: Tensor) -> list[tuple[Tensor, ...]]:
    return [tuple(array[a:b] for array in arrays) for a, b in itertools.pairwise(cuts)]


def data(seed: int, kind: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    if kind == "values":
        return torch.randn(SAMPLES, 4, generator=generator), torch.rand(SAMPLES, 3, generator=generator)
    if kind == "pixels":
        return torch.randn(SAMPLES, 3, 5, generator=generator), torch.randint(0, 3, (SAMPLES, 5), generator=generator)
    targets = torch.randint(0, 3, (SAMPLES,), generator=generator)
    if kind == "some ignored":
        targets[torch.rand(SAMPLES, generator=generator) < 0.4] = -100
        targets[0] = 1
    return torch.randn(SAMPLES, 4, generator=generator), targets


CRITERIA: dict[str, tuple[Any, str]] = {
    "cross entropy": (nn.CrossEntropyLoss(), "classes"),
    "with class weights": (nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0])), "classes"),
    "with ignored targets": (nn.CrossEntropyLoss(), "some ignored"),
    "with both": (nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0])), "some ignored"),
    "with smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), "classes"),
    "with probabilities": (nn.CrossEntropyLoss(), "values"),
    "as a function": (F.cross_entropy, "some ignored"),
    "a function of one's own": (lambda outputs, targets: F.cross_entropy(outputs, targets), "classes"),
    "per pixel": (nn.CrossEntropyLoss(), "pixels"),
    "mse": (nn.MSELoss(), "values"),
    "bce": (nn.BCEWithLogitsLoss(), "values"),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), "classes"),
    "divergence": (nn.KLDivLoss(reduction="batchmean"), "values"),
}


@pytest.mark.parametrize("name", CRITERIA)
@settings(max_examples=20, deadline=None)
@given(cuts=cuttings, seed=st.integers(0, 99))
def test_the_loss_equals_that_of_one_batch(name: str, cuts: list[int], seed: int) -> None:
    loss_fn, kind = CRITERIA[name]
    inputs, targets = data(seed, kind)
    model = nn.Identity() if kind == "pixels" else nn.Linear(4, 3)
    trainer = tiny_trainer(model=model, loss_fn=loss_fn, optimizer=None)
    whole = trainer.evaluate([(inputs, targets)])["test_loss"]
    assert whole == pytest.approx(loss_fn(model(inputs), targets).item(), rel=1e-6)
    in_parts = trainer.evaluate(cut(cuts, inputs, targets))["test_loss"]
    assert in_parts == pytest.approx(whole, rel=1e-6, abs=1e-7)


@settings(max_examples=30, deadline=None)
@given(cuts=cuttings, seed=st.integers(0, 99))
def test_metrics_equal_those_of_one_batch(cuts: list[int], seed: int) -> None:
    inputs, targets = data(seed, "classes")

    def per_sample(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.max(1).values

    def mean_of_batch(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.mean()

    trainer = tiny_trainer(optimizer=None, metrics=["accuracy", per_sample, mean_of_batch])
    whole = trainer.evaluate([(inputs, targets)])
    outputs = trainer.model(inputs)
    assert whole["test_accuracy"] == pytest.approx((outputs.argmax(1) == targets).double().mean().item())
    assert whole["test_mean_of_batch"] == pytest.approx(outputs.mean().item(), abs=1e-6)
    assert trainer.evaluate(cut(cuts, inputs, targets)) == pytest.approx(whole, rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 100)), min_size=1, max_size=700), st.integers(0, 700))
@settings(max_examples=50, deadline=None)
def test_a_weighted_mean_can_be_merged(pairs: list[tuple[float, float]], half: int) -> None:
    one, left, right = WeightedMean(), WeightedMean(), WeightedMean()
    for i, (value, weight) in enumerate(pairs):
        tensor = torch.tensor(value, dtype=torch.float64) if i % 3 else value
        one.add(tensor, weight)
        (left if i < half else right).add(tensor, weight)
    left.merge(right)
    weights = sum(weight for _, weight in pairs)
    if weights == 0:
        assert math.isnan(one.compute())
        return
    expected = math.fsum(value * weight for value, weight in pairs) / math.fsum(weight for _, weight in pairs)
    assert one.compute() == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert left.compute() == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_weight_zero_leaves_no_trace_of_nan() -> None:
    mean = WeightedMean()
    mean.add(torch.tensor(float("nan")), torch.tensor(0))
    mean.add(2.0, 3)
    assert mean.compute() == 2.0


def test_a_buffer_that_is_used_again_does_no_harm() -> None:
    inputs, targets = data(0, "classes")

    def reusing() -> Any:
        x, y = torch.empty(6, 4), torch.empty(6, dtype=torch.int64)
        for a, b in cut([0, 6, 12, 18, 24], inputs, targets):
            x.copy_(a)
            y.copy_(b)
            yield x, y

    trainer = tiny_trainer(optimizer=None, metrics=["accuracy"])
    assert trainer.evaluate(reusing()) == pytest.approx(trainer.evaluate([(inputs, targets)]), rel=1e-6)


@pytest.mark.parametrize(
    ("outputs", "targets", "value"),
    [
        (torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([1, 1]), 0.5),
        (torch.tensor([[[1.0, 9.0], [2.0, 0.0]]]), torch.tensor([[1, 0]]), 1.0),
    ],
)
def test_accuracy(outputs: Tensor, targets: Tensor, value: float) -> None:
    metric = Accuracy()
    metric.update(outputs, targets)
    other = Accuracy()
    other.update(outputs, targets)
    metric.merge(other)
    assert metric.compute() == value
    metric.reset()
    assert math.isnan(metric.compute())


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [(torch.zeros(4), torch.zeros(4)), (torch.zeros(4, 3), torch.zeros(4, 3)), (torch.zeros(4, 3), None), ([1], torch.zeros(4))],
)
def test_accuracy_is_not_guessed(outputs: Any, targets: Any) -> None:
    with pytest.raises(FitError, match=r"metric 'accuracy' needs .* callable \(outputs, targets\)"):
        Accuracy().update(outputs, targets)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["acuracy"], r"no metric 'acuracy' \(known: accuracy, loss\); did you mean 'accuracy'\?"),
        (["zzz"], r"no metric 'zzz' \(known: accuracy, loss\); try: pip install fit-metrics"),
        (["accuracy", "accuracy"], "two metrics are called 'accuracy'"),
        ([3], "3 is no metric"),
    ],
)
def test_unknown_metrics(metrics: list[Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        resolve_metrics(metrics)


def test_metrics_by_class_and_function() -> None:
    def error(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) != targets).float()

    found = resolve_metrics(["loss", Accuracy, error])
    assert [metric.name for metric in found] == ["accuracy", "error"]
    assert isinstance(found[1], FunctionMetric)


def test_a_loss_function_may_set_the_weight() -> None:
    def loss_fn(outputs: Tensor, targets: Tensor, state: State) -> Tensor:
        state.weight = 7
        return outputs.sum()

    state = State(Progress("train"), nn.Identity(), torch.device("cpu"), {}, dict)
    state.outputs, state.targets = torch.ones(2), torch.ones(2)
    Criterion(loss_fn)(state)
    assert terms(state) == 7


def test_metrics_see_neither_gradients_nor_graphs() -> None:
    def watch(outputs: Tensor, targets: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert not outputs.requires_grad
        return outputs.mean()

    big = [(torch.randn(300, 1000), torch.zeros(300, dtype=torch.int64))]  # more than a block holds
    tiny_trainer(model=nn.Linear(1000, 1000), metrics=[watch], train_data=big, val_data=None).fit(epochs=1)

"""What holds of every metric: it equals a plain computation however the data is cut; halves merge; passes repeat; states go on."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor, nn

from fit_core import Trainer
from fit_core.codec import Encoder, decode
from fit_core.metric_list import MetricList, for_loss
from fit_core.metrics import Metric
from fit_metrics import (
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    maximum,
    mean,
    minimum,
    mse,
    per_class,
    quantile,
    score,
    std,
    top_k_accuracy,
    var,
)

SAMPLES = 24
CLASSES = 5
Data = tuple[Any, Any]


def classes(seed: int) -> Data:
    """Scores of five classes and the right ones."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, CLASSES, (SAMPLES,), generator=generator)
    targets[:CLASSES] = torch.arange(CLASSES)
    return torch.randn(SAMPLES, CLASSES, generator=generator), targets


def ignored(seed: int) -> Data:
    """The same, with some targets that don't count."""
    outputs, targets = classes(seed)
    targets[::3] = -100
    return outputs, targets


def tokens(seed: int) -> Data:
    """Scores (batch, classes, tokens) with padding 0 in the targets."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SAMPLES, CLASSES, 6, generator=generator), torch.randint(0, CLASSES, (SAMPLES, 6), generator=generator)


def soft(seed: int) -> Data:
    """Scores and probabilities of classes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SAMPLES, CLASSES, generator=generator), torch.rand(SAMPLES, CLASSES, generator=generator)


def events(seed: int) -> Data:
    """Logits and targets 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 2, (SAMPLES,), generator=generator).float()
    targets[:2] = torch.tensor([0.0, 1.0])
    return torch.randn(SAMPLES, generator=generator), targets


def values(seed: int) -> Data:
    """Values and other ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SAMPLES, 3, generator=generator), torch.randn(SAMPLES, 3, generator=generator)


def several(seed: int) -> Data:
    """Two outputs and two targets."""
    outputs, targets = classes(seed)
    return {"logits": outputs, "other": -outputs}, (targets, -targets)


def probabilities(outputs: Tensor) -> Any:
    return outputs.softmax(1).numpy()


@dataclass
class Case:
    """A metric, and how to compute its values plainly."""

    metric: Any
    data: Callable[[int], Data]
    plain: Callable[[Any, Any], dict[str, float]]
    loss_fn: Any = field(default_factory=nn.CrossEntropyLoss)

    @cached_property
    def made(self) -> Metric:
        """The metric for the loss function. Looking its name up in what is installed takes longer than all else, so it is done once."""
        [made] = for_loss(MetricList().resolve([self.metric]), self.loss_fn)
        return made

    def make(self) -> Metric:
        """Return a new metric for the loss function."""
        return copy.deepcopy(self.made)


def right(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets)[targets != -100].double()


def margin(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the highest score of each sample."""
    return outputs.amax(1)


def spread(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    found = outputs.amax(1).double()
    ordered = found.sort().values.numpy()
    return {
        "margin": float(found.mean()),
        "margin_std": float(found.std()),
        "margin_var": float(found.var()),
        "margin_max": float(found.max()),
        "margin_min": float(found.min()),
        "margin_q90": float(numpy.quantile(ordered, 0.9)),
    }


def of_each_class(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    return {f"accuracy_{i}": float((outputs.argmax(1) == targets)[targets == i].double().mean()) for i in range(CLASSES)}


def columns(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    found = (outputs - targets).square().double().mean(0)
    return {f"mse_{i}": float(each) for i, each in enumerate(found)}


BCE = nn.BCEWithLogitsLoss()
MSE = nn.MSELoss()
NAMES = ["ant", "bee", "cat", "dog", "emu"]
CASES: dict[str, Case] = {
    "accuracy": Case("accuracy", classes, lambda o, t: {"accuracy": float(right(o, t).mean())}),
    "accuracy with ignored": Case("accuracy", ignored, lambda o, t: {"accuracy": float(right(o, t).mean())}),
    "accuracy of tokens": Case(
        "accuracy",
        tokens,
        lambda o, t: {"accuracy": float((o.argmax(1) == t)[t != 0].double().mean())},
        nn.CrossEntropyLoss(ignore_index=0),
    ),
    "accuracy of soft targets": Case("accuracy", soft, lambda o, t: {"accuracy": float((o.argmax(1) == t.argmax(1)).double().mean())}),
    "accuracy of events": Case("accuracy", events, lambda o, t: {"accuracy": float(((o > 0) == (t > 0.5)).double().mean())}, BCE),
    "accuracy of probabilities": Case(
        "accuracy",
        lambda seed: (events(seed)[0].sigmoid(), events(seed)[1]),
        lambda o, t: {"accuracy": float(((o > 0.5) == (t > 0.5)).double().mean())},
        nn.BCELoss(),
    ),
    "accuracy of values": Case("accuracy", values, lambda o, t: {"mse": float((o - t).square().double().mean())}, MSE),
    "accuracy of magnitudes": Case("accuracy", values, lambda o, t: {"mae": float((o - t).abs().double().mean())}, nn.L1Loss()),
    "accuracy of some loss": Case("accuracy", classes, lambda o, t: {"accuracy": float(right(o, t).mean())}, lambda o, t: o.mean()),
    "top 3": Case(
        top_k_accuracy(3),
        ignored,
        lambda o, t: {"top_3_accuracy": float((o.topk(3).indices == t[:, None]).any(1)[t != -100].double().mean())},
    ),
    "a threshold": Case(
        binary_accuracy(0.7), events, lambda o, t: {"binary_accuracy": float(((o.sigmoid() > 0.7) == (t > 0.5)).double().mean())}, BCE
    ),
    "rmse": Case("rmse", values, lambda o, t: {"rmse": math.sqrt((o - t).square().double().mean())}, MSE),
    "r2": Case("r2", values, lambda o, t: {"r2": sk.r2_score(t.double().numpy(), o.double().numpy())}, MSE),
    "picked": Case(
        categorical_accuracy(output="logits", target=0),
        several,
        lambda o, t: {"categorical_accuracy": float((o["logits"].argmax(1) == t[0]).double().mean())},
        lambda o, t: o["logits"].mean(),
    ),
    "classes last": Case(
        categorical_accuracy(class_dim=-1),
        lambda seed: (tokens(seed)[0].movedim(1, -1), tokens(seed)[1]),
        lambda o, t: {"categorical_accuracy": float((o.argmax(-1) == t).double().mean())},
        lambda o, t: o.mean(),
    ),
    "aggregates": Case(mean(std(var(maximum(minimum(quantile(margin, q=0.9)))))), classes, spread),
    "per class": Case(per_class("accuracy"), classes, of_each_class),
    "per named class": Case(
        per_class("accuracy", classes=NAMES),
        classes,
        lambda o, t: {f"accuracy_{NAMES[int(key[-1])]}": value for key, value in of_each_class(o, t).items()},
    ),
    "columns": Case(mean(mse(), dim=0), values, columns, MSE),
    "arithmetic": Case(("error", 1 - accuracy()), classes, lambda o, t: {"error": float(1 - right(o, t).mean())}),
    "a function of a batch": Case(lambda o, t: o.mean(), classes, lambda o, t: {"<lambda>": float(o.double().mean())}),
    "spread of values": Case(std(lambda o, t: o), classes, lambda o, t: {"<lambda>_std": float(o.double().std())}),
    "f1": Case("f1", ignored, lambda o, t: {"f1": sk.f1_score(t[t != -100], o.argmax(1)[t != -100], average="macro", zero_division=0)}),
    "precision of events": Case("precision", events, lambda o, t: {"precision": sk.precision_score(t, o > 0, zero_division=0)}, BCE),
    "roc auc of events": Case("roc_auc", events, lambda o, t: {"roc_auc": sk.roc_auc_score(t, o)}, BCE),
    "average precision": Case("average_precision", events, lambda o, t: {"average_precision": sk.average_precision_score(t, o)}, BCE),
    "a score": Case(
        sk.balanced_accuracy_score, classes, lambda o, t: {"balanced_accuracy_score": sk.balanced_accuracy_score(t, o.argmax(1))}
    ),
    "confusion matrix": Case(
        score(sk.confusion_matrix, "confusion"),
        events,
        lambda o, t: {f"confusion_{i}_{j}": sk.confusion_matrix(t, o > 0)[i, j] for i in (0, 1) for j in (0, 1)},
        BCE,
    ),
    "log loss": Case(sk.log_loss, classes, lambda o, t: {"log_loss": sk.log_loss(t, probabilities(o), labels=range(CLASSES))}),
    "a score of values": Case(sk.mean_absolute_error, values, lambda o, t: {"mean_absolute_error": sk.mean_absolute_error(t, o)}, MSE),
}

cuttings = st.lists(st.integers(1, SAMPLES - 1), unique=True).map(lambda cuts: [0, *sorted(cuts), SAMPLES])


def part(value: Any, begin: int, end: int) -> Any:
    if isinstance(value, dict):
        return {key: part(each, begin, end) for key, each in value.items()}
    return tuple(part(each, begin, end) for each in value) if isinstance(value, tuple) else value[begin:end]


def cut(cuts: list[int], data: Data) -> list[Data]:
    return [(part(data[0], a, b), part(data[1], a, b)) for a, b in itertools.pairwise(cuts)]


examples = settings(max_examples=15, deadline=None)


class Passes(nn.Module):
    """Returns what it is given, so that data are outputs."""

    def forward(self, **outputs: Any) -> Any:
        return outputs["outputs"] if list(outputs) == ["outputs"] else outputs


def named(metric: Metric) -> dict[str, float]:
    found = metric.compute()
    return dict(found) if isinstance(found, Mapping) else {metric.name: found}


def fed(case: Case, seed: int, cuts: list[int], metric: Metric | None = None) -> Metric:
    metric = case.make() if metric is None else metric
    metric.reset()
    for outputs, targets in cut(cuts, case.data(seed)):
        metric.update(outputs, targets)
    return metric


def evaluated(case: Case, seed: int, cuts: list[int]) -> dict[str, float]:
    """Return the values that a trainer reports, which feeds metrics in blocks."""
    trainer = Trainer(Passes(), case.loss_fn, metrics=[case.metric], quiet=True)
    data = [(outputs if isinstance(outputs, dict) else {"outputs": outputs}, targets) for outputs, targets in cut(cuts, case.data(seed))]
    return {name.removeprefix("test_"): value for name, value in trainer.evaluate(data).items() if name != "test_loss"}


@pytest.mark.parametrize("name", CASES)
def test_the_value_is_that_of_a_plain_computation(name: str) -> None:
    case = CASES[name]
    expected = {key: float(value) for key, value in case.plain(*case.data(3)).items()}
    assert named(fed(case, 3, [0, SAMPLES])) == pytest.approx(expected, rel=1e-6, abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("name", CASES)
@examples
@given(cuts=cuttings, seed=st.integers(0, 99))
def test_batching_changes_nothing(name: str, cuts: list[int], seed: int) -> None:
    case = CASES[name]
    whole = named(fed(case, seed, [0, SAMPLES]))
    assert named(fed(case, seed, cuts)) == pytest.approx(whole, rel=1e-6, abs=1e-7, nan_ok=True)
    assert evaluated(case, seed, cuts) == pytest.approx(whole, rel=1e-6, abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("name", CASES)
@examples
@given(cuts=cuttings, at=st.integers(0, SAMPLES), seed=st.integers(0, 99))
def test_halves_can_be_merged(name: str, cuts: list[int], at: int, seed: int) -> None:
    case = CASES[name]
    whole = named(fed(case, seed, [0, SAMPLES]))
    left, right = (case.make() for _ in range(2))
    left.reset()
    right.reset()
    begin = 0
    for outputs, targets in cut(cuts, case.data(seed)):
        (left if begin < at else right).update(outputs, targets)
        begin += len(targets[0] if isinstance(targets, tuple) else targets)
    left.merge(right)
    assert named(left) == pytest.approx(whole, rel=1e-6, abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("name", CASES)
@examples
@given(cuts=cuttings, seed=st.integers(0, 99))
def test_a_second_pass_equals_the_first(name: str, cuts: list[int], seed: int) -> None:
    case = CASES[name]
    metric = fed(case, seed, cuts)
    first = named(metric)
    assert named(metric) == pytest.approx(first, nan_ok=True, rel=0, abs=0), "reading changes nothing"
    fed(case, seed + 1, [0, SAMPLES], metric)
    assert named(fed(case, seed, cuts, metric)) == pytest.approx(first, nan_ok=True, rel=0, abs=0)


@pytest.mark.parametrize("name", CASES)
@examples
@given(cuts=cuttings, at=st.integers(0, SAMPLES), seed=st.integers(0, 99))
def test_a_saved_state_goes_on_to_the_bit(name: str, cuts: list[int], at: int, seed: int) -> None:
    case = CASES[name]
    expected = named(fed(case, seed, cuts))
    metric = case.make()
    metric.reset()
    begin, saved = 0, False
    for outputs, targets in cut(cuts, case.data(seed)):
        if begin >= at and not saved:
            encoder = Encoder()
            told = encoder.encode(metric.state_dict(), "metric")
            metric = case.make()
            metric.reset()
            metric.load_state_dict(decode(told, encoder.tensors))
            saved = True
        metric.update(outputs, targets)
        begin += len(targets[0] if isinstance(targets, tuple) else targets)
    assert named(metric) == pytest.approx(expected, nan_ok=True, rel=0, abs=0)


@pytest.mark.parametrize("name", CASES)
def test_no_graph_is_kept_and_none_is_broken(name: str) -> None:
    case = CASES[name]
    outputs, targets = case.data(1)
    if isinstance(outputs, dict):
        outputs = {key: each.requires_grad_() for key, each in outputs.items()}
        leaf = outputs["logits"]
    else:
        leaf = outputs = outputs.requires_grad_()
    metric = case.make()
    metric.reset()
    metric.update(outputs, targets)
    encoder = Encoder()
    encoder.encode(metric.state_dict(), "metric")
    assert not any(tensor.requires_grad for tensor in encoder.tensors.values())
    leaf.sum().backward()
    assert torch.equal(leaf.grad, torch.ones_like(leaf))

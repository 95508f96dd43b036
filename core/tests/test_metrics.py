"""Numbers that don't depend on how data is cut into batches."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from fit_core import FitError, StateKey, Trainer, hookimpl
from fit_core.criterion import Criterion, terms
from fit_core.entrypoints import Catalog
from fit_core.mean import WeightedMean
from fit_core.meter import Block
from fit_core.metric_list import MetricList, higher_is_better
from fit_core.metrics import Accuracy, FunctionMetric
from fit_core.state import Progress, State
from fit_core.testing import tiny_batches, tiny_trainer

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
        (["acuracy"], r"no metric 'acuracy' \(known: accuracy, .*loss.*\); did you mean 'accuracy'\?"),
        (["zzz"], r"no metric 'zzz' \(known: accuracy, .*loss.*\)"),
        (["accuracy", "accuracy"], "two metrics are called 'accuracy'"),
        ([3], "3 is no metric"),
    ],
)
def test_unknown_metrics(metrics: list[Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        MetricList().resolve(metrics)


@pytest.mark.parity("T6")
def test_metrics_by_class_and_function() -> None:
    def error(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) != targets).float()

    found = MetricList().resolve(["loss", Accuracy, error])
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


@pytest.mark.parity("S6")
def test_metrics_see_neither_gradients_nor_graphs() -> None:
    def watch(outputs: Tensor, targets: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        assert not outputs.requires_grad
        return outputs.mean()

    big = [(torch.randn(300, 1000), torch.zeros(300, dtype=torch.int64))]  # more than a block holds
    tiny_trainer(model=nn.Linear(1000, 1000), metrics=[watch], train_data=big, val_data=None).fit(epochs=1)


def test_a_block_is_taken_up_whole_however_much_one_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    block, other = Block(), Block()
    assert all(block.offer(torch.randn(64, 10), torch.full((64,), i)) for i in range(20))
    monkeypatch.setattr("fit_core.meter.BLOCK_BYTES", 1000)
    other.load_state_dict(block.state_dict())
    assert not other.offer(torch.randn(64, 10), torch.zeros(64, dtype=torch.long))
    before, after = block.take(), other.take()
    assert before is not None
    assert after is not None
    assert all(map(torch.equal, before[:2], after[:2]))
    assert len(after[1]) == 20 * 64


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fit_core.entrypoints.find_spec", lambda name: None)
    monkeypatch.setattr("fit_core.metric_list.Catalog", lambda group: Catalog("fit.nothing"))
    assert MetricList().metric("accuracy").name == "accuracy"
    with pytest.raises(FitError, match=r"no metric 'f1' \(known: accuracy, loss\); try: pip install fit-metrics$"):
        MetricList().metric("f1")

    class Foreign:
        __module__ = "torchmetrics.classification"

    with pytest.raises(FitError, match="is of torchmetrics; to use it as a metric: pip install fit-metrics"):
        MetricList().metric(Foreign())


def test_targets_that_the_criterion_ignores_do_not_count() -> None:
    outputs, targets = torch.eye(3), torch.tensor([0, 0, 2])
    for ignored, value in ((0, 1.0), (2, 0.5), (-100, 2 / 3)):
        metric = Accuracy().for_loss(nn.CrossEntropyLoss(ignore_index=ignored))
        metric.update(outputs, targets)
        assert metric.compute() == pytest.approx(value)
    assert Accuracy(ignore_index=2).for_loss(nn.CrossEntropyLoss(ignore_index=0)).ignore_index == 2
    assert Accuracy().for_loss(partial(F.cross_entropy, ignore_index=1)).ignore_index == 1


@pytest.mark.parity("T6", "S3")
def test_a_metric_gets_another_name() -> None:
    def gap(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.amax(1)

    key: StateKey[Tensor] = StateKey("noise")
    row = tiny_trainer(metrics=[("right", "accuracy"), ("one", gap), ("two", gap), ("buzz", key), Accuracy]).evaluate(
        [(torch.ones(2, 4), torch.zeros(2, dtype=torch.int64))]
    )
    assert row.keys() == {"test_loss", "test_right", "test_one", "test_two", "test_accuracy"}
    assert row["test_one"] == row["test_two"]


class Several:
    """Counts batches and samples, and looks at the state."""

    name = "several"
    higher_is_better = None

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.batches, self.samples, self.phase = 0, 0, ""

    def begin(self, state: State) -> None:
        self.phase = state.phase

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        raise AssertionError

    def update_block(self, outputs: Tensor, targets: Tensor, sizes: list[int]) -> None:
        assert len(targets) == sum(sizes)
        self.batches += len(sizes)
        self.samples += len(targets)

    def compute(self) -> dict[str, float]:
        return {"batches_seen": self.batches, **({"samples_seen": self.samples} if self.phase == "train" else {})}

    def directions(self) -> dict[str, bool | None]:
        return {"batches_seen": True, "samples_seen": False}

    def merge(self, other: Several) -> None:
        self.batches += other.batches
        self.samples += other.samples


def test_a_metric_of_several_values() -> None:
    trainer = tiny_trainer(
        metrics=[Several(), "accuracy"], train_data=[(torch.ones(n, 4), torch.zeros(n, dtype=torch.int64)) for n in (2, 5, 1)]
    )
    [row] = trainer.fit(epochs=1)
    assert (row["batches_seen"], row["samples_seen"]) == (3, 8)
    assert "val_samples_seen" not in row
    assert [higher_is_better("x", f"val_{name}", "auto", trainer.metrics) for name in ("batches_seen", "samples_seen")] == [True, False]
    with pytest.raises(FitError, match="two metrics are called 'batches_seen'"):
        tiny_trainer(metrics=[Several(), ("batches_seen", Accuracy)])


class Norms:
    """A metric with a hook: the trainer registers it as a plugin."""

    name = "norms"
    higher_is_better = None
    passive = True

    def __init__(self) -> None:
        self.seen: list[float] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Norms:
        other = Norms()
        other.seen = self.seen
        return other

    @hookimpl
    def on_step_start(self, trainer: Trainer) -> None:
        self.seen.append(float(next(trainer.model.parameters()).grad.norm()))  # type: ignore[union-attr]

    def reset(self) -> None:
        """Forget nothing."""

    def update(self, outputs: Any, targets: Any) -> None:
        """Do nothing."""

    def compute(self) -> float:
        return float(len(self.seen))

    def merge(self, other: Norms) -> None:
        """Do nothing."""


def test_a_metric_with_hooks_is_a_plugin() -> None:
    trainer = tiny_trainer(metrics=[Norms()], train_data=tiny_batches(3))
    assert "norms" in [member.name for member in trainer.members]
    assert trainer.fit(epochs=1)[0]["norms"] == 3


def test_a_value_that_waits_for_nobody_is_not_costly() -> None:
    class Costly(Accuracy):
        name = "slow"
        costly = True

    seen: list[set[str]] = []

    class Watch:
        @hookimpl
        def on_batch_end(self, state: State) -> None:
            seen.append(set(state.metrics))

    [row] = tiny_trainer(metrics=[Costly, "accuracy"], plugins=[Watch()], train_data=tiny_batches(1)).fit(epochs=1)
    assert seen == [{"loss", "accuracy"}]
    assert "slow" in row


class InPlace:
    """Adds up in place, as many metrics do."""

    name = "in_place"
    higher_is_better = None

    def __init__(self) -> None:
        self.samples = 0

    def reset(self) -> None:
        self.total = torch.zeros(())

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.total += outputs.detach().mean()  # in float32: it matters what is joined
        self.samples += len(targets)

    def compute(self) -> float:
        return float(self.total) + self.samples

    def merge(self, other: InPlace) -> None:
        self.total += other.total


@settings(max_examples=20, deadline=None)
@given(looks=st.sets(st.integers(1, 12)))
def test_looking_at_values_changes_none(looks: set[int]) -> None:
    class Looks:
        @hookimpl
        def on_batch_end(self, state: State) -> None:
            if state.batch in looks:
                assert state.metrics["mean"] == state.metrics["mean"]

    def mean(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.mean()

    def train(*plugins: Any) -> dict[str, float]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = nn.Linear(4, 3)
        metrics = [mean, InPlace(), "accuracy"]
        [row] = tiny_trainer(model=model, metrics=metrics, train_data=tiny_batches(12), plugins=plugins).fit(epochs=1)
        return {name: value for name, value in row.items() if name != "seconds"}

    assert train(Looks()) == train()

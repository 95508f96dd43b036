"""Metrics of whole passes, of other libraries and of the training itself; what they cost; and that runs with them resume."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from typing import Any

import pytest
import sklearn.metrics
import torch
import torchmetrics
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.items import Heatmap
from fit_core.testing import check_plugin, check_resume, tiny_batches, tiny_trainer
from fit_metrics import (
    EpochMetric,
    TorchMetric,
    categorical_accuracy,
    epoch_metric,
    last,
    maximum,
    mean,
    metric,
    minimum,
    mse,
    per_class,
    quantile,
    running_mean,
    score,
    std,
    top_k_accuracy,
    var,
)
from fit_metrics.gathered import Gathered


def evaluated(what: list[Any], data: Any, loss_fn: Any = None, model: nn.Module | None = None) -> dict[str, float]:
    trainer = Trainer(model or nn.Identity(), loss_fn or nn.CrossEntropyLoss(), metrics=what, quiet=True)
    return {name.removeprefix("test_"): value for name, value in trainer.evaluate(data).items() if name != "test_loss"}


def scores_and_classes(classes: int = 3, seed: int = 0, samples: int = 60) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(samples) % classes
    outputs = torch.randn(samples, classes, generator=generator) + nn.functional.one_hot(targets, classes)
    return [(outputs[i : i + 7], targets[i : i + 7]) for i in range(0, samples, 7)]


def whole(data: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    outputs, targets = zip(*data, strict=True)
    return torch.cat(outputs), torch.cat(targets)


# ------------------------------------------------------------------------------------------------------- whole passes


@pytest.mark.parity("M6")
def test_a_function_of_everything() -> None:
    calls: list[int] = []

    @epoch_metric(higher_is_better=True)
    def agreement(outputs: Tensor, targets: Tensor) -> float:
        calls.append(len(targets))
        return float((outputs.argmax(1) == targets).double().mean())

    seen: list[bool] = []

    class Watch:
        @hookimpl
        def on_batch_end(self, state: State) -> None:
            seen.append("agreement" in state.metrics)

    train, val = tiny_batches(3), tiny_batches(2)
    trainer = tiny_trainer(metrics=[agreement, "accuracy"], train_data=train, val_data=val, plugins=[Watch()])
    [row] = trainer.fit(epochs=1)
    assert (row["agreement"], row["val_agreement"]) == pytest.approx((row["accuracy"], row["val_accuracy"]), rel=1e-15)
    assert len(calls) == 2, "once for each pass"
    assert seen == [False] * 3
    running = EpochMetric(agreement.function, "agreement", running=True)
    tiny_trainer(metrics=[running], train_data=train, plugins=[Watch()]).fit(epochs=1)
    assert seen[3:] == [True] * 3


@pytest.mark.parity("K10")
def test_roc_auc_by_name_of_two_classes_and_of_several() -> None:
    two, three = scores_and_classes(2), scores_and_classes(3)
    outputs, targets = whole(two)
    expected = sklearn.metrics.roc_auc_score(targets, outputs.softmax(1)[:, 1])
    assert evaluated(["roc_auc", sklearn.metrics.roc_auc_score], two) == pytest.approx({"roc_auc": expected, "roc_auc_score": expected})
    outputs, targets = whole(three)
    expected = sklearn.metrics.roc_auc_score(targets, outputs.softmax(1), multi_class="ovr")
    assert evaluated(["roc_auc"], three) == pytest.approx({"roc_auc": expected}, rel=1e-6)
    one_vs_one = partial(sklearn.metrics.roc_auc_score, multi_class="ovo")
    assert evaluated([("ovo", one_vs_one)], three)["ovo"] == pytest.approx(
        sklearn.metrics.roc_auc_score(targets, outputs.softmax(1), multi_class="ovo"), rel=1e-6
    )


def test_predictions_that_need_gradients_are_no_trouble() -> None:
    [row] = tiny_trainer(metrics=["roc_auc", "f1"], train_data=tiny_batches(8), val_data=None).fit(epochs=1)
    assert 0 <= row["roc_auc"] <= 1


def test_several_labels_for_a_sample() -> None:
    generator = torch.Generator().manual_seed(1)
    outputs, targets = torch.randn(30, 4, generator=generator), torch.randint(0, 2, (30, 4), generator=generator).float()
    what = [partial(sklearn.metrics.f1_score, average="macro"), "average_precision", "binary_accuracy"]
    found = evaluated(what, [(outputs, targets)], nn.BCEWithLogitsLoss())
    assert found["f1_score"] == pytest.approx(sklearn.metrics.f1_score(targets, outputs > 0, average="macro"))
    assert found["average_precision"] == pytest.approx(sklearn.metrics.average_precision_score(targets, outputs.sigmoid()))


def test_values_of_classes_have_names() -> None:
    data = scores_and_classes(3)
    outputs, targets = whole(data)
    found = evaluated([score(partial(sklearn.metrics.f1_score, average=None), "f1")], data)
    assert list(found.values()) == pytest.approx(sklearn.metrics.f1_score(targets, outputs.argmax(1), average=None))
    assert list(found) == ["f1_0", "f1_1", "f1_2"]
    named = EpochMetric(lambda outputs, targets: {"low": outputs.min(), "high": outputs.max()}, "range")
    assert evaluated([named], data) == pytest.approx({"range_low": float(outputs.min()), "range_high": float(outputs.max())})
    with pytest.raises(FitError, match="'range' has several values; arithmetic needs one"):
        evaluated([("x", 1 - named)], data)
    error = 1 - score(sklearn.metrics.accuracy_score)
    assert evaluated([("error", error)], data)["error"] == pytest.approx(1 - float((outputs.argmax(1) == targets).double().mean()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: score(sklearn.metrics.pairwise_distances),
            r"what does pairwise_distances compare\? pass score\(pairwise_distances, on='labels'\)",
        ),
        (lambda: EpochMetric(len, on="labelled"), "on must be 'outputs', 'labels' or 'probabilities', not 'labelled'"),
        (lambda: EpochMetric(len, activation="relu"), "activation must be one of exp, none, sigmoid, softmax, not 'relu'"),
        (lambda: evaluated(["roc_auc"], scores_and_classes(), lambda o, t: o.mean()), "metric 'roc_auc' cannot know what this loss"),
        (lambda: evaluated(["roc_auc"], scores_and_classes(), nn.MultiMarginLoss()), "cannot make probabilities of these outputs"),
        (lambda: evaluated(["f1"], [(torch.ones(4), torch.ones(4))], nn.MSELoss()), "metric 'f1' cannot know what this loss"),
        (
            lambda: evaluated([score(len, on="outputs", max_bytes=100)], scores_and_classes()),
            "'len' would gather more than 0 MB of outputs",
        ),
    ],
)
def test_what_is_asked(make: Any, message: str) -> None:
    with pytest.raises(FitError, match=message):
        make()


def test_an_activation_that_is_given() -> None:
    data = scores_and_classes(3)
    plain = lambda outputs, targets: nn.functional.cross_entropy(outputs, targets)  # noqa: E731
    assert evaluated([score(sklearn.metrics.log_loss, activation="softmax")], data, plain) == pytest.approx(
        evaluated([sklearn.metrics.log_loss], data), rel=1e-6
    )
    assert evaluated(["f1"], data, plain) == evaluated(["f1"], data)


def test_gathered_tensors_are_copies_in_their_order() -> None:
    gathered = Gathered()
    buffer = torch.empty(2**19, 2)
    for i in range(6):  # 4 MB each: more than waits
        buffer.fill_(i)
        gathered.add(buffer, buffer[:, 0])
    found, column = gathered.joined()
    assert found.shape == (6 * 2**19, 2)
    assert torch.equal(found[:: 2**19, 0], torch.arange(6.0))
    assert torch.equal(column, found[:, 0])


def test_what_is_gathered_of_classes_is_small() -> None:
    metric = score(sklearn.metrics.f1_score, "f1", max_bytes=60 * (4 + 4 + 1))
    with pytest.raises(FitError, match="'f1' cannot be computed of .* Target is multiclass but average='binary'"):  # when all fits
        evaluated([metric], scores_and_classes(3))
    with pytest.raises(FitError, match="would gather more"):
        evaluated([score(sklearn.metrics.f1_score, "f1", max_bytes=60 * (4 + 4 + 1) - 1)], scores_and_classes(3))


# --------------------------------------------------------------------------------------------------- other libraries


def test_metrics_of_torchmetrics() -> None:
    data = scores_and_classes(3)
    outputs, targets = whole(data)
    f1 = torchmetrics.classification.MulticlassF1Score(3)
    found = evaluated([f1, ("each", torchmetrics.classification.MulticlassRecall(3, average=None)), ("miss", 1 - TorchMetric(f1))], data)
    expected = float(f1(outputs, targets))
    assert found["multiclass_f1_score"] == pytest.approx(expected)
    assert found["miss"] == pytest.approx(1 - expected)
    assert [found[f"each_{i}"] for i in range(3)] == pytest.approx(sklearn.metrics.recall_score(targets, outputs.argmax(1), average=None))
    assert f1.update_count == 1, "passes have copies"


def test_collections_of_torchmetrics() -> None:
    collection = torchmetrics.MetricCollection(
        {
            "exact": torchmetrics.classification.MulticlassAccuracy(3, average="micro"),
            "f1": torchmetrics.classification.MulticlassF1Score(3),
        }
    )
    trainer = tiny_trainer(metrics=[collection, "accuracy"])
    rows = trainer.fit(epochs=2)
    for row in rows:
        assert row["exact"] == pytest.approx(row["accuracy"])
        assert row["val_exact"] == pytest.approx(row["val_accuracy"])
    with pytest.raises(FitError, match="two metrics are called 'f1'"):
        tiny_trainer(metrics=[collection, "f1"])


def test_torchmetrics_halves_states_and_several_outputs() -> None:
    class Two(nn.Module):
        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            return {"logits": inputs, "rest": inputs * 0}

    data = scores_and_classes(3)
    metric = TorchMetric(torchmetrics.classification.MulticlassAccuracy(3, average="micro"), "exact", output="logits")
    found = evaluated([metric], data, lambda outputs, _: outputs["rest"].mean(), Two())
    outputs, targets = whole(data)
    assert found["exact"] == pytest.approx(float((outputs.argmax(1) == targets).double().mean()))
    left, right, rest = (TorchMetric(torchmetrics.classification.MulticlassAccuracy(3, average="micro")) for _ in range(3))
    left.update(outputs[:20], targets[:20])
    right.update(outputs[20:], targets[20:])
    rest.load_state_dict(left.state_dict())
    rest.merge(right)
    assert rest.compute() == pytest.approx({"multiclass_accuracy": found["exact"]})


# ------------------------------------------------------------------------------------------------ the training itself


@pytest.mark.parity("K7", "K8")
def test_the_gradient_norm_of_every_step() -> None:
    norms: list[float] = []

    class Watch:
        @hookimpl
        def on_step_start(self, trainer: Trainer) -> None:
            norms.append(float(torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]).norm()))

    options: dict[str, Any] = {"train_data": tiny_batches(5), "accumulate": 2, "plugins": [Watch()]}
    [row] = tiny_trainer(metrics=[mean(maximum("grad_norm")), "learning_rate"], **options).fit(epochs=1)
    assert len(norms) == 3
    assert row["grad_norm"] == pytest.approx(sum(norms) / 3, rel=1e-5)
    assert row["learning_rate"] == pytest.approx(row["lr"])
    assert "val_learning_rate" not in row


def test_the_learning_rate_of_groups() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    groups = [{"params": network[0].parameters(), "lr": 0.1}, {"params": network[1].parameters(), "lr": 0.2}]
    [row] = tiny_trainer(model=network, optimizer=torch.optim.SGD(groups), metrics=["learning_rate"]).fit(epochs=1)
    assert (row["learning_rate_0"], row["learning_rate_1"]) == pytest.approx((0.1, 0.2))


@pytest.mark.parity("M9")
def test_time_and_memory() -> None:
    [row] = tiny_trainer(metrics=["throughput", "timings", "device_memory"]).fit(epochs=1)
    parts = ["data", "forward", "loss", "backward", "step"]
    assert all(0 < row[f"{part}_seconds"] < row["seconds"] for part in parts)
    assert "val_forward_seconds" in row
    assert "val_backward_seconds" not in row
    assert row["throughput"] > 0
    assert row["device_memory"] > 10


def test_throughput_leaves_validation_out() -> None:
    import time

    class Slow:
        @hookimpl
        def on_eval_batch_end(self) -> None:
            time.sleep(0.05)

    train, val = tiny_batches(4), tiny_batches(8)
    [row] = tiny_trainer(metrics=["throughput"], plugins=[Slow()], train_data=train, val_data=val).fit(epochs=1, val_every="1 batches")
    samples = sum(len(targets) for _, targets in train)
    assert samples / row["throughput"] < 0.4 < row["seconds"]


def test_a_confusion_matrix_is_shown() -> None:
    shown: dict[str, Heatmap] = {}

    class Sink:
        @hookimpl
        def on_show(self, name: str, item: Any) -> None:
            shown[name] = item

    data = scores_and_classes(3)
    trainer = Trainer(nn.Identity(), nn.CrossEntropyLoss(), plugins=["confusion-matrix:classes=[a,b,c]", Sink()], quiet=True)
    trainer.evaluate(data)
    outputs, targets = whole(data)
    [(name, item)] = shown.items()
    assert name == "test_confusion"
    assert item.values.tolist() == sklearn.metrics.confusion_matrix(targets, outputs.argmax(1)).tolist()
    assert (item.row_title, item.column_title, list(item.row_names)) == ("truth", "prediction", ["a", "b", "c"])
    with pytest.raises(FitError, match="has 2 names of classes, but the outputs have 3"):
        Trainer(nn.Identity(), nn.CrossEntropyLoss(), plugins=["confusion-matrix:classes=[a,b]"], quiet=True).evaluate(data)


# --------------------------------------------------------------------------------------------------------- what it costs


USUAL: list[Any] = [
    mean(running_mean(std(var(maximum(minimum(last(quantile("accuracy")))))))),
    ("of_class", per_class("accuracy")),
    top_k_accuracy(2),
    running_mean("loss"),
    "f1",
    "roc_auc",
    "grad_norm",
    "learning_rate",
    "throughput",
    "timings",
    "device_memory",
    ("miss", 1 - categorical_accuracy()),
    metric("scores")(mean(lambda outputs, targets: outputs, dim=0)),
]


class Reads(TorchDispatchMode):
    """Counts what waits for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"):
            self.counts[name] += 1
        return function(*args, **(kwargs or {}))


def test_nothing_waits_in_a_batch() -> None:
    reads = Reads()

    class Count:
        @hookimpl
        def on_epoch_start(self) -> None:
            reads.__enter__()

        @hookimpl(trylast=True)
        def on_train_epoch_end(self) -> None:
            reads.__exit__(None, None, None)

    trainer = tiny_trainer(metrics=USUAL, train_data=tiny_batches(300), plugins=[Count()], finite="off")
    trainer.fit(epochs=1)
    assert not reads.counts


@pytest.mark.parametrize("what", ["metrics:names=[running_accuracy,f1,grad_norm]", "confusion-matrix"])
def test_the_plugins_conform(what: str) -> None:
    check_plugin(what)


def test_runs_resume_to_the_bit() -> None:
    check_resume(lambda: tiny_trainer(metrics=[each for each in USUAL if each not in ("throughput", "timings", "device_memory")], seed=3))
    collection = {"f1": torchmetrics.classification.MulticlassF1Score(3), "exact": torchmetrics.classification.MulticlassAccuracy(3)}
    check_resume(lambda: tiny_trainer(metrics=[torchmetrics.MetricCollection(collection), "recall"], seed=3))


def test_a_run_with_clocks_resumes() -> None:
    trainer = tiny_trainer(metrics=["timings", "throughput", "device_memory"], train_data=tiny_batches(4))
    states: list[dict[str, Any]] = []

    class Keep:
        passive = True

        @hookimpl
        def on_safe_point(self, trainer: Trainer, state: State) -> None:
            if state.batch_count == 2 and not states:
                states.append(trainer.state_dict())

    tiny_trainer(metrics=["timings", "throughput", "device_memory"], train_data=tiny_batches(4), plugins=[Keep()]).fit(epochs=1)
    trainer.load_state_dict(states[0])
    [row] = trainer.fit(epochs=1)
    assert math.isfinite(row["throughput"])


def test_mse_of_a_model_with_two_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(4, 3)

        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            scores = self.body(inputs)
            return scores, scores.sum(1)

    def loss_fn(outputs: Any, targets: Any) -> Tensor:
        return nn.functional.cross_entropy(outputs[0], targets["class"]) + outputs[1].square().mean()

    data = [(inputs, {"class": targets, "size": inputs.sum(1)}) for inputs, targets in tiny_batches(3)]
    metrics = [("kind", categorical_accuracy(output=0, target="class")), ("size", mse(output=1, target="size"))]
    [row] = tiny_trainer(model=Two(), loss_fn=loss_fn, metrics=metrics, train_data=data, val_data=None).fit(epochs=1)
    assert 0 <= row["kind"] <= 1 < row["size"] + 1

"""Traps: what a batch is, who looks when, what is used twice, and what is not as it seems."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import pytest
import sklearn.metrics
import torch
import torchmetrics
from torch import Tensor, nn

from fit_core import FitError, State, Trainer, Update, Updates, hookimpl
from fit_core.metric_list import MetricList, directions, higher_is_better
from fit_core.testing import check_resume, tiny_batches, tiny_trainer
from fit_metrics import (
    GradNorm,
    Throughput,
    Timings,
    TorchMetric,
    accuracy,
    epoch_metric,
    last,
    loss,
    maximum,
    mean,
    metric,
    mse,
    per_class,
    quantile,
    running_mean,
    score,
    std,
    var,
)
from fit_metrics.state_leaves import Losses

GENERATOR = torch.Generator().manual_seed(0)
OUTPUTS, TARGETS = torch.randn(100, 5, generator=GENERATOR), torch.randint(0, 5, (100,), generator=GENERATOR)
DATA = list(zip(OUTPUTS.split(10), TARGETS.split(10), strict=True))
CROSS = nn.CrossEntropyLoss()


class Looks:
    """Reads all values after each batch."""

    passive = True

    @hookimpl
    def on_batch_end(self, state: State) -> None:
        assert state.metrics is not None

    @hookimpl
    def on_eval_batch_end(self, state: State) -> None:
        assert state.metrics is not None


def evaluated(metrics: list[Any], data: Any = None, loss_fn: Any = CROSS, plugins: Any = (), model: Any = None) -> dict[str, float]:
    trainer = Trainer(model or nn.Identity(), loss_fn, metrics=metrics, plugins=plugins, quiet=True)
    return {name.removeprefix("test_"): value for name, value in trainer.evaluate(data or DATA).items()}


def test_a_function_sees_one_batch_at_a_time() -> None:
    def worst(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.abs().max()

    def alike(outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs @ outputs.T).fill_diagonal_(-math.inf).argmax(1) % 5 == targets).double()

    def columns(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[:5].max(0).values

    for function in (worst, alike, columns):
        of_batches = torch.cat([torch.as_tensor(function(*batch)).reshape(-1) for batch in DATA])
        for found in (evaluated([function]), evaluated([mean(function)]), evaluated([function], plugins=[Looks()])):
            assert found[function.__name__] == pytest.approx(float(of_batches.double().mean()), rel=1e-6)


def test_a_function_that_treats_samples_one_by_one_may_be_given_many() -> None:
    sizes: list[int] = []

    def best(outputs: Tensor, targets: Tensor) -> Tensor:
        sizes.append(len(outputs))
        return outputs.amax(1)

    expected = float(OUTPUTS.amax(1).mean())
    assert evaluated([metric("best", per_sample=True)(best)])["best"] == pytest.approx(expected)
    assert sizes == [100]
    best.per_sample = True  # type: ignore[attr-defined]
    assert evaluated([best])["best"] == pytest.approx(expected)
    assert sizes == [100, 100]


def test_outputs_and_targets_of_different_length_are_not_joined() -> None:
    def distance(outputs: Tensor, targets: Tensor) -> Tensor:
        one, other = outputs.chunk(2)
        return (one - other).norm(dim=1)

    pairs = [(torch.cat([a, a.flip(0)]), t) for a, t in DATA]
    expected = float(torch.cat([distance(*pair) for pair in pairs]).mean())
    for metrics in ([distance], [mean(distance)], [metric("distance", per_sample=True)(distance)]):
        assert evaluated(metrics, pairs, lambda o, t: o.mean())["distance"] == pytest.approx(expected, rel=1e-6)


def test_a_metric_that_is_used_twice_is_counted_once() -> None:
    spread = var(lambda outputs, targets: outputs.amax(1))
    alone = evaluated([spread])["<lambda>_var"]
    found = evaluated([spread, ("root", spread**0.5)])
    assert found["<lambda>_var"] == alone
    assert found["root"] == pytest.approx(alone**0.5)
    running = running_mean(lambda outputs, targets: outputs.amax(1), window=3)
    rows = [
        tiny_trainer(metrics=metrics, train_data=tiny_batches(7), seed=1).fit(epochs=1)[0]
        for metrics in ([running], [running, ("x", 2 * running)])
    ]
    assert rows[0]["running_<lambda>"] == rows[1]["running_<lambda>"] == rows[1]["x"] / 2
    assert "val_x" not in rows[1], "evaluations have no running means"


def test_hooks_of_metrics_that_others_are_made_of() -> None:
    trainer = tiny_trainer(metrics=["grad_norm", ("double", 2 * GradNorm().changed(name="norm"))], train_data=tiny_batches(5), accumulate=2)
    [row] = trainer.fit(epochs=1)
    assert row["double"] == pytest.approx(2 * row["grad_norm"])
    assert {"grad_norm", "norm"} <= {member.name for member in trainer.members}


def test_throughput_leaves_out_what_comes_after_a_batch() -> None:
    import time

    class Saves:
        passive = True

        @hookimpl(trylast=True)
        def on_safe_point(self) -> None:
            time.sleep(0.3)

    [row] = tiny_trainer(metrics=["throughput", ("thousands", Throughput().changed(name="t") / 1000)], plugins=[Saves()]).fit(epochs=1)
    assert row["throughput"] > 60, "with the pauses it would be below 54 samples a second"
    assert row["thousands"] > 0.06


def test_the_learning_rate_of_a_step_is_that_before_it() -> None:
    class Halves:
        @hookimpl
        def on_step_end(self, state: State) -> None:
            assert state.update is not None
            state.update.optimizer.param_groups[0]["lr"] /= 2

    [row] = tiny_trainer(metrics=["learning_rate"], plugins=[Halves()], train_data=tiny_batches(3)).fit(epochs=1)
    assert row["learning_rate"] == pytest.approx((1 + 1 / 2 + 1 / 4) / 3 * 4 * row["lr"])


def two_updates(**options: Any) -> Trainer:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    updates = Updates(
        [
            Update("a", torch.optim.SGD(network[0].parameters(), lr=0.1), loss_fn=nn.CrossEntropyLoss(ignore_index=0)),
            Update("b", torch.optim.SGD(network[1].parameters(), lr=0.2), loss_fn=lambda outputs, _: outputs.square().mean(), every=2),
        ]
    )
    return tiny_trainer(model=network, loss_fn=None, optimizer=updates, train_data=tiny_batches(4), **options)


def test_several_updates() -> None:
    def right(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return (outputs.argmax(1) == targets).double(), (targets != 0).double()

    [row] = two_updates(metrics=[("l", loss()), "running_loss", "learning_rate", "accuracy", ("right", mean(right))]).fit(epochs=1)
    assert row["l"] == row["running_loss"] == pytest.approx(row["loss"]), "the first update's"
    assert (row["learning_rate_0"], row["learning_rate_1"]) == pytest.approx((0.1, 0.2))
    assert row["accuracy"] == pytest.approx(row["right"]), "what the first update's criterion ignores does not count"
    assert row["val_l"] == pytest.approx(row["val_loss"])


def test_losses_that_are_sums_or_have_a_dimension() -> None:
    data = tiny_batches(4)
    [row] = tiny_trainer(metrics=[("l", loss())], loss_fn=nn.CrossEntropyLoss(reduction="sum"), train_data=data).fit(epochs=1)
    assert row["l"] == pytest.approx(row["loss"] / 4)
    [row] = tiny_trainer(metrics=[("l", loss())], loss_fn=lambda o, t: nn.functional.cross_entropy(o, t).reshape(1), train_data=data).fit(
        epochs=1
    )
    assert row["l"] == pytest.approx(row["loss"])


@pytest.mark.parametrize("name", ["accuracy", "categorical_accuracy", "f1"])
def test_one_output_is_not_one_class(name: str) -> None:
    data = [(torch.randn(6, 1), torch.tensor([0, 1, 0, 1, 1, 0]))]
    with pytest.raises(FitError, match="needs outputs"):
        evaluated([name], data, lambda o, t: o.mean())


def test_classes_in_the_last_dimension() -> None:
    outputs, targets = torch.randn(20, 7, 5, generator=GENERATOR), torch.randint(0, 5, (20, 7), generator=GENERATOR)
    from fit_metrics import categorical_accuracy

    tree = per_class(categorical_accuracy(class_dim=-1))
    found = evaluated([("c", tree)], [(outputs, targets)], lambda o, t: o.mean())
    assert [name for name in found if name.startswith("c_")] == [f"c_{i}" for i in range(5)]


def test_a_class_that_the_data_has_not_keeps_its_place() -> None:
    outputs = torch.eye(3)[[0, 2, 2, 0]]
    data = [(outputs, torch.tensor([0, 2, 0, 0]))]
    found = evaluated([("f", partial(sklearn.metrics.f1_score, average=None, zero_division=0)), sklearn.metrics.confusion_matrix], data)
    assert (found["f_1"], found["f_2"]) == (0.0, pytest.approx(2 / 3))
    assert found["confusion_matrix_0_2"] == 1
    assert found["confusion_matrix_1_1"] == 0
    assert 0 <= evaluated(["average_precision", "roc_auc"], data)["average_precision"] <= 1


def test_columns_of_other_magnitudes() -> None:
    values = torch.randn(50, 2, generator=GENERATOR, dtype=torch.float64) * torch.tensor([1.0, 1e-4]) + torch.tensor([1e13, 0.0])
    targets = values + torch.randn(50, 2, generator=GENERATOR, dtype=torch.float64) * 1e-5
    found = evaluated([std(lambda o, t: o, dim=0), "r2"], [(values, targets)], nn.MSELoss())
    assert found["<lambda>_std_1"] == pytest.approx(float(values[:, 1].std()), rel=1e-9)
    assert found["r2"] == pytest.approx(sklearn.metrics.r2_score(targets, values), rel=1e-2)


def test_skipped_batches_are_in_no_matrix() -> None:
    shown: list[Any] = []

    class Skips:
        @hookimpl
        def on_forward_end(self, trainer: Trainer, state: State) -> None:
            if state.batch % 2:
                trainer.skip_batch("odd")

        @hookimpl
        def on_show(self, item: Any) -> None:
            shown.append(item)

    evaluated(["accuracy"], plugins=["confusion-matrix", Skips()])
    assert int(shown[0].values.sum()) == 50


class Wide(nn.NLLLoss):
    """Computes in single precision."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().forward(outputs.float(), targets)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types(dtype: torch.dtype) -> None:
    outputs, targets = torch.full((4, 1), 300.0).to(dtype), torch.full((4, 1), -100.0).to(dtype)
    found = evaluated(["mse", sklearn.metrics.mean_absolute_error], [(outputs, targets)], nn.MSELoss())
    assert found["mse"] == pytest.approx(160000, rel=0.02)
    small = evaluated(
        [mse()], [(torch.tensor([1], dtype=torch.uint8), torch.tensor([3], dtype=torch.uint8))], lambda o, t: o.float().mean()
    )
    assert small["mse"] == 4
    logs = nn.functional.log_softmax(OUTPUTS, 1).to(dtype)
    assert 0 < evaluated(["roc_auc"], [(logs, TARGETS)], Wide())["roc_auc"] < 1


def test_scores_of_what_is_no_number() -> None:
    broken = [(torch.where(torch.arange(100)[:, None] == 3, math.nan, OUTPUTS), TARGETS)]
    assert math.isnan(evaluated(["roc_auc"], broken)["roc_auc"])
    with pytest.raises(FitError, match="metric 'f1_score' cannot be computed of .* multiclass"):
        evaluated([sklearn.metrics.f1_score])
    with pytest.raises(FitError, match="cannot join batches of shapes"):
        evaluated(
            [epoch_metric(lambda o, t: 0.0, name="all")],
            [(torch.ones(2, 3), TARGETS[:2]), (torch.ones(2, 4), TARGETS[:2])],
            lambda o, t: o.mean(),
        )


def test_events_of_pictures() -> None:
    outputs, targets = torch.randn(4, 1, 6, 6, generator=GENERATOR), torch.randint(0, 2, (4, 1, 6, 6), generator=GENERATOR).float()
    found = evaluated(["f1", "roc_auc"], [(outputs, targets)], nn.BCEWithLogitsLoss())
    assert found["f1"] == pytest.approx(sklearn.metrics.f1_score(targets.flatten(), outputs.flatten() > 0))
    assert found["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(targets.flatten(), outputs.flatten()))


def test_two_classes_are_an_event() -> None:
    outputs, targets = OUTPUTS[:, :2], TARGETS % 2
    found = evaluated(["f1", "precision", "recall"], [(outputs, targets)])
    assert found["f1"] == pytest.approx(sklearn.metrics.f1_score(targets, outputs.argmax(1)))


def test_keys_come_before_attributes() -> None:
    class Odd(nn.Module):
        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            return {"values": inputs, "items": inputs * 0}

    tree = metric("m", output="values")(mean(lambda o, t: o.amax(1)))
    assert evaluated([tree], loss_fn=lambda o, t: o["values"].mean(), model=Odd())["m"] == pytest.approx(float(OUTPUTS.amax(1).mean()))


def test_functions_of_the_state_and_classes_of_metrics() -> None:
    [row] = tiny_trainer(metrics=[("batch", lambda state: float(state.batch))], train_data=[(x, y) for x, y in tiny_batches(3)]).fit(
        epochs=1
    )
    assert row["batch"] == 2
    assert evaluated([torchmetrics.MeanSquaredError], [(torch.ones(3), torch.zeros(3))], nn.MSELoss())["mean_squared_error"] == 1
    renamed = metric("n", output=0)(torchmetrics.MeanSquaredError())
    assert renamed.name == "n"
    with pytest.raises(FitError, match="gave tuple, which is no number"):
        evaluated([torchmetrics.classification.MulticlassROC(5)])
    with pytest.raises(FitError, match=r"dim=\(0, 1\) is more than values .* have"):
        evaluated([mean("accuracy", dim=(0, 1))])
    with pytest.raises(FitError, match=r"weights \(3,\) do not fit to values .*"):
        evaluated([mean(lambda o, t: (o.amax(1), torch.ones(3)))])


def test_directions_of_unknown_functions_and_of_spreads() -> None:
    def my_cost(truth: Any, found: Any) -> float:
        return 0.0

    metrics = MetricList().resolve([score(my_cost, on="labels"), ("spread", 1 - std("accuracy")), ("error", 1 - accuracy())])
    assert directions(metrics) == {"my_cost": None, "spread": None, "error": False}
    with pytest.raises(FitError, match="cannot know whether more of 'my_cost'"):
        higher_is_better("x", "my_cost", "auto", metrics)
    with pytest.raises(FitError, match="has 2 aggregates; arithmetic needs a mean, or a single one"):
        1 - std(maximum("accuracy"))


def test_another_name_of_several_values() -> None:
    collection = torchmetrics.MetricCollection({"f1": torchmetrics.classification.MulticlassF1Score(5)})
    assert "mine_f1" in evaluated([("mine", collection)])
    [row] = tiny_trainer(metrics=[("t", "timings")]).fit(epochs=1)
    assert "t_forward_seconds" in row
    matrix = evaluated([("m", torchmetrics.classification.MulticlassConfusionMatrix(5))])
    assert "m_4_4" in matrix


def test_arithmetic_never_ends_a_run() -> None:
    assert math.isinf(evaluated([("x", math.e ** (loss() * 1e6))])["x"])
    assert math.isnan(evaluated([("x", (accuracy() - 2) ** 0.5)])["x"])


def test_what_is_costly_stays_costly() -> None:
    calls: list[int] = []

    def counted(outputs: Tensor, targets: Tensor) -> float:
        calls.append(len(targets))
        return 1.0

    evaluated([("x", 2 * epoch_metric(counted)), quantile("accuracy")], plugins=[Looks()])
    assert calls == [100]
    assert quantile("accuracy").costly


def resumable() -> list[Any]:
    exact = torchmetrics.classification.MulticlassAccuracy(3, average="micro")
    return [
        mean(running_mean(std(var(maximum(last("accuracy")))))),
        ("of", per_class("accuracy")),
        ("error", 1 - accuracy()),
        "f1",
        "running_loss",
        "grad_norm",
        "learning_rate",
        ("scores", mean(lambda outputs, targets: outputs, dim=0)),
        TorchMetric(exact),
        ("miss", 1 - TorchMetric(exact)),
        ("composed", 1 - exact),
        ("range", torchmetrics.MinMaxMetric(torchmetrics.classification.MulticlassAccuracy(3, average="micro"))),
    ]


@pytest.mark.parametrize("how", ["in blocks", "looked at", "taken in"])
def test_states_go_on_wherever_a_run_was_interrupted(how: str) -> None:
    plugins = {"in blocks": [], "looked at": [Looks], "taken in": [Full]}[how]
    big = [(torch.randn(200, 4, generator=GENERATOR), torch.randint(0, 3, (200,), generator=GENERATOR)) for _ in range(5)]
    make = partial(tiny_trainer, model=None, seed=3, train_data=big)

    def build() -> Trainer:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = nn.Sequential(nn.Linear(4, 600), nn.Linear(600, 3))
        return make(model=network, metrics=resumable(), plugins=[plugin() for plugin in plugins])

    check_resume(build, epochs=1, at=[1, 3])


class Full:
    """Lets nothing wait in the block."""

    passive = True

    @hookimpl(trylast=True)
    def on_batch_end(self, trainer: Trainer) -> None:
        trainer._passes[-1][1]._empty_block()


def test_a_changed_metric_begins_anew() -> None:
    states: list[Any] = []

    class Keep:
        passive = True

        @hookimpl
        def on_safe_point(self, trainer: Trainer, state: State) -> None:
            if state.batch_count == 2:
                states.append(trainer.state_dict())

    data = tiny_batches(4)
    tiny_trainer(metrics=[mean("accuracy")], plugins=[Keep(), Full()], train_data=data).fit(epochs=1)
    for metrics in ([mean(std("accuracy"))], [std(mean("accuracy"))], [maximum("accuracy")], ["accuracy"]):
        trainer = tiny_trainer(metrics=metrics, train_data=data)
        trainer.load_state_dict(states[0])
        assert trainer.fit(epochs=1)


def test_two_trainers_share_no_notes() -> None:
    norm, clocks = GradNorm(), Timings()
    one, two = (tiny_trainer(metrics=[norm, clocks], train_data=tiny_batches(3), seed=seed) for seed in (1, 2))

    class Nested:
        @hookimpl
        def on_epoch_end(self) -> None:
            two.fit(epochs=1)

    nesting = tiny_trainer(metrics=[norm, clocks], train_data=tiny_batches(3), seed=1, plugins=[Nested()])
    assert nesting.fit(epochs=2)[1]["grad_norm"] == one.fit(epochs=2)[1]["grad_norm"]


def test_metrics_that_are_told_the_loss_are_told_it_in_arithmetic() -> None:
    assert isinstance(loss(), Losses)
    found = evaluated([("double", 2 * loss()), ("sum", loss() + accuracy()), "accuracy"])
    assert found["double"] == pytest.approx(2 * found["loss"])
    assert found["sum"] == pytest.approx(found["loss"] + found["accuracy"])


def test_joining_is_by_kind() -> None:
    """Batches of other shapes, types and sizes in any order give what each gives alone."""
    kinds = [torch.randn(4, 5), torch.randn(2, 5), torch.randn(3, 5, dtype=torch.float64), torch.randn(4, 5)]
    data = [(outputs, torch.zeros(len(outputs), dtype=torch.int64)) for outputs in kinds]
    for order in itertools.permutations(data):
        found = evaluated(["categorical_accuracy"], list(order))
        assert found["categorical_accuracy"] == pytest.approx(sum(int((o.argmax(1) == 0).sum()) for o in kinds) / 13)

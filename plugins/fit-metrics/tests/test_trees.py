"""Trees in a run: names, decorators, running values, which loss they are for, and what goes wrong."""

from __future__ import annotations

import math
import sys
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fit_core import FitError, State, StateKey, Trainer, hookimpl
from fit_core.metric_list import MetricList, higher_is_better
from fit_core.testing import tiny_batches, tiny_trainer
from fit_metrics import (
    MetricTree,
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    last,
    loss,
    maximum,
    mean,
    metric,
    minimum,
    mse,
    per_class,
    quantile,
    running_mean,
    std,
    top_k_accuracy,
    var,
)


class Echo(nn.Module):
    """Returns its inputs, and has something to train."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.weight


def still(metrics: list[Any], data: Any, **options: Any) -> Trainer:
    """Return a trainer that changes nothing: its outputs are its inputs."""
    options = {"loss_fn": nn.MSELoss(), "optimizer": partial(torch.optim.SGD, lr=0.0), **options}
    return Trainer(Echo(), metrics=metrics, train_data=data, quiet=True, **options)


def distance(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs()


ZERO_TO_THREE = [(torch.tensor([0.0, 1.0]), torch.zeros(2)), (torch.tensor([2.0, 3.0]), torch.zeros(2))]


# ---------------------------------------------------------------------------------------------------------- names


@pytest.mark.parity("M2", "M4", "M7", "M8", "M10")
@pytest.mark.parametrize(
    "tree",
    [
        metric("q")(var(std(mean(running_mean(distance, window=1))))),
        var(std(metric("q")(running_mean(mean(distance), window=1)))),
        mean(metric("q")(var(running_mean(std(distance), window=1)))),
    ],
)
def test_the_names_of_a_tree(tree: MetricTree) -> None:
    trainer = still([tree], ZERO_TO_THREE)
    [row] = trainer.fit(val_data=list(ZERO_TO_THREE), epochs=1)
    values = {"q": 1.5, "q_std": 1.2909944, "q_var": 1.6666667}
    expected = {**values, "running_q": 2.5, **{f"val_{name}": value for name, value in values.items()}}
    assert {name: value for name, value in row.items() if "q" in name} == pytest.approx(expected)
    tested = trainer.evaluate(ZERO_TO_THREE)
    assert {name for name in tested if "q" in name} == {"test_q", "test_q_std", "test_q_var"}
    trained = trainer.evaluate(ZERO_TO_THREE, prefix="train_")
    assert trained["train_q"] == 1.5


@pytest.mark.parity("M5", "M10")
def test_decorators_on_a_function_and_on_a_class() -> None:
    @metric("near", higher_is_better=True)
    @std
    @mean
    def near(outputs: Tensor, targets: Tensor) -> Tensor:
        return distance(outputs, targets) < 1.5

    @running_mean(window=1)
    @metric("within")
    @mean
    class Within:
        """Whether the distance is below a limit."""

        def __init__(self, limit: float = 1.5) -> None:
            self.limit = limit

        def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return distance(outputs, targets) < self.limit

    trainer = still([near, Within, ("wide", Within(limit=2.5))], ZERO_TO_THREE)
    [row] = trainer.fit(epochs=1)
    assert (row["near"], row["near_std"], row["within"], row["running_within"]) == (0.5, pytest.approx(0.5773503), 0.5, 0.0)
    assert (row["wide"], row["running_wide"]) == (0.75, 0.5)
    assert near.higher_is_better is True
    assert Within.__doc__ == "Whether the distance is below a limit."


@pytest.mark.parity("M1", "B29")
@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([mean(distance), distance], "two metrics are called 'distance'"),
        ([std(distance), ("distance_std", mse())], "two metrics are called 'distance_std'"),
        (["accuracy", ("accuracy", mse())], "two metrics are called 'accuracy'"),
        ([("lr", mse())], "a metric cannot be called 'lr'"),
        ([("val_mse", mse())], "a metric cannot be called 'val_mse'"),
        (["top_6_accuracy"], "no metric 'top_6_accuracy' .*; did you mean 'top_5_accuracy'"),
    ],
)
def test_no_value_takes_the_place_of_another(metrics: list[Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        tiny_trainer(metrics=metrics)


def test_two_aggregates_of_one_name() -> None:
    with pytest.raises(FitError, match="'distance' has two aggregates of one name: distance, distance"):
        mean(mean(distance))


def test_names_that_are_known_late_clash_late() -> None:
    trainer = still([mean(distance, dim=0), ("distance_1", mse())], [(torch.ones(2, 3), torch.zeros(2, 3))])
    with pytest.raises(FitError, match="metric 'distance' gives a value 'distance_1'|metric 'distance_1' gives a value 'distance_1'"):
        trainer.fit(epochs=1)


@pytest.mark.parity("B29", "S3")
def test_a_key_of_the_state_is_a_metric() -> None:
    noise: StateKey[Tensor] = StateKey("noise")

    class Noisy:
        @hookimpl
        def on_forward_end(self, state: State) -> None:
            if state.phase == "train" or (state.phase == "validate" and state.batch == 1):
                state[noise] = torch.tensor(1.0 if state.phase == "train" else 5.0)

    trainer = still([noise, ("spread", std(noise)), ("top", maximum(noise))], ZERO_TO_THREE, plugins=[Noisy()])
    [row] = trainer.fit(val_data=list(ZERO_TO_THREE), epochs=1)
    assert (row["noise"], row["spread_std"], row["top_max"]) == (1.0, 0.0, 1.0)
    assert (row["val_noise"], row["val_top_max"]) == (5.0, 5.0)
    assert math.isnan(row["val_spread_std"]), "of one value"
    assert trainer.evaluate(ZERO_TO_THREE).keys() == {"test_loss"}, "nobody put anything there"


@pytest.mark.parity("M1")
def test_a_name_is_usable_where_its_module_is_an_active_plugin() -> None:
    module = ModuleType("own_metrics")
    module.far = metric("far")(mean(distance))  # type: ignore[attr-defined]

    def on_epoch_end(row: Any) -> None:
        assert row["far"] == 1.5

    module.on_epoch_end = hookimpl(on_epoch_end)  # type: ignore[attr-defined]
    with pytest.raises(FitError, match="no metric 'far'"):
        still(["far"], ZERO_TO_THREE)
    [row] = still(["far"], ZERO_TO_THREE, plugins=[module]).fit(epochs=1)
    assert row["far"] == 1.5


def test_metrics_from_the_command_line() -> None:
    trainer = tiny_trainer(plugins=["metrics:names=[top_5_accuracy,running_accuracy]"], model=nn.Linear(4, 6))
    [row] = trainer.fit(epochs=1)
    assert {"top_5_accuracy", "running_accuracy"} <= row.keys()
    with pytest.raises(FitError, match="no metric 'top_5_acuracy'.* did you mean"):
        tiny_trainer(plugins=["metrics:names=[top_5_acuracy]"])


# -------------------------------------------------------------------------------------------------- what they compute


@pytest.mark.parity("B10")
def test_batches_of_different_size() -> None:
    data = [(torch.zeros(4), torch.zeros(4)), (torch.ones(1), torch.zeros(1))]
    [row] = still([mse(), std("loss")], data).fit(epochs=1)
    assert (row["loss"], row["mse"]) == (pytest.approx(0.2), pytest.approx(0.2))


@pytest.mark.parity("B11")
def test_the_variance_is_stable() -> None:
    data = [(torch.tensor([10000.0, 10001.0]), torch.zeros(2)), (torch.tensor([10002.0]), torch.zeros(1))]
    [row] = still([var(std(distance))], data).fit(epochs=1)
    assert (row["distance_var"], row["distance_std"]) == (1.0, 1.0)
    [row] = still([var(std(distance))], data[1:]).fit(epochs=1)
    assert math.isnan(row["distance_var"]), "one observation has no variance of a sample"
    [row] = still([var(distance, unbiased=False)], data[1:]).fit(epochs=1)
    assert row["distance_var"] == 0
    [row] = still([std(distance)], [(torch.full((7,), 0.1), torch.zeros(7))] * 3).fit(epochs=1)
    assert row["distance_std"] == 0.0, "equal values"


@pytest.mark.parity("M8", "B12")
def test_running_means_begin_anew_with_each_epoch() -> None:
    data = [(torch.full((size,), value), torch.zeros(size)) for size, value in ((2, 0.0), (1, 1.0), (3, 2.0), (2, 9.0))]
    seen: list[dict[str, float]] = []

    class Watch:
        @hookimpl
        def on_batch_end(self, state: State) -> None:
            seen.append(state.metrics)

    metrics = [("two", running_mean(distance, window=2)), ("slow", running_mean(distance, window=2, step=2))]
    rows = still(metrics, data, plugins=[Watch()]).fit(epochs=2)
    assert [row["running_two"] for row in rows] == [pytest.approx(24 / 5)] * 2
    by_batch = [0.0, 1 / 3, 7 / 4, 24 / 5]
    assert [each["running_two"] for each in seen] == pytest.approx(by_batch * 2)
    assert [each["running_slow"] for each in seen] == pytest.approx([0.0, 0.0, 7 / 4, 7 / 4] * 2)


def test_a_running_mean_forgets_old_batches_of_any_count() -> None:
    data = [(torch.full((2,), float(i)), torch.zeros(2)) for i in range(700)]
    [row] = still([running_mean(distance, window=3), ("all", last(quantile(distance)))], data).fit(epochs=1)
    assert (row["running_distance"], row["all_last"], row["all_q50"]) == (698.0, 699.0, 349.5)


@pytest.mark.parity("B13")
@pytest.mark.parametrize("name", ["accuracy", "binary_accuracy"])
def test_logits_are_thresholded_as_probabilities(name: str) -> None:
    data = [(torch.tensor([0.3, -0.3]), torch.tensor([1.0, 0.0]))]
    for loss_fn in (
        nn.BCEWithLogitsLoss(),
        F.binary_cross_entropy_with_logits,
        partial(F.binary_cross_entropy_with_logits, reduction="sum"),
    ):
        [row] = still([name], data, loss_fn=loss_fn).fit(epochs=1)
        assert row[name] == 1.0
    chances = [(torch.tensor([0.6, 0.3]), torch.tensor([1.0, 1.0]))]
    assert still([name], chances, loss_fn=nn.BCELoss()).fit(epochs=1)[0][name] == 0.5


def test_a_threshold_and_who_takes_outputs_for_logits() -> None:
    data = [(torch.tensor([0.3, 2.0]), torch.tensor([0.0, 1.0]))]
    assert still([binary_accuracy(0.25, logits=False)], data).fit(epochs=1)[0]["binary_accuracy"] == 0.5
    assert still([binary_accuracy(0.6, logits=True)], data).fit(epochs=1)[0]["binary_accuracy"] == 1.0
    with pytest.raises(FitError, match="between 0 and 1, not 1"):
        binary_accuracy(1.0)


class Subclass(nn.MSELoss):
    """One's own."""


@pytest.mark.parity("B14")
def test_accuracy_of_sequences_images_and_unknown_criteria() -> None:
    sequences = torch.zeros(2, 3, 4)
    sequences[:, 1] = 1
    assert _evaluated("accuracy", nn.CrossEntropyLoss(), sequences, torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])) == {"accuracy": 0.75}
    images = torch.zeros(2, 3, 2, 2)
    images[:, 2] = 1
    assert _evaluated("accuracy", nn.CrossEntropyLoss(), images, torch.full((2, 2, 2), 2)) == {"accuracy": 1.0}
    numbers = torch.ones(4, 2), torch.zeros(4, 2)
    assert _evaluated("accuracy", Subclass(), *numbers) == {"mse": 1.0}
    assert _evaluated("accuracy", nn.L1Loss(), *numbers) == {"mae": 1.0}
    for unknown in (nn.HuberLoss(), lambda outputs, targets: (outputs - targets).mean()):
        with pytest.raises(FitError, match="cannot know what this loss function takes outputs for; use 'categorical_accuracy'"):
            _evaluated("accuracy", unknown, *numbers)


def _evaluated(what: Any, loss_fn: Any, outputs: Tensor, targets: Tensor) -> dict[str, float]:
    row = Trainer(Echo(), loss_fn, metrics=[what], quiet=True).evaluate([(outputs, targets)])
    return {name.removeprefix("test_"): value for name, value in row.items() if name != "test_loss"}


@pytest.mark.parity("M11")
def test_the_name_follows_the_loss_function() -> None:
    trainer = tiny_trainer(metrics=[mean(running_mean("accuracy")), ("right", "accuracy")], loss_fn=nn.MSELoss())
    assert higher_is_better("x", "val_mse", "auto", trainer.metrics) is False
    assert higher_is_better("x", "val_right", "auto", trainer.metrics) is False
    trainer.loss_fn = nn.CrossEntropyLoss()
    assert {"accuracy", "running_accuracy", "right"} <= trainer.fit(epochs=1)[0].keys()
    assert higher_is_better("x", "running_accuracy", "auto", trainer.metrics) is True


def test_ignored_targets() -> None:
    outputs = torch.eye(3)
    padding = nn.CrossEntropyLoss(ignore_index=0)
    for what in ("accuracy", "categorical_accuracy", top_k_accuracy(1)):
        [value] = _evaluated(what, padding, outputs, torch.tensor([0, 0, 2])).values()
        assert value == 1.0, "of one target that counts"
    [value] = _evaluated(categorical_accuracy(ignore_index=2), padding, outputs, torch.tensor([1, 1, 2])).values()
    assert value == 0.5, "what was given wins"
    assert math.isnan(_evaluated("accuracy", padding, outputs, torch.tensor([0, 0, 0]))["accuracy"])


def test_values_per_class() -> None:
    outputs, targets = torch.eye(3), torch.tensor([0, 0, 2])
    found = _evaluated(per_class("accuracy"), nn.CrossEntropyLoss(), outputs, targets)
    assert found == pytest.approx({"accuracy_0": 0.5, "accuracy_1": math.nan, "accuracy_2": 1.0}, nan_ok=True)
    with pytest.raises(FitError, match="there are targets that are none of the 2 classes"):
        _evaluated(per_class("accuracy", classes=["a", "b"]), nn.CrossEntropyLoss(), outputs, targets)
    with pytest.raises(FitError, match="values per class need one class index for each value"):
        _evaluated(per_class(mse()), nn.MSELoss(), torch.ones(2), torch.ones(2))


@pytest.mark.parity("B27")
def test_values_are_what_they_are() -> None:
    """Nothing is replaced by an attribute that happens to be called `data`."""

    class Wrapped:
        def __init__(self, data: Tensor) -> None:
            self.data = data

    class Wraps(nn.Module):
        def forward(self, inputs: Tensor) -> Any:
            return Wrapped(inputs)

    def kind(outputs: Any, targets: Tensor) -> Tensor:
        assert isinstance(outputs, Wrapped)
        return outputs.data

    row = Trainer(Wraps(), lambda outputs, _: outputs.data.mean(), metrics=[mean(kind)], quiet=True).evaluate(ZERO_TO_THREE)
    assert row["test_kind"] == 1.5


@pytest.mark.parity("M3")
def test_training_and_evaluation_do_not_mix() -> None:
    other = [(torch.full((2,), 100.0), torch.zeros(2))]

    class Peeks:
        @hookimpl
        def on_batch_end(self, trainer: Trainer) -> None:
            assert trainer.evaluate(other)["test_distance"] == 100.0

    [row] = still([running_mean(mean(distance))], ZERO_TO_THREE, plugins=[Peeks()]).fit(val_data=other, epochs=1)
    assert (row["distance"], row["running_distance"], row["val_distance"]) == (1.5, 1.5, 100.0)
    assert "val_running_distance" not in row


@pytest.mark.parity("B15", "B26")
def test_directions_are_said_not_guessed() -> None:
    metrics = MetricList().resolve(["roc_auc", "f1", ("accel_error", mse()), ("interval_x", std(mean("accuracy"))), "top_5_accuracy"])
    for monitor, better in {
        "val_roc_auc": True,
        "val_f1": True,
        "val_accel_error": False,
        "interval_x": True,
        "top_5_accuracy": True,
    }.items():
        assert higher_is_better("x", monitor, "auto", metrics) is better
    with pytest.raises(FitError, match="x cannot know whether more of 'interval_x_std' is better"):
        higher_is_better("x", "interval_x_std", "auto", metrics)
    trainer = tiny_trainer(metrics=[("interval_accuracy", "accuracy")])
    assert higher_is_better("x", "val_interval_accuracy", "auto", trainer.metrics) is True
    row = trainer.fit(epochs=1)[0]
    assert {"interval_accuracy", "val_interval_accuracy"} <= row.keys()
    assert not any(name.startswith("val_") for name in trainer.evaluate(tiny_batches(1)))


# ---------------------------------------------------------------------------------------------------------- arithmetic


def test_arithmetic() -> None:
    hits = accuracy()
    trainer = tiny_trainer(metrics=["accuracy", ("error", 1 - hits), ("same", 2 * hits * hits / (hits + hits)), hits**2 - 1])
    [row] = trainer.fit(epochs=1)
    assert row["error"] == pytest.approx(1 - row["accuracy"])
    assert row["same"] == pytest.approx(row["accuracy"])
    assert row["(accuracy**2)-1"] == pytest.approx(row["accuracy"] ** 2 - 1)
    assert row["val_error"] == pytest.approx(1 - row["val_accuracy"])
    for expression, better in {1 - hits: False, hits - 1: True, -hits: False, hits * -2: False, hits / 3: True, 1 / mse(): True}.items():
        assert expression.higher_is_better is better
    assert (hits * mse()).higher_is_better is None
    named = metric("error", higher_is_better=False)(hits - 1)
    assert (named.name, named.higher_is_better) == ("error", False)


def test_arithmetic_of_things_that_look_at_the_state() -> None:
    [row] = tiny_trainer(metrics=[("double", loss() * 2), ("perplexity", math.e ** loss()), ("mix", loss() + accuracy()), "accuracy"]).fit(
        epochs=1
    )
    assert row["double"] == pytest.approx(2 * row["loss"])
    assert row["perplexity"] == pytest.approx(math.exp(row["loss"]))
    assert row["mix"] == pytest.approx(row["loss"] + row["accuracy"])
    with pytest.raises(TypeError):
        loss() + "x"
    with pytest.raises(FitError, match="'distance' has several values; arithmetic needs one"):
        still([("x", 1 - mean(distance, dim=0))], [(torch.ones(2, 3), torch.zeros(2, 3))]).fit(epochs=1)
    with pytest.raises(FitError, match="aggregates belong to the metrics it is computed from"):
        std(1 - accuracy())


def test_division_by_zero_is_no_number() -> None:
    zero = metric("zero")(lambda outputs, targets: 0.0 * outputs)
    assert math.isnan(still([("x", 1 / zero)], ZERO_TO_THREE).fit(epochs=1)[0]["x"])


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mean(distance, dim=1), "dim=1 must have 0 in it"),
        (lambda: running_mean(distance, window=0), "window=0 and step=1 must be at least 1"),
        (lambda: quantile(distance, q=2), "q must be between 0 and 1, not 2"),
        (lambda: top_k_accuracy(0), "k must be at least 1"),
        (lambda: mean(3), "3 cannot be a metric"),
        (lambda: mean("acuracy"), "no metric 'acuracy'.*did you mean 'accuracy'"),
        (lambda: metric("x", output=1)(1 - accuracy()), "output= and target= belong to the metrics"),
    ],
)
def test_what_cannot_be_made(make: Any, message: str) -> None:
    with pytest.raises(FitError, match=message):
        make()


@pytest.mark.parametrize(
    ("what", "outputs", "targets", "message"),
    [
        (mse(), torch.ones(4, 1), torch.ones(4), r"'mse' needs outputs and targets of one shape, not \(4, 1\) float32 and \(4,\) float32"),
        (categorical_accuracy(), torch.ones(4, 3), torch.ones(4, 3, dtype=torch.int64), r"'categorical_accuracy' needs outputs \(batch, c"),
        (top_k_accuracy(9), torch.ones(4, 3), torch.zeros(4, dtype=torch.int64), "needs at least 9 classes; the outputs have 3"),
        (mse(output="logits"), torch.ones(4), torch.ones(4), r"'mse' looks at output='logits', which the outputs have not: a Tensor"),
        (
            mean(lambda o, t: "much"),
            torch.ones(4),
            torch.ones(4),
            "must return a number, a tensor, or a pair of values and weights, not str",
        ),
    ],
)
def test_what_a_metric_cannot_look_at(what: Any, outputs: Tensor, targets: Tensor, message: str) -> None:
    with pytest.raises(FitError, match=message):
        _evaluated(what, lambda outputs, targets: outputs.mean(), outputs, targets)


def test_leaves_that_choose_samples() -> None:
    """A leaf may return fewer values than there are samples: each batch is asked by itself then."""

    def positive(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[outputs > 0]

    data = [(torch.tensor(values), torch.zeros(len(values))) for values in ([1.0, 2.0], [-1.0, 3.0], [-1.0, -1.0], [4.0, -1.0])]
    [row] = still([mean(running_mean(last(positive), window=3))], data).fit(epochs=1)
    assert (row["positive"], row["running_positive"], row["positive_last"]) == (2.5, 3.5, 4.0)


def test_weights_of_values() -> None:
    def weighed(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(outputs > 1, outputs, math.nan), (outputs > 1).float()

    [row] = still([mean(std(maximum(quantile(last(weighed), q=1.0))))], ZERO_TO_THREE).fit(epochs=1)
    values = [row[name] for name in ("weighed", "weighed_std", "weighed_max", "weighed_q100", "weighed_last")]
    assert values == pytest.approx([2.5, math.sqrt(0.5), 3.0, 3.0, 2.5])


def test_nothing_is_registered_anywhere() -> None:
    """Two trainers have metrics of their own, and a module that is no plugin offers none."""
    tree = mean(distance)
    one, two = still([tree], ZERO_TO_THREE), still([tree], [(torch.ones(2), torch.zeros(2))])
    assert (one.fit(epochs=1)[0]["distance"], two.fit(epochs=1)[0]["distance"]) == (1.5, 1.0)
    assert "far" not in sys.modules


@pytest.mark.parity("M12")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.uint8, torch.int64, torch.bool])
def test_values_of_any_shape_and_type(dtype: torch.dtype) -> None:
    one = torch.ones(4, 3, requires_grad=True)
    for leaf in (
        lambda outputs, targets: outputs.detach().to(dtype),
        lambda outputs, targets: outputs.detach().to(dtype)[:, 0],
        lambda outputs, targets: outputs.detach().to(dtype)[0, 0],
        lambda outputs, targets: outputs.mean() + outputs.sum(1) * 0,
    ):
        found = _evaluated(metric("x")(mean(std(maximum(minimum(leaf))))), nn.MSELoss(), one, torch.ones(4, 3))
        assert (found["x"], found["x_max"], found["x_min"]) == (1.0, 1.0, 1.0)
        assert found["x_std"] == 0.0 or math.isnan(found["x_std"])
    columns = _evaluated(metric("x")(mean(lambda outputs, targets: outputs.detach().to(dtype), dim=0)), nn.MSELoss(), one, torch.ones(4, 3))
    assert columns == {"x_0": 1.0, "x_1": 1.0, "x_2": 1.0}


@pytest.mark.parity("K1", "K2", "K3", "K4", "K5", "K6", "K7")
def test_the_usual_names() -> None:
    names = ["accuracy", "running_accuracy", "categorical_accuracy", "top_5_accuracy", "top_10_accuracy", "loss", "running_loss"]
    model = nn.Linear(4, 12)
    [row] = tiny_trainer(model=model, metrics=names).fit(epochs=1)
    assert {*names, "epoch", "lr", "val_accuracy", "val_top_5_accuracy"} <= row.keys()
    assert row["accuracy"] <= row["top_5_accuracy"] <= row["top_10_accuracy"]
    assert row["categorical_accuracy"] == row["accuracy"]
    assert row["running_loss"] == pytest.approx(row["loss"]), "of an epoch with fewer batches than the window"
    assert "val_running_accuracy" not in row
    assert row["epoch"] == 1
    values = [(torch.tensor([0.2, 0.8]), torch.tensor([0.0, 0.6]))]
    [row] = still(["mse", "mae", "rmse", "binary_accuracy"], values).fit(epochs=1)
    assert (row["mse"], row["mae"], row["rmse"]) == pytest.approx((0.04, 0.2, 0.2))
    assert row["binary_accuracy"] == 1.0, "targets are thresholded too"

"""Points of curves, extreme samples, panels and pixels, without a trainer."""

from __future__ import annotations

import io
import math
from functools import partial

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from fit_vis.figures.panels import draw, panels
from fit_vis.figures.samples import Extremes, per_sample
from fit_vis.figures.thresholds import one_by_one, precision_recall, roc
from fit_vis.figures.words import guess, labels, said
from fit_vis.pictures import as_pictures, grid, png, signed, stretched

binary = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({t for _, t in pairs}) == 2
)


@given(binary)
@settings(deadline=None)
def test_roc_is_that_of_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    """With equal scores, which are one threshold."""
    scores, truth = torch.tensor([s for s, _ in pairs]).double(), torch.tensor([t for _, t in pairs])
    curve = roc(scores, truth)
    x, y, _ = sk.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.x, x)
    np.testing.assert_allclose(curve.y, y)
    assert curve.area == pytest.approx(sk.roc_auc_score(truth, scores))


@given(binary)
@settings(deadline=None)
def test_precision_and_recall_are_those_of_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = torch.tensor([s for s, _ in pairs]).double(), torch.tensor([t for _, t in pairs])
    curve = precision_recall(scores, truth)
    precision, recall, _ = sk.precision_recall_curve(truth, scores)
    np.testing.assert_allclose(curve.y, precision[-2::-1])  # it adds the point (0, 1)
    np.testing.assert_allclose(curve.x, recall[-2::-1])
    assert curve.area == pytest.approx(sk.average_precision_score(truth, scores))
    assert curve.share == pytest.approx(truth.double().mean())


def test_areas_of_one_class_alone_are_nan() -> None:
    assert math.isnan(roc(torch.rand(4), torch.ones(4, dtype=torch.bool)).area)
    assert math.isnan(precision_recall(torch.rand(4), torch.zeros(4, dtype=torch.bool)).area)


def test_several_classes_are_each_against_the_rest() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(60, 3, generator=generator) * 2, torch.randint(0, 3, (60,), generator=generator)
    expected = sk.roc_auc_score(targets, logits.double().softmax(1), multi_class="ovr", average=None)
    for outputs in (logits, logits.log_softmax(1), logits.softmax(1)):  # whatever the model returns
        found = one_by_one(outputs, targets)
        np.testing.assert_allclose([roc(*found[i]).area for i in range(3)], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.tensor([0.1, 2.0, -1.0]), torch.tensor([0.0, 1.0, 0.0])),
        (torch.tensor([[0.1], [2.0], [-1.0]]), torch.tensor([[-1], [1], [-1]])),
        (torch.tensor([[0.0, 0.1], [0.0, 2.0], [0.0, -1.0]]), torch.tensor([0, 1, 0])),
    ],
)
def test_an_event_and_two_classes_are_one_curve(outputs: Tensor, targets: Tensor) -> None:
    ((key, (scores, truth)),) = one_by_one(outputs, targets).items()
    assert key is None
    assert truth.tolist() == [False, True, False]
    assert scores.argsort().tolist() == [2, 0, 1]


def test_labels_have_a_curve_each_and_ignored_targets_do_not_count() -> None:
    several = one_by_one(torch.rand(4, 3), torch.tensor([[1, 0, 1]] * 4))
    assert [truth.tolist() for _, truth in several.values()] == [[True] * 4, [False] * 4, [True] * 4]
    ignored = one_by_one(torch.rand(4, 3), torch.tensor([0, -100, 2, 1]))
    assert [truth.tolist() for _, truth in ignored.values()] == [[True, False, False], [False, False, True], [False, True, False]]


LOSSES = [
    (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])), torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])),
    (partial(F.cross_entropy, label_smoothing=0.1), torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])),
    (F.mse_loss, torch.randn(5, 4), torch.randn(5, 4)),
    (nn.BCEWithLogitsLoss(), torch.randn(5, 1), torch.rand(5, 1)),
    (nn.CrossEntropyLoss(), torch.randn(5, 3, 2, 2), torch.zeros(5, 2, 2, dtype=torch.int64)),
]


@pytest.mark.parametrize(("criterion", "outputs", "targets"), LOSSES)
def test_losses_of_samples_are_those_of_batches_of_one(criterion: nn.Module, outputs: Tensor, targets: Tensor) -> None:
    each = per_sample(criterion)
    assert each is not None
    single = nn.CrossEntropyLoss(weight=None) if isinstance(criterion, nn.CrossEntropyLoss) else criterion
    alone = torch.stack([single(outputs[i : i + 1], targets[i : i + 1]) for i in range(5)])
    weight = getattr(criterion, "weight", None)  # a mean over one sample divides its weight out again
    torch.testing.assert_close(each(outputs, targets), alone * (weight[targets] if isinstance(weight, Tensor) else 1))
    assert getattr(criterion, "reduction", "mean") == "mean", "the criterion itself is as it was"


def test_a_function_without_a_reduction_has_no_losses_of_samples() -> None:
    assert per_sample(lambda outputs, targets: (outputs - targets).mean()) is None
    assert per_sample(None) is None


@given(st.lists(st.lists(st.integers(-50, 50), min_size=1, max_size=7), min_size=1, max_size=6), st.integers(1, 5))
@settings(deadline=None)
def test_extremes_are_those_of_the_sorted_whole(batches: list[list[int]], count: int) -> None:
    extremes = Extremes(count)
    for batch in batches:
        extremes.add(torch.tensor(batch).float(), torch.tensor(batch) * 10)
    whole = sorted(x for batch in batches for x in batch)
    assert extremes.best[0].tolist() == whole[:count]
    assert extremes.worst[0].tolist() == whole[::-1][:count]
    assert extremes.worst[1].tolist() == [10 * x for x in extremes.worst[0].tolist()]


def test_a_loss_that_is_nan_is_among_the_worst() -> None:
    extremes = Extremes(1)
    extremes.add(torch.tensor([1.0, math.nan, 3.0]), torch.arange(3))
    assert extremes.worst[1].tolist() == [1]
    assert extremes.best[1].tolist() == [0]


def test_values_go_into_panels_with_their_best() -> None:
    rows = [
        {"epoch": 1, "loss": 3.0, "accuracy": 0.1, "val_loss": 2.0, "val_accuracy": 0.3, "lr": 0.1, "seconds": 1.0},
        {"epoch": 2, "loss": 2.0, "accuracy": 0.2, "val_loss": math.nan, "val_accuracy": 0.5, "lr": 0.05, "seconds": 1.0},
        {"epoch": 3, "loss": 1.0, "accuracy": 0.3, "val_loss": 2.5, "val_accuracy": 0.5, "lr": 0.01, "seconds": 1.0, "x": 1.0},
    ]
    found = {p.name: p for p in panels(rows, ("val_",), {"val_loss": False, "val_accuracy": True, "accuracy": True})}
    assert list(found) == ["loss", "accuracy", "x", "lr"]
    assert found["loss"].best == ("val_", 1, 2.0), "NaN is no value"
    assert found["accuracy"].best == ("val_", 2, 0.5), "the earliest of equal ones"
    assert found["accuracy"].curves[""] == ([1, 2, 3], [0.1, 0.2, 0.3])
    assert found["x"].curves[""] == ([3], [1.0])
    assert found["x"].best is found["lr"].best is None, "it is not known which is better"
    figure = draw(list(found.values()))
    texts = [text.get_text() for axes in figure.axes for text in (axes.get_legend().get_texts() if axes.get_legend() else [])]
    assert texts == ["train", "val", "best: 2 (epoch 1)", "train", "val", "best: 0.5 (epoch 2)", "train"]
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy", "x", "learning rate"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}


def test_of_several_validation_sets_each_has_a_curve() -> None:
    rows = [{"epoch": 1, "loss": 1.0, "val_clean_loss": 2.0, "val_noisy_loss": 3.0}]
    (panel,) = panels(rows, ("val_clean_", "val_noisy_"), {"val_clean_loss": False})
    assert set(panel.curves) == {"", "val_clean_", "val_noisy_"}
    assert panel.best == ("val_clean_", 1, 2.0)


def test_samples_as_pictures() -> None:
    values = torch.tensor([[[[-1.0, 0.0], [1.0, 3.0]]]])
    found = as_pictures(values)
    assert found is not None
    assert found.flatten().tolist() == [0, 0.25, 0.5, 1], "the range becomes 0 to 1"
    unit = torch.rand(2, 3, 2, 2)
    assert as_pictures(unit).equal(unit), "from 0 to 1 they stay"  # type: ignore[union-attr]
    undone = as_pictures(torch.full((1, 3, 1, 1), 2.0), mean=[0.1, 0.2, 0.9], std=[0.1, 0.2, 0.3])
    assert undone is not None
    assert undone.flatten().tolist() == pytest.approx([0.3, 0.6, 1.0])
    assert as_pictures(torch.full((1, 2, 2), 255, dtype=torch.uint8)).shape == (1, 1, 2, 2)  # type: ignore[union-attr]
    assert as_pictures(torch.rand(2, 12), [3, 2, 2]).shape == (2, 3, 2, 2)  # type: ignore[union-attr]
    for none in (torch.rand(2, 12), torch.rand(2, 2, 4, 4), torch.rand(2), torch.rand(1, 1, 1, 1, 1)):
        assert as_pictures(none) is None
    assert as_pictures(torch.rand(2, 13), [3, 2, 2]) is None


def test_pictures_in_a_grid_and_in_a_file() -> None:
    pixels = torch.tensor([0.2, 0.4, 0.6]).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    laid = grid(pixels, columns=2)
    assert laid.shape == (1, 7, 7)
    assert laid[0, 1].tolist() == pytest.approx([0, 0.2, 0.2, 0, 0.4, 0.4, 0])
    assert laid[0, 4].tolist() == pytest.approx([0, 0.6, 0.6, 0, 0, 0, 0])
    assert grid(torch.rand(7, 3, 2, 2)).shape == (3, 10, 10)
    assert grid(torch.rand(2, 1, 2, 2), columns=5).shape == (1, 4, 7), "no empty columns"
    read = np.asarray(Image.open(io.BytesIO(png(laid))))
    assert read.shape == (7, 7)
    assert read[1].tolist() == [0, 51, 51, 0, 102, 102, 0]
    assert np.asarray(Image.open(io.BytesIO(png(torch.rand(3, 4, 5))))).shape == (4, 5, 3)


def test_scales() -> None:
    assert stretched(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])).tolist() == [[0, 0.5, 1], [0, 0, 0]]
    assert signed(torch.tensor([-2.0, 0.0, 1.0])).tolist() == [0, 0.5, 0.75]
    assert signed(torch.zeros(2)).tolist() == [0.5, 0.5]


def test_words() -> None:
    names = ["cat", "dog"]
    assert labels(torch.tensor([1, 0, 7]), names) == ["dog", "cat", "7"]
    assert labels(torch.tensor([0.123456, 2.0]), ()) == ["0.123", "2"]
    assert said(torch.tensor([1.0, 2.5]), ()) == "1, 2.5"
    assert said(torch.zeros(3, 4, 5), ()) == "3x4x5 numbers"
    assert said(guess(torch.tensor([0.1, 0.9]), torch.tensor(0)), names) == "dog"
    assert guess(torch.tensor([0.1]), torch.tensor([0.5])).tolist() == pytest.approx([0.1])

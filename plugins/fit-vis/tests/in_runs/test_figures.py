"""Figures in runs: what is shown, when, under which name, of which samples."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.items import Images, Table, Text
from fit_core.replay import Moment, NoModel, Recorded, replay
from fit_core.testing import tiny_trainer
from fit_vis.figures.threshold_curves import RocCurve
from fit_vis.figures.worst_samples import WorstSamples


def texts(figure: Any) -> list[str]:
    (axes, *_) = figure.axes
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_curves_are_read_from_the_history(make: Callable[..., Trainer], sink: Any) -> None:
    trainer = make(sink, "curves:every=2 epochs", metrics=["accuracy"])
    trainer.fit(epochs=3)
    (item,) = sink.of("curves")
    loss, accuracy, rate = item.figure.axes
    assert loss.lines[0].get_ydata().tolist() == [row["loss"] for row in trainer.history[:2]]
    best = min(row["val_loss"] for row in trainer.history[:2])
    assert f"best: {best:.4g}" in texts(item.figure)[-1]
    assert accuracy.get_title() == "accuracy"
    assert rate.get_title() == "learning rate"
    trainer.fit(epochs=1)
    assert len(sink.of("curves")[-1].figure.axes[0].lines[0].get_xdata()) == 4, "a later call of fit goes on"


def test_curves_can_be_chosen(make: Callable[..., Trainer], sink: Any) -> None:
    make(sink, "curves:names=acc*", metrics=["accuracy"]).fit(epochs=1)
    assert [axes.get_title() for axes in sink.of("curves")[0].figure.axes] == ["accuracy"]
    with pytest.raises(FitError, match="no value is called acc; there are loss, lr"):
        make(sink, "curves:names=acc").fit(epochs=1)


def test_curves_of_a_run_that_is_over_can_be_replayed(sink: Any, tmp_path: Path) -> None:
    rows = [{"epoch": 1, "loss": 2.0, "val_accuracy": 0.5}, {"epoch": 2, "loss": 1.0, "val_accuracy": 0.4}]
    recorded = [Recorded("accuracy", higher_is_better=True)]
    trainer = Trainer(NoModel(), metrics=recorded, plugins=[sink, "curves"], run_dir=tmp_path, quiet=True)
    replay(trainer, [Moment(row, step, 0.0) for step, row in enumerate(rows, 1)], ("val_",))
    assert [texts(item.figure)[0] for item in sink.of("curves")] == ["train", "train"]
    _, accuracy = sink.of("curves")[-1].figure.axes
    assert accuracy.get_legend().get_texts()[1].get_text() == "best: 0.5 (epoch 1)"


def test_a_figure_can_be_saved_headless(make: Callable[..., Trainer], sink: Any, tmp_path: Path) -> None:
    make(sink, "curves", "roc-curve").fit(epochs=1)
    for i, (_, item) in enumerate(sink.items):
        item.figure.savefig(tmp_path / f"{i}.png")
        assert (tmp_path / f"{i}.png").stat().st_size > 5_000


def test_threshold_curves_of_each_evaluation(make: Callable[..., Trainer], sink: Any) -> None:
    trainer = make(sink, "roc-curve:classes=[a,b,c],every=2 epochs", "precision-recall-curve")
    trainer.fit(epochs=3)
    assert sink.names.count("val_roc_curve") == 1
    assert sink.names.count("val_precision_recall_curve") == 3
    trainer.evaluate()
    trainer.predict(trainer.test_data)
    assert sink.names.count("test_roc_curve") == 1
    figure = sink.of("test_roc_curve")[0].figure
    assert [text.split()[0] for text in texts(figure)] == ["a", "b", "c", "guessing"]
    assert figure.axes[0].get_xlabel() == "false positive rate"
    assert "test, epoch 3, mean area" in figure.axes[0].get_title()


def test_several_validation_sets_and_validations_between_steps(make: Callable[..., Trainer], sink: Any) -> None:
    data = make().val_data
    make(sink, "roc-curve:every=4 steps", val_data={"x": data, "y": data}).fit(epochs=2, val_every="2 steps")
    assert sink.names == ["val_x_roc_curve", "val_y_roc_curve"] * 3, "after steps 2 (the first), 4 and 8"


def test_only_the_worst_curves_are_drawn_of_many(make: Callable[..., Trainer], sink: Any) -> None:
    make(sink, "roc-curve:most=2").fit(epochs=1)
    figure = sink.of("val_roc_curve")[0].figure
    assert len(texts(figure)) == 3
    assert "2 worst of 3" in figure.axes[0].get_title()


def test_names_of_classes_are_no_formulas_and_not_too_long(make: Callable[..., Trainer], sink: Any, tmp_path: Path) -> None:
    make(sink, RocCurve(classes=["$1$", "of $ 2", "x" * 50 + "y" * 50])).fit(epochs=1)
    figure = sink.of("val_roc_curve")[0].figure
    assert [text.split(" (")[0] for text in texts(figure)[:3]] == [r"\$1\$", r"of \$ 2", "x" * 11 + "…" + "y" * 12]
    figure.savefig(tmp_path / "roc.png")


def test_an_event_is_one_curve(make: Callable[..., Trainer], sink: Any) -> None:
    data = [(inputs, (targets == 1).float()[:, None]) for inputs, targets in make().val_data]
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    make(sink, "roc-curve", model=model, loss_fn=nn.BCEWithLogitsLoss(), train_data=data, val_data=list(data)).fit(epochs=1)
    assert [text.split()[0] for text in texts(sink.of("val_roc_curve")[0].figure)] == ["area", "guessing"]


def test_data_of_one_class_is_said_to_be_none_for_a_curve(make: Callable[..., Trainer], sink: Any) -> None:
    data = [(inputs, torch.zeros_like(targets)) for inputs, targets in make().val_data]
    with pytest.raises(FitError, match="roc-curve needs samples of both kinds"):
        make(sink, "roc-curve", val_data=data).fit(epochs=1)


def test_worst_and_best_samples(make: Callable[..., Trainer], sink: Any) -> None:
    trainer = make(sink, "worst-samples:count=3,classes=[a,b,c]")
    trainer.fit(epochs=2)
    with torch.no_grad():
        trainer.model.eval()
        inputs, targets = map(torch.cat, zip(*trainer.val_data, strict=True))
        losses = nn.functional.cross_entropy(trainer.model(inputs.clone()), targets, reduction="none")
    order = losses.argsort()
    worst, best = sink.of("val_worst_samples")[-1], sink.of("val_best_samples")[-1]
    assert isinstance(worst, Images)
    assert torch.equal(best.pixels, inputs[order[:3]])
    assert torch.equal(worst.pixels, inputs[order.flip(0)[:3]])
    assert [f"loss {losses[i]:.3g}" in text for i, text in zip(order.flip(0), worst.captions, strict=False)] == [True] * 3
    assert worst.captions[0].startswith("abc"[targets[order[-1]]])


def test_samples_that_are_no_pictures_are_a_table(make: Callable[..., Trainer], sink: Any) -> None:
    data = [(torch.randn(4, 2), torch.randn(4, 1)) for _ in range(2)]
    model = nn.Linear(2, 1)
    make(sink, "worst-samples:count=2,best=false", model=model, loss_fn=nn.MSELoss(), train_data=data, val_data=list(data)).fit(epochs=1)
    (table,) = sink.of("val_worst_samples")
    assert isinstance(table, Table)
    inputs, targets = map(torch.cat, zip(*data, strict=True))
    losses = (model(inputs) - targets).square().mean(1)
    assert [row[0] for row in table.rows] == losses.argsort(descending=True)[:2].tolist(), "their places in the data"
    assert table.columns[1:4] == ["loss", "truth", "prediction"]


def test_a_loss_that_says_nothing_of_samples_is_refused_when_it_begins(make: Callable[..., Trainer], sink: Any) -> None:
    def mine(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    with pytest.raises(FitError, match="losses of single samples from mine; pass loss="):
        make(sink, "worst-samples", loss_fn=mine).fit(epochs=1)
    each = WorstSamples(count=1, loss=lambda outputs, targets: nn.functional.cross_entropy(outputs, targets, reduction="none"))
    make(sink, each, loss_fn=mine).fit(epochs=1)
    assert "val_worst_samples" in sink.names
    with pytest.raises(FitError, match="one loss for each of 8 samples, not \\(\\)"):
        make(sink, WorstSamples(loss=mine), loss_fn=mine).fit(epochs=1)


class Brighten:
    """An augmentation that comes after the plugin in the list, and one around forward."""

    @hookimpl
    def on_batch_start(self, state: State) -> None:
        state.inputs = state.inputs * 0 + 0.25

    @hookimpl(wrapper=True)
    def forward(self, state: State) -> Any:
        state.inputs = state.inputs + 0.5
        return (yield)


def test_the_batch_is_as_the_model_saw_it(make: Callable[..., Trainer], sink: Any) -> None:
    trainer = make(sink, "train-batch:count=4,every=3 batches,classes=[a,b,c]", Brighten())
    trainer.fit(epochs=2)
    items = sink.of("train_batch")
    assert len(items) == 3, "batches 1, 4 and 7"
    assert items[0].pixels.shape == (4, 1, 4, 4)
    assert items[0].pixels.eq(0.75).all()
    assert list(items[0].captions) == ["abc"[i] for i in trainer.train_data[0][1][:4]]
    assert trainer.train_data[0][0].max() > 0.8, "and the data is as it was"


def test_what_was_normalised_is_shown_as_it_was(make: Callable[..., Trainer], sink: Any) -> None:
    data = [((inputs - 0.5) / 0.25, targets) for inputs, targets in make().train_data]
    make(sink, "train-batch:mean=[0.5],std=[0.25]", train_data=data).fit(epochs=1)
    torch.testing.assert_close(sink.of("train_batch")[0].pixels, make().train_data[0][0])


def test_what_is_no_picture_is_said_to_be_none(make: Callable[..., Trainer], sink: Any) -> None:
    data = [(torch.randn(4, 5), torch.zeros(4, dtype=torch.int64))]
    with pytest.raises(FitError, match=r"train-batch cannot show samples of shape \(5,\) as pictures; set shape="):
        make(sink, "train-batch", model=nn.Linear(5, 2), train_data=data, val_data=None).fit(epochs=1)


def test_the_summary_has_layers_shapes_and_parameters(make: Callable[..., Trainer], sink: Any) -> None:
    make(sink, "model-summary").fit(epochs=2)
    (item,) = sink.of("model_summary")
    assert isinstance(item, Text)
    for said in ("Conv2d (0)", "[8, 4, 4, 4]", "Total params: 243", "(M)"):
        assert said in item.text
    assert "Units" not in item.text


def test_the_summary_keeps_no_model_alive(sink: Any, tmp_path: Path) -> None:
    """As torchinfo does, which has a cache for the process."""
    model = nn.Sequential(nn.Linear(4, 3))
    alive = weakref.ref(model)
    trainer = tiny_trainer(model=model, plugins=[sink, "model-summary"], run_dir=tmp_path)
    trainer.fit(epochs=1)
    del trainer, model
    gc.collect()
    assert "model_summary" in sink.names
    assert alive() is None


class Named(nn.Module):
    """Takes two inputs by name and is lazy."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(3)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(torch.cat([left, right], 1))
        return found


def test_summaries_of_lazy_models_with_several_inputs(make: Callable[..., Trainer], sink: Any) -> None:
    data = [({"left": torch.rand(4, 2), "right": torch.rand(4, 1)}, torch.tensor([0, 1, 2, 0]))]
    make(sink, "model-summary", model=Named(), train_data=data, val_data=list(data)).fit(epochs=1)
    assert "Total params: 12" in sink.of("model_summary")[0].text

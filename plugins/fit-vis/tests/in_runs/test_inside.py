"""Inside the network in runs: the numbers are right, and come when they are due."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from fit_core import FitError, State, Trainer, hookimpl
from fit_vis.inside.class_appearance import ClassAppearance
from fit_vis.inside.feature_maps import FeatureMaps


class Grab:
    """Notes a batch's inputs and the weights it met."""

    def __init__(self) -> None:
        self.before: list[dict[str, torch.Tensor]] = []
        self.gradients: list[dict[str, torch.Tensor]] = []
        self.inputs: list[torch.Tensor] = []

    @hookimpl(tryfirst=True)
    def on_batch_start(self, trainer: Trainer, state: State) -> None:
        self.inputs.append(state.inputs.clone())

    @hookimpl(tryfirst=True)
    def on_step_start(self, trainer: Trainer) -> None:
        self.before.append({name: p.detach().clone() for name, p in trainer.model.named_parameters()})
        self.gradients.append({name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None})


def test_activations_are_those_of_the_batch(make: Callable[..., Trainer], sink: Any) -> None:
    grab = Grab()
    make(grab, sink, "activations:every=4 batches,layers=[0,2]").fit(epochs=2)
    layer = nn.Conv2d(1, 4, 3, padding=1)
    layer.load_state_dict({name.removeprefix("0."): value for name, value in grab.before[4].items() if name.startswith("0.")})
    values = layer(grab.inputs[4]).detach()
    assert sorted(name for name in sink.numbers if name.startswith("activations/")) == sorted(
        f"activations/{what}/{layer}" for what in ("mean", "std", "min", "max", "zeros", "nans") for layer in "02"
    )
    assert [step for step, _ in sink.numbers["activations/mean/0"]] == [0, 4], "in batches 1 and 5"
    assert sink.numbers["activations/mean/0"][1][1] == pytest.approx(float(values.mean()), abs=1e-6)
    assert sink.numbers["activations/std/0"][1][1] == pytest.approx(float(values.std(correction=0)), rel=1e-5)
    assert 0.2 < sink.numbers["activations/zeros/2"][1][1] < 0.8, "after a ReLU"
    assert [row[0] for row in sink.of("activations")[-1].rows] == ["0", "2"]


def test_histograms_are_shown_on_request(make: Callable[..., Trainer], sink: Any) -> None:
    make(sink, "activations:layers=2,histograms=true", "gradients:params=0.*,histograms=true").fit(epochs=1)
    assert sink.of("activations/2")[0].values.numel() == 8 * 64
    assert {name for name in sink.names if "/" in name} == {"activations/2", "gradients/0.weight", "gradients/0.bias"}


def test_unknown_layers_and_parameters_are_named_when_it_begins(make: Callable[..., Trainer], sink: Any) -> None:
    for plugin, message in {
        "activations:layers=conv1": r"no layer is called 'conv1' \(there are 0, 1, 2, 3, 4, 5\)",
        "embedding:layer=7": "no layer is called '7'",
        "embedding:layer=[0-9]": "is more than one layer: 0, 1, 2, 3, 4, 5",
        "gradients:params=0.wight": "no parameter is called '0.wight'; did you mean '0.weight'",
        "feature-maps:layers=x": "no layer is called 'x'",
        "filters:layer=2": "layer '2' has no filters",
    }.items():
        with pytest.raises(FitError, match=message):
            make(sink, plugin).fit(epochs=1)
    for plugin in ("filters", "feature-maps"):
        with pytest.raises(FitError, match="found no convolution; say which"):
            make(sink, plugin, model=nn.Sequential(nn.Flatten(), nn.Linear(16, 3))).fit(epochs=1)


def test_gradients_and_update_ratios(make: Callable[..., Trainer], sink: Any) -> None:
    grab = Grab()
    trainer = make(grab, sink, "gradients:every=2 steps")
    trainer.fit(epochs=1)
    assert [step for step, _ in sink.numbers["gradients/norm/5.weight"]] == [0, 2]
    assert sink.numbers["gradients/norm/5.weight"][1][1] == pytest.approx(float(grab.gradients[2]["5.weight"].norm()))
    before, after = grab.before[2]["5.weight"], grab.before[3]["5.weight"]
    assert sink.numbers["gradients/update_ratio/5.weight"][1][1] == pytest.approx(float((after - before).norm() / before.norm()))
    assert math.isnan(sink.numbers["gradients/update_ratio/1.bias"][0][1]), "it was zero"
    assert [row[0] for row in sink.of("gradients")[0].rows] == [name for name, _ in trainer.model.named_parameters()]


def test_gradients_are_right_for_windows_and_not_yet_clipped(make: Callable[..., Trainer], sink: Any) -> None:
    data = make().train_data
    whole = [tuple(map(torch.cat, zip(*data, strict=True)))]
    model = partial(nn.Sequential, nn.Flatten())
    for how in ({"train_data": data, "accumulate": 4}, {"train_data": whole}):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            make(sink, "gradients", model=model(nn.Linear(16, 3)), **how).fit(epochs=1)
    (_, first), (_, second) = sink.numbers["gradients/norm/1.weight"]
    assert first == pytest.approx(second, rel=1e-5)


class Half(nn.Module):
    """Uses one of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused, self.frozen = nn.Linear(16, 3), nn.Linear(16, 3), nn.Linear(16, 3).requires_grad_(requires_grad=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.used(inputs.flatten(1))
        return found


def test_parameters_without_a_gradient_are_named_once(make: Callable[..., Trainer], sink: Any) -> None:
    make(sink, "gradients:every=1 step", model=Half()).fit(epochs=1)
    (item,) = sink.of("unused_parameters")
    assert "`unused.weight`" in item.text
    assert "`unused.bias`" in item.text
    assert "`used" not in item.text
    assert "frozen" not in item.text
    assert {value for _, value in sink.numbers["gradients/unused"]} == {2}


def test_several_updates_and_optimizers_that_evaluate_a_batch_themselves(make: Callable[..., Trainer], sink: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Linear(4, 3))
    sgd = partial(torch.optim.SGD, lr=0.1)
    both = {"a": sgd(model[1].parameters()), "b": sgd(model[2].parameters())}
    make(sink, "gradients", model=model, optimizer=both).fit(epochs=1)
    assert {"gradients/norm/1.weight", "gradients/norm/2.weight", "a_gradients/unused", "b_gradients/unused"} <= sink.numbers.keys()
    sink.numbers.clear()
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    make(sink, "gradients:every=1 step", model=model, optimizer=partial(torch.optim.LBFGS, max_iter=3)).fit(epochs=1)
    assert len(sink.numbers["gradients/norm/1.weight"]) == 4
    assert len(sink.numbers["gradients/update_ratio/1.weight"]) == 4, "one for each step"


def test_filters(make: Callable[..., Trainer], sink: Any) -> None:
    trainer = make(sink, "filters:every=2 epochs")
    trainer.fit(epochs=2)
    (item,) = sink.of("filters")
    weights = trainer.model[0].weight.detach()
    torch.testing.assert_close(item.pixels, (weights / weights.abs().max() + 1) / 2)
    make(sink, "filters:layer=5,shape=[4,4,4]")
    linear = make(sink, "filters:layer=1,shape=[1,4,4]", model=nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
    linear.fit(epochs=1)
    assert sink.of("filters")[-1].pixels.shape == (3, 1, 4, 4)
    deep = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 5, 3, padding=1), nn.Flatten(), nn.Linear(80, 3))
    make(sink, "filters:layer=1,count=6", model=deep).fit(epochs=1)
    assert sink.of("filters")[-1].pixels.shape == (6, 1, 3, 3), "a row of pictures for each filter"
    assert sink.of("filters")[-1].columns == 2


def test_feature_maps_of_the_first_validation_sample_or_of_ones_own(make: Callable[..., Trainer], sink: Any) -> None:
    trainer = make(sink, "feature-maps:sample=2,count=3")
    trainer.fit(epochs=2)
    items = sink.of("feature_maps/0")
    assert len(items) == 2
    with torch.no_grad():
        expected = trainer.model[0](trainer.val_data[0][0])[2, :3, None]
    low, high = expected.amin((1, 2, 3), keepdim=True), expected.amax((1, 2, 3), keepdim=True)
    torch.testing.assert_close(items[-1].pixels, (expected - low) / (high - low))
    assert items[-1].captions == ["channel 0", "channel 1", "channel 2"]
    make(sink, FeatureMaps(inputs=torch.rand(1, 1, 4, 4)), val_data=None).fit(epochs=1)
    assert len(sink.of("feature_maps/0")) == 3
    with pytest.raises(FitError, match="found no maps"):
        make(sink, "feature-maps:sample=20").fit(epochs=1)


def test_class_appearance_finds_what_the_class_is(make: Callable[..., Trainer], sink: Any) -> None:
    """The data has a bright row for each class."""
    trainer = make(sink, "class-appearance:every=20 epochs,start=zeros,classes=[a,b]", model=nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
    trainer.fit(epochs=20)
    (item,) = sink.of("class_appearance")
    assert item.pixels.shape == (3, 1, 4, 4)
    assert [text.split()[0] for text in item.captions] == ["a", "b", "2"]
    assert item.pixels[:, 0].mean(2)[:, :3].argmax(1).tolist() == [0, 1, 2]


def test_class_appearance_of_some_classes_from_a_given_start(make: Callable[..., Trainer], sink: Any) -> None:
    seen = []
    plugin = ClassAppearance(targets=[2, 0], steps=1, start=torch.rand(1, 4, 4), transform=lambda x: seen.append(x.shape) or x.roll(1, -1))
    make(sink, plugin).fit(epochs=1)
    assert [text.split()[0] for text in sink.of("class_appearance")[0].captions] == ["2", "0"]
    assert set(seen) == {(2, 1, 4, 4)}
    with pytest.raises(FitError, match=r"targets \[7\], but the model has 3 classes"):
        make(sink, "class-appearance:targets=[7]").fit(epochs=1)


def test_saliency_lies_over_the_first_samples(make: Callable[..., Trainer], sink: Any) -> None:
    trainer = make(sink, "saliency:count=3")
    trainer.fit(epochs=2)
    first, last = sink.of("saliency")
    assert first.pixels.shape == (6, 3, 4, 4)
    samples = trainer.val_data[0][0][:3].expand(-1, 3, -1, -1)
    assert torch.equal(last.pixels[::2], samples)
    overlaid = last.pixels[1::2]
    assert not torch.equal(overlaid, samples)
    assert (overlaid[:, 0] >= overlaid[:, 2] - 1e-6).all(), "orange has more red than blue"
    assert last.captions[0] == str(int(trainer.val_data[0][1][0]))
    assert last.captions[1].startswith("taken for ")


def test_embeddings_of_outputs_and_layers(make: Callable[..., Trainer], sink: Any) -> None:
    trainer = make(sink, "embedding:count=10", ("layered", "embedding:layer=0,avg_pool=4,inputs=true,count=12"))
    trainer.fit(epochs=1)
    outputs, layered = sink.of("val_embedding")
    assert outputs.vectors.shape == (10, 3)
    assert layered.vectors.shape == (12, 4)
    inputs, targets = map(torch.cat, zip(*trainer.val_data, strict=True))
    assert list(outputs.labels) == [str(int(i)) for i in targets[:10]]
    assert torch.equal(outputs.pictures, inputs[:10])
    with torch.no_grad():
        torch.testing.assert_close(layered.vectors, trainer.model[0](inputs[:12]).mean((2, 3)))
        trainer.model.eval()
        torch.testing.assert_close(outputs.vectors, trainer.model(inputs[:10].clone()))
    assert torch.equal(sink.of("val_inputs")[0].vectors, nn.functional.avg_pool2d(inputs[:12], 4).flatten(1))
    trainer.evaluate()
    assert "test_embedding" in sink.names


class Replaced:
    """Evaluates another module, as averaged weights do."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @hookimpl
    def on_eval_start(self, state: State) -> None:
        state.model = self.module


def test_it_is_the_evaluated_module_that_is_looked_into(make: Callable[..., Trainer], sink: Any) -> None:
    other = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(16, 3))
    nn.init.constant_(other[0].weight, 2.0)
    trainer = make(sink, Replaced(other), "embedding:layer=0")
    trainer.fit(epochs=1)
    inputs = torch.cat([inputs for inputs, _ in trainer.val_data])
    torch.testing.assert_close(sink.of("val_embedding")[0].vectors, 2 * inputs.flatten(1))


def test_outputs_and_targets_can_be_picked(make: Callable[..., Trainer], sink: Any) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(16, 3)

        def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"scores": self.layer(inputs.flatten(1)), "other": inputs}

    how = {"model": Two(), "loss_fn": lambda outputs, targets: nn.functional.cross_entropy(outputs["scores"], targets)}
    make(sink, "embedding:output=scores", "saliency:output=scores", "class-appearance:output=scores,steps=1", **how).fit(epochs=1)
    assert sink.of("val_embedding")[0].vectors.shape == (16, 3)
    assert {"saliency", "class_appearance"} <= set(sink.names)
    with pytest.raises(FitError, match="embedding needs a tensor as output, not dict; pick one with output="):
        make(sink, "embedding", **how).fit(epochs=1)
    with pytest.raises(FitError, match="there is no output or target 'score'"):
        make(sink, "roc-curve:output=score", **how).fit(epochs=1)

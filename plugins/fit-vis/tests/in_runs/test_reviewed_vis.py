"""What a review found: data and options that ended in a traceback, or in a picture that said something else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fit_core import FitError, State, Trainer, Update, Updates, hookimpl
from fit_vis.imaging import FromState

Data = Sequence[tuple[Tensor, Tensor]]
CRITERION = nn.CrossEntropyLoss()


def train(model: nn.Module, data: Data, *plugins: Any, loss_fn: Any = CRITERION) -> Trainer:
    """Train for an epoch, with a copy of the data for validation."""
    trainer = Trainer(model, loss_fn, partial(torch.optim.SGD, lr=0.1), plugins=plugins, quiet=True)
    trainer.fit(data, list(data), epochs=1)
    return trainer


def cnn(channels: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))


def pictures(targets: Tensor | None = None, channels: int = 1) -> list[tuple[Tensor, Tensor]]:
    inputs = torch.rand(6, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    return [(inputs, torch.arange(6) % 3 if targets is None else targets)]


def area(figure: Any) -> float:
    """Return the mean area that the title of a figure of curves says."""
    return float(figure.axes[0].get_title().rpartition(" ")[2])


@pytest.mark.parametrize("shape", [(5, 4), (7,)])
def test_each_pixel_is_a_sample_of_threshold_curves(sink: Any, shape: tuple[int, ...]) -> None:
    targets = torch.randint(0, 3, (6, *shape), generator=torch.Generator().manual_seed(0))
    inputs = nn.functional.one_hot(targets, 3).movedim(-1, 1).float()
    model = nn.Conv2d(3, 3, 1) if len(shape) == 2 else nn.Conv1d(3, 3, 1)
    with torch.no_grad():
        model.weight.copy_(torch.eye(3).reshape(model.weight.shape))
    train(model, [(inputs, targets)], sink, "roc-curve")
    (item,) = sink.of("val_roc_curve")
    assert area(item.figure) == 1.0


def test_threshold_curves_refuse_targets_that_do_not_fit(sink: Any) -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.mean() + 0 * targets.sum()

    with pytest.raises(FitError, match=r"cannot compare outputs \(6, 3\) with targets \(6, 2\)"):
        train(cnn(), pictures(torch.ones(6, 2)), sink, "roc-curve", loss_fn=loss)


class Bag(nn.Module):
    """Scores of the mean of the vectors of words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.words(words).mean(1)


def texts() -> list[tuple[Tensor, Tensor]]:
    return [(torch.arange(4 * length).reshape(4, length) % 10, torch.arange(4) % 3) for length in (5, 7)]


def test_samples_of_several_sizes_have_embeddings(sink: Any) -> None:
    train(Bag(), texts(), sink, "embedding")
    (item,) = sink.of("val_embedding")
    assert item.vectors.shape == (8, 3)
    assert item.pictures is None


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ("embedding:inputs=true", "no tensors of one size; leave inputs=true out"),
        ("embedding:layer=words", r"needs vectors of one size, not \(5, 3\) and \(7, 3\)"),
        ("worst-samples", r"needs inputs of one size, not \(5,\) and \(7,\)"),
        ("class-appearance", r"cannot show samples of shape \(5,\) as pictures"),
    ],
)
def test_samples_of_several_sizes_that_cannot_be_shown_are_one_line(sink: Any, plugin: str, said: str) -> None:
    with pytest.raises(FitError, match=said):
        train(Bag(), texts(), sink, plugin)


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ("train-batch:mean=[0.1,0.2]", "2 numbers as mean for pictures of 3 channels"),
        ("worst-samples:std=[0.1,0.2]", "2 numbers as std for pictures of 3 channels"),
        ("embedding:std=[0.1,0.2]", "2 numbers as std for pictures of 3 channels"),
        ("embedding:layer=0,avg_pool=7", "avg_pool=7 is larger than maps of 6 x 6"),
        ("model-summary:columns=[num_param]", "no column 'num_param'; did you mean 'num_params'"),
        ("feature-maps:count=0", "count must be at least 1"),
        ("feature-maps:sample=-9", "sample at least 0"),
        ("filters:count=0", "count must be at least 1"),
    ],
)
def test_mistaken_options_are_one_line(sink: Any, plugin: str, said: str) -> None:
    with pytest.raises(FitError, match=said):
        train(cnn(3), pictures(channels=3), sink, plugin)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_class_appearance_of_a_model_of_other_floats(sink: Any, dtype: torch.dtype) -> None:
    ((inputs, targets),) = pictures()
    train(cnn().to(dtype), [(inputs.to(dtype), targets)], sink, "class-appearance:steps=2")
    assert len(sink.of("class_appearance")[0].pixels) == 3


def test_filters_of_lazy_layers(sink: Any) -> None:
    train(nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(3)), pictures(), sink, "filters")
    assert sink.of("filters")[0].pixels.shape == (4, 1, 3, 3)


def test_saliency_of_the_truth_takes_one_hot_targets_and_targets_to_ignore(sink: Any) -> None:
    classes = torch.arange(6) % 3
    model = cnn()
    for targets in (classes, torch.eye(3)[classes], torch.where(classes == 2, -100, classes)):
        train(model, pictures(targets), sink, "saliency:of=truth,count=6", loss_fn=nothing_learned)
    of_classes, of_one_hot, of_some = (item.pixels for item in sink.of("saliency"))
    torch.testing.assert_close(of_one_hot, of_classes)
    torch.testing.assert_close(of_some[:4], of_classes[:4])
    assert not torch.equal(of_some[5], of_classes[5])


def nothing_learned(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0 * outputs.sum() + 0 * targets.sum()


def test_saliency_needs_inputs_with_a_gradient(sink: Any) -> None:
    class Bytes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = cnn()

        def forward(self, pixels: Tensor) -> Tensor:
            return self.inner(pixels / 255)  # type: ignore[no-any-return]

    ((inputs, targets),) = pictures()
    with pytest.raises(FitError, match=r"saliency needs inputs that have a gradient: floats, not torch\.uint8"):
        train(Bytes(), [((inputs * 255).to(torch.uint8), targets)], sink, "saliency")


def test_the_score_of_an_event_is_said_and_no_class_of_one(sink: Any) -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], targets.float())

    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 1))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.fill_(5.0)
    train(model, pictures(torch.ones(6, dtype=torch.long)), sink, "saliency", loss_fn=lambda *given: 0 * loss(*given))
    assert sink.of("saliency")[0].captions[:2] == ["1", "taken for 5"]


class Named(nn.Module):
    """Takes inputs by name, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(36, 3)

    def forward(self, pixels: Tensor, note: str | None = None) -> Tensor:
        return self.inner(pixels.flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ("saliency", "saliency needs a tensor as input, not dict; leave it out"),
        ("class-appearance", "class-appearance needs a tensor as input, not dict; leave it out"),
        ("worst-samples", "worst-samples needs a tensor as input, not dict; pick one with input="),
    ],
)
def test_inputs_by_name_are_picked_where_they_can_be(sink: Any, plugin: str, said: str) -> None:
    ((inputs, targets),) = pictures()
    with pytest.raises(FitError, match=said):
        train(Named(), [({"pixels": inputs}, targets)], sink, plugin)  # type: ignore[list-item]


def test_a_model_that_torchinfo_cannot_call_is_one_line(sink: Any) -> None:
    ((inputs, targets),) = pictures()
    with pytest.raises(FitError, match="model-summary: torchinfo cannot summarise this model"):
        train(Named(), [((inputs, "a note"), targets)], sink, "model-summary")  # type: ignore[list-item]


def test_pictures_of_several_sizes_cannot_be_cached(sink: Any) -> None:
    data = [(torch.rand(4, 1, size, size), torch.arange(4) % 3) for size in (5, 6)]
    model = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(FitError, match="imaging-all cannot cache pictures of several sizes"):
        train(model, data, sink, FromState("inputs").on_train().cache(6).show("all"))
    train(model, data, sink, FromState("inputs").on_train().show("each"))
    assert [item.pixels.shape[-1] for item in sink.of("each")] == [5, 6]


def test_activations_of_each_update_are_heard(sink: Any) -> None:
    class Two(nn.Module):
        """The second update goes through both layers, the first one through one."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(36, 36), nn.Linear(36, 3)

        def forward(self, inputs: Tensor, state: State) -> Tensor:
            values = inputs.flatten(1)
            through = state.update is not None and state.update.name == "b"
            return self.second(self.first(values) if through else values)  # type: ignore[no-any-return]

    model = Two()
    ((inputs, targets),) = pictures()
    mean = float(model.second(inputs.flatten(1)).mean().detach())
    sgd = partial(torch.optim.SGD, lr=0.1)
    updates = Updates([Update("a", sgd, model.second.parameters()), Update("b", sgd, model.first.parameters())])
    Trainer(model, CRITERION, updates, plugins=[sink, "activations"], quiet=True).fit([(inputs, targets)], epochs=1)
    assert len(sink.numbers["activations/mean/first"]) == len(sink.numbers["activations/mean/second"]) == 1
    assert sink.numbers["activations/mean/second"][0][1] == pytest.approx(mean), "of the first update in which it is called"
    (table,) = sink.of("activations")
    assert [row[0] for row in table.rows] == ["second", "first"]


def test_validation_sets_without_a_loss_have_their_prefixes(sink: Any) -> None:
    class NoLoss:
        @hookimpl(tryfirst=True)
        def eval_step(self, state: State) -> bool:
            state.outputs = state.model(state.inputs)
            return True

    sgd = partial(torch.optim.SGD, lr=0.1)
    trainer = Trainer(cnn(), CRITERION, sgd, metrics=["accuracy"], plugins=[sink, NoLoss(), "embedding"], quiet=True)
    trainer.fit(pictures(), {"a": pictures(), "b": pictures()}, epochs=1)
    assert sink.names == ["val_a_embedding", "val_b_embedding"]

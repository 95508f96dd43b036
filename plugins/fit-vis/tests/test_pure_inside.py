"""Statistics, gradient ascent, and leaving a model as it was, without a trainer."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fit_vis.inside.ascent import appearance, overlaid, saliency
from fit_vis.inside.embedding import as_vectors
from fit_vis.inside.statistics import norms, sampled, statistics, update_ratios
from fit_vis.undisturbed import first_tensor, outputs_heard, undisturbed


@given(st.lists(st.one_of(st.integers(-4, 4).map(float), st.just(math.nan)), min_size=1, max_size=30))
@settings(deadline=None)
def test_statistics_are_those_of_what_is_not_nan(values: list[float]) -> None:
    mean, std, low, high, zeros, nans = statistics(torch.tensor(values)).tolist()
    numbers = [value for value in values if not math.isnan(value)]
    assert nans == len(values) - len(numbers)
    if not numbers:
        assert all(map(math.isnan, (mean, std, low, high, zeros)))
        return
    assert mean == pytest.approx(sum(numbers) / len(numbers), abs=1e-6)
    assert std == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in numbers) / len(numbers)), abs=1e-6)
    assert (low, high) == (min(numbers), max(numbers))
    assert zeros == pytest.approx(numbers.count(0) / len(numbers))


def test_statistics_of_large_values_half_precision_infinity_and_nothing() -> None:
    assert statistics(torch.tensor([10000.0, 10001.0, 10002.0]))[1] == pytest.approx(math.sqrt(2 / 3))
    assert statistics(torch.full((100_000,), 3.0, dtype=torch.bfloat16))[:4].tolist() == [3, 0, 3, 3]
    assert statistics(torch.tensor([1.0, math.inf]))[3] == math.inf
    assert statistics(torch.empty(0))[:5].isnan().all()
    assert statistics(torch.empty(0))[5] == 0


def test_samples_of_values_are_a_copy() -> None:
    values = torch.arange(25_001.0)
    found = sampled(values)
    assert len(found) <= 10_000
    assert found[:3].tolist() == [0, 3, 6]
    few = torch.zeros(3)
    sampled(few)[0] = 1
    assert few[0] == 0


def test_norms_and_ratios() -> None:
    sparse = torch.sparse_coo_tensor([[0, 0]], [1.0, 2.0], (4,), check_invariants=True)  # 3 at one place, once it is coalesced
    assert [float(n) for n in norms([torch.tensor([3.0, 4.0]), sparse])] == [5, 3]
    first, zero = update_ratios([torch.tensor([3.0, 4.0]), torch.zeros(2)], [torch.tensor([3.0, 4.5]), torch.ones(2)])
    assert float(first) == pytest.approx(0.1)
    assert math.isnan(zero)


def linear(weights: Tensor) -> Any:
    return lambda pictures: pictures.flatten(1) @ weights.T


def test_saliency_of_a_linear_model_is_its_weights() -> None:
    weights = torch.tensor([[1.0, -2.0, 3.0], [-5.0, 0.5, 0.0]])
    inputs = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])  # of the first and of the second class
    found, scores = saliency(linear(weights), inputs)
    assert found.tolist() == weights[[0, 1]].abs().tolist()
    assert scores.tolist() == [[1, -5], [-1, 5]]
    assert saliency(linear(weights), inputs, torch.tensor([1, 0]))[0].tolist() == weights[[1, 0]].abs().tolist()
    assert saliency(linear(weights[:1]), inputs)[0].tolist() == weights[[0, 0]].abs().tolist(), "an event has one score"
    assert not inputs.requires_grad


def test_appearance_of_a_linear_model_is_where_decay_holds_it() -> None:
    """The maximum of w.x - decay * x.x is w / (2 decay)."""
    weights = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 0.0, 2.0]])
    start = torch.zeros(2, 3)
    found, scores = appearance(linear(weights), torch.tensor([0, 1]), start, steps=400, lr=0.1, decay=0.5)
    torch.testing.assert_close(found, weights, atol=1e-2, rtol=0)
    torch.testing.assert_close(scores, found @ weights.T)
    assert start.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_appearance_goes_through_the_transform_and_works_in_place() -> None:
    seen = []

    def halved(pictures: Tensor) -> Tensor:
        seen.append(pictures.shape)
        return pictures / 2

    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(4, 2))
    appearance(model, torch.tensor([1]), torch.rand(1, 1, 2, 2), steps=3, lr=0.1, decay=0.0, transform=halved)
    assert len(seen) == 4
    appearance(model, torch.tensor([1]), torch.rand(1, 1, 2, 2), steps=1, lr=0.1, decay=0.0)
    saliency(model, torch.rand(1, 1, 2, 2))
    assert all(p.grad is None for p in model.parameters())


def test_maps_lie_over_pictures_in_orange() -> None:
    laid = overlaid(torch.full((1, 3, 1, 2), 0.5), torch.tensor([[[0.0, 1.0]]]), strength=1)
    assert laid[0, :, 0, 0].tolist() == [0.5, 0.5, 0.5]
    assert laid[0, :, 0, 1].tolist() == pytest.approx([0.835, 0.369, 0.0])


def test_maps_are_averaged_before_they_are_laid_flat() -> None:
    assert as_vectors(torch.arange(16.0).reshape(1, 1, 4, 4), 2).tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert as_vectors(torch.arange(3), 1).tolist() == [[0], [1], [2]]


class Restless(nn.Module):
    """Changes its buffers whenever it is called, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("latest", torch.zeros(1))

    def forward(self, values: Tensor) -> Tensor:
        self.count += 1
        self.latest = torch.rand(1)
        return self.inner(values)


def test_a_model_is_left_as_it_was_after_an_exception_too() -> None:
    model = Restless()
    model.inner[0].eval()
    buffers, state = dict(model.named_buffers()), torch.get_rng_state()
    values = {name: buffer.clone() for name, buffer in buffers.items()}

    def ask() -> None:
        with undisturbed(model, torch.device("cpu")):
            assert not any(module.training for module in model.modules())
            model(torch.rand(3, 2))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask()
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(found is buffers[name] for name, found in model.named_buffers())
    assert all(torch.equal(found, values[name]) for name, found in model.named_buffers())


def test_layers_are_heard_call_by_call() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(relu, nn.Linear(2, 2), relu)
    heard = {}
    with outputs_heard({"relu": relu}, heard.__setitem__):
        model(torch.rand(1, 2))
    assert list(heard) == ["relu", "relu:2"]
    assert not relu._forward_hooks
    assert first_tensor({"a": [None, (torch.ones(1, dtype=torch.int64), torch.zeros(2))]}).shape == (2,)
    assert first_tensor("text") is None

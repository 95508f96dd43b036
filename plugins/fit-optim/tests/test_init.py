"""Initial weights: torch's own, drawn from a stream of the plugin, once, and never in a run that goes on."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fit_core import FitError, State, hookimpl
from fit_core.testing import check_plugin, check_resume, tiny_trainer
from fit_optim import Init
from fit_optim.initialising import initialiser


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 8, 1), nn.BatchNorm1d(8), nn.Flatten(), nn.Linear(32, 3))


def begun(*plugins: Any, model: nn.Module | None = None, **how: Any) -> tuple[nn.Module, nn.Module]:
    """Return the model as it was made, and as the first batch found it, after a forward pass."""

    @hookimpl
    def on_forward_end(trainer: Any, state: State) -> None:
        if state.batch_count == 1 and state.phase == "train":
            found.append(copy.deepcopy(trainer.model))

    found: list[nn.Module] = []
    model = model or network()
    before = copy.deepcopy(model)
    tiny_trainer(model=model, plugins=[*plugins, on_forward_end], **how).fit(epochs=1)
    return before, found[0]


@pytest.mark.parametrize("scheme", ["kaiming-normal", "kaiming-uniform", "xavier-normal", "xavier-uniform", "orthogonal"])
def test_the_variance_is_what_the_paper_says(scheme: Any) -> None:
    weight = torch.empty(400, 600)
    draw = initialiser(scheme, "relu", 0.0, "fan_in")
    draw(weight, generator=torch.Generator().manual_seed(0))
    expected = {"kaiming": 2 / 600, "xavier": 2 * 2 / (400 + 600), "orthogonal": 2 / 600}[scheme.partition("-")[0]]
    assert weight.var().item() == pytest.approx(expected, rel=0.02)
    if scheme.endswith("uniform"):
        assert weight.abs().max().item() == pytest.approx(math.sqrt(3 * expected), rel=1e-3)
    torchs = {"kaiming-normal": nn.init.kaiming_normal_, "kaiming-uniform": nn.init.kaiming_uniform_}
    if scheme in torchs:
        other = torchs[scheme](torch.empty(400, 600), nonlinearity="relu", generator=torch.Generator().manual_seed(0))
        assert torch.equal(weight, other)


def test_layers_are_filled_and_the_rest_stays() -> None:
    before, model = begun(Init(), seed=1)
    assert not torch.equal(model[1].weight, before[1].weight)
    assert not torch.equal(model[4].weight, before[4].weight)
    assert model[1].bias.tolist() == [0.0] * 8
    assert model[4].bias.tolist() == [0.0] * 3
    assert torch.equal(model[2].weight, before[2].weight)
    assert torch.equal(begun(Init(), seed=1, model=before)[1][4].weight, model[4].weight), "a function of the seed alone"
    before, model = begun(Init(weights="keep", params="4.*"))
    assert torch.equal(model[4].weight, before[4].weight)
    assert torch.equal(model[1].bias, before[1].bias)
    assert model[4].bias.abs().sum() == 0
    before, model = begun(Init(bias="keep"))
    assert torch.equal(model[4].bias, before[4].bias)


def test_frozen_tied_and_lazy_layers() -> None:
    frozen = network()
    frozen[1].requires_grad_(False)
    before, model = begun(Init(), model=frozen)
    assert torch.equal(model[1].weight, before[1].weight)
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    tied[1].weight = tied[0].weight
    _, model = begun(Init(), model=tied)
    assert model[1].weight is model[0].weight
    lazy = nn.Sequential(nn.LazyLinear(50), nn.ReLU(), nn.LazyLinear(3))
    _, model = begun(Init("xavier-uniform", activation="linear"), model=lazy)
    assert model[0].bias.abs().sum() == model[2].bias.abs().sum() == 0
    assert 0.9 < model[2].weight.abs().max().item() / math.sqrt(6 / 53) <= 1
    assert not model[0]._forward_pre_hooks


def test_a_run_that_goes_on_keeps_its_weights(tmp_path: Path) -> None:
    first = tiny_trainer(plugins=[Init()])
    first.fit(epochs=1)
    weights = first.model.weight.detach().clone()
    first.save(tmp_path / "saved")
    for plugins in ([Init()], []):
        still = tiny_trainer(plugins=plugins)
        still.load(tmp_path / "saved")
        assert torch.equal(still.model.weight, weights)
        still.updates["main"].optimizer.param_groups[0]["lr"] = 0.0
        still.fit(epochs=1)
        assert torch.equal(still.model.weight, weights)
    evaluated = tiny_trainer(plugins=[Init()])
    evaluated.load_weights(tmp_path / "saved")
    evaluated.evaluate()
    assert torch.equal(evaluated.model.weight, weights)


def test_mistakes_are_told() -> None:
    with pytest.raises(FitError, match=r"weights must be one of .*, not 'kaiming_normal'; did you mean 'kaiming-normal'"):
        Init(weights="kaiming_normal")  # type: ignore[arg-type]
    with pytest.raises(FitError, match="no linear or convolutional layer has a parameter called '2"):
        tiny_trainer(model=network(), plugins=[Init(params="2.*")]).fit(epochs=1)
    with pytest.raises(FitError, match="no parameter is called"):
        tiny_trainer(plugins=[Init(params="classifier.*")]).fit(epochs=1)


def test_conformance_and_resume() -> None:
    check_plugin(Init(), make=lambda: {"model": network()})
    check_resume(lambda: tiny_trainer(model=network(), plugins=[Init("orthogonal")], seed=2))

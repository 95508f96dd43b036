"""Rates by layer: their numbers, with groups and schedules, multiplied once however often a run goes on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fit_core import FitError
from fit_core.testing import check_plugin, check_resume, tiny_batches, tiny_trainer
from fit_optim import DecayGroups, LayerLR

ADAMW = partial(torch.optim.AdamW, lr=0.8, weight_decay=0.1)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 3))


def made(*plugins: Any, **how: Any) -> Any:
    return tiny_trainer(**{"model": network(), "optimizer": ADAMW, **how}, plugins=plugins, seed=1)


def rates(trainer: Any) -> dict[str, float]:
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    groups = [group for update in trainer.updates.values() for one in update.optimizers for group in one.param_groups]
    return {names[id(p)]: group["lr"] for group in groups for p in group["params"]}


def by_layer(trainer: Any) -> list[float]:
    return [rates(trainer)[f"{i}.weight"] for i in (0, 2, 3)]


def test_children_and_patterns() -> None:
    trainer = made(LayerLR(0.5))
    row = trainer.fit(epochs=1)[0]
    assert by_layer(trainer) == [0.2, 0.4, 0.8]
    assert row["lr"] == 0.8, "that of the last layer"
    trainer = made(LayerLR(0.1, layers=["0.*", "3.*"]))
    trainer.fit(epochs=1)
    assert by_layer(trainer) == pytest.approx([0.08, 0.8, 0.8])
    trainer = made(LayerLR(0.5, layers=["0.weight", "0.*", "*"]))
    trainer.fit(epochs=1)
    assert [rates(trainer)[name] for name in ("0.weight", "0.bias", "3.bias")] == [0.2, 0.4, 0.8]


def test_it_trains_as_torch_does_with_such_groups() -> None:
    ours, model = made(LayerLR(0.5), accumulate=2), network()
    groups = [{"params": model[i].parameters(), "lr": rate} for i, rate in ((3, 0.8), (2, 0.4), (0, 0.2))]
    theirs = made(model=model, optimizer=ADAMW(groups), accumulate=2)
    ours.fit(epochs=3)
    theirs.fit(epochs=3)
    assert all(torch.equal(a, b) for a, b in zip(ours.model.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("plugins", [[LayerLR(0.5), DecayGroups()], [DecayGroups(), LayerLR(0.5)]])
def test_with_groups_without_decay(plugins: Any) -> None:
    trainer = made(*plugins)
    trainer.fit(epochs=1)
    found = [(group["lr"], group["weight_decay"]) for group in trainer.updates["main"].optimizer.param_groups]
    assert sorted(found) == sorted((lr, decay) for lr in (0.2, 0.4, 0.8) for decay in (0.0, 0.1))
    assert by_layer(trainer) == [0.2, 0.4, 0.8]


def test_rates_are_multiplied_once(tmp_path: Path) -> None:
    trainer = made(LayerLR(0.5))
    trainer.save(tmp_path / "new")
    trainer.fit(epochs=1)
    trainer.fit(epochs=1)
    trainer.save(tmp_path / "later")
    for saved in ("new", "later"):
        other = made(LayerLR(0.5))
        other.load(tmp_path / saved)
        other.fit(epochs=1)
        assert by_layer(other) == [0.2, 0.4, 0.8]


def test_lazy_and_frozen_parameters() -> None:
    lazy = nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(3))
    trainer = made(LayerLR(0.5), model=lazy)
    trainer.fit(epochs=1)
    assert rates(trainer)["0.weight"] == 0.4
    model = network()
    model[3].requires_grad_(False)
    trainer = made(LayerLR(0.5), model=model)
    trainer.fit(epochs=1)
    assert trainer.updates["main"].optimizer.param_groups[0]["lr"] == 0.4


def test_mistakes_are_told() -> None:
    model = network()
    with pytest.raises(FitError, match=r"layer-lr cannot change .*partial\(torch.optim.AdamW"):
        made(LayerLR(), model=model, optimizer=ADAMW(model.parameters())).fit(epochs=1)
    with pytest.raises(FitError, match="no parameter is called '7.*'"):
        made(LayerLR(layers=["7.*", "*"])).fit(epochs=1)
    with pytest.raises(FitError, match="decay must be"):
        LayerLR(1.5)


def test_conformance_and_resume() -> None:
    check_plugin(LayerLR(0.5), make=lambda: {"model": network()})
    how = {"train_data": tiny_batches(4), "accumulate": 2}
    check_resume(lambda: made(LayerLR(0.5), DecayGroups(), **how))

"""Freezing on a schedule: what moves when, modes, windows, updates, resumed runs."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from fit_core import FitError, State, Trainer, Update, Updates, freeze, hookimpl
from fit_core.testing import check_plugin, check_resume, tiny_batches, tiny_trainer
from fit_optim import Freeze, WeightDecay

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, affine=False), nn.Dropout(0.0))
        return nn.Sequential(body, nn.Linear(6, 6), nn.Linear(6, 3))


class Moves:
    """Notes for every batch which parameters a step has moved, and which modules were in training mode."""

    def __init__(self) -> None:
        self.moved: list[str] = []
        self.training: list[str] = []

    @hookimpl(tryfirst=True)
    def on_batch_start(self, trainer: Trainer) -> None:
        self.before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}

    @hookimpl
    def on_forward_end(self, trainer: Trainer, state: State) -> None:
        if state.phase == "train":
            self.training.append("".join(name[-1] for name, module in trainer.model.named_modules() if name and module.training))

    @hookimpl
    def on_batch_end(self, trainer: Trainer) -> None:
        moved = {name[0] for name, p in trainer.model.named_parameters() if not torch.equal(p, self.before[name])}
        self.moved.append("".join(sorted(moved)))


def moves(*plugins: Any, epochs: int = 3, **how: Any) -> Moves:
    found = Moves()
    settings = {"model": network(), "optimizer": SGD, "train_data": tiny_batches(2), **how}
    tiny_trainer(**settings, plugins=[*plugins, found]).fit(epochs=epochs)
    return found


def test_until_after_and_between() -> None:
    found = moves(Freeze("0.*", until="1 epoch"))
    assert found.moved == ["12", "12", "012", "012", "012", "012"]
    assert found.training == ["12", "12", *["001212"] * 4]
    assert moves(Freeze("0.*", until="3 steps")).moved == ["12", "12", "12", "012", "012", "012"]
    assert moves(Freeze(["0.*", "1.*"], after="2 epochs")).moved == ["012", "012", "012", "012", "2", "2"]
    assert moves(Freeze("0.*", after="1 step", until="2 epochs")).moved == ["012", "12", "12", "12", "012", "012"]
    assert moves(Freeze("0.*")).moved == ["12"] * 6


def test_modes_and_what_was_frozen_before() -> None:
    model = network()
    freeze(model[1])
    trainer = tiny_trainer(model=model, plugins=[Freeze(["0.*", "1.*"], until="1 epoch")])
    trainer.fit(epochs=1)
    assert [model[0].training, model[0][1].training, model[0][2].training, model[2].training] == [False, False, False, True]
    assert model[0][1].running_mean.tolist() == [0.0] * 6
    trainer.fit(epochs=1)
    assert [model[0].training, model[0][1].training, model[0][2].training, model[1].training] == [True, True, True, False]
    assert not any(p.requires_grad for p in model[1].parameters())
    assert model[0][1].running_mean.abs().sum() > 0


def test_windows_and_ready_optimizers_and_lazy_parameters() -> None:
    assert moves(Freeze("0.*", until="1 step"), accumulate=2).moved == ["", "12", "", "012", "", "012"]
    model = network()
    assert moves(Freeze("0.*", until="1 epoch"), model=model, optimizer=SGD(model.parameters())).moved[1:3] == ["12", "012"]
    lazy = nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(3))
    trainer = tiny_trainer(model=lazy, plugins=[Freeze("0.*", until="1 epoch")])
    trainer.fit(epochs=1)
    weight = lazy[0].weight.detach().clone()
    assert not lazy[0].weight.requires_grad
    trainer.fit(epochs=1)
    assert not torch.equal(lazy[0].weight, weight)


def test_several_updates_and_penalties() -> None:
    model = network()
    parts = [[*model[0].parameters(), *model[1].parameters()], [*model[2].parameters()]]
    updates = Updates([Update("a", SGD(parts[0])), Update("b", SGD(parts[1]), accumulate=2)])
    plugins = [WeightDecay(rate=1.0, params="0.*"), Freeze("0.*", after="1 step", until="3 steps")]
    assert moves(*plugins, model=model, optimizer=updates, epochs=2).moved == ["01", "12", "1", "012"]


def test_mistakes_are_told() -> None:
    with pytest.raises(FitError, match=r"no parameter is called '0.wieght'; did you mean '0.0.weight'|'0.wieght'"):
        moves(Freeze("0.wieght"))
    with pytest.raises(FitError, match="freeze leaves nothing to train in update 'main'"):
        moves(Freeze("*"))
    with pytest.raises(FitError, match="until must be in epochs or steps, such as '3 epochs', not '3 hours'"):
        Freeze("*", until="3 hours")  # type: ignore[arg-type]
    with pytest.raises(FitError, match="must be later than"):
        Freeze("*", until="3 epochs", after="3 epochs")  # type: ignore[arg-type]


def test_an_earlier_state_in_the_same_trainer() -> None:
    trainer = tiny_trainer(model=network(), optimizer=SGD, plugins=[Freeze("0.*", after="1 epoch", until="2 epochs")], seed=1)
    first = trainer.state_dict()
    trainer.fit(epochs=2)
    assert not trainer.model[0][0].weight.requires_grad
    held = trainer.state_dict()
    trainer.load_state_dict(first)
    trainer.fit(epochs=1)
    assert trainer.model[0][0].weight.requires_grad
    other = tiny_trainer(model=network(), optimizer=SGD, plugins=[Freeze("0.*", after="1 epoch", until="4 epochs")], seed=1)
    other.load_state_dict(held)
    other.fit(epochs=1)
    assert not other.model[0][0].weight.requires_grad
    assert not other.model[0].training


@pytest.mark.parametrize("when", [{"until": "1 epoch"}, {"after": "1 epoch"}, {"until": "3 steps", "after": "1 step"}, {}])
def test_conformance_and_resume(when: Any) -> None:
    if "step" not in str(when):  # more is done per step, once more is trained
        check_plugin(Freeze("0.*", **when), make=lambda: {"model": network(), "optimizer": SGD}, accumulate=2)
    how = {"train_data": tiny_batches(4), "seed": 1}
    check_resume(lambda: tiny_trainer(model=network(), optimizer=SGD, plugins=[Freeze("0.*", **when)], **how), epochs=3, at=[2, 4, 5, 8])

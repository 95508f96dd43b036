"""Groups without decay: which parameters, whose groups, and what a ready optimizer gets."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from fit_core import FitError, Update, Updates
from fit_core.testing import check_plugin, check_resume, tiny_trainer
from fit_optim import DecayGroups

ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Unflatten(1, (2, 3)), nn.LayerNorm([2, 3]), nn.Flatten(), nn.Linear(6, 3))


def groups_of(optimizer: Any, *plugins: Any, model: nn.Module | None = None) -> Any:
    model = model or network()
    trainer = tiny_trainer(model=model, optimizer=optimizer, plugins=plugins)
    trainer.fit(epochs=1)
    names = {id(p): name for name, p in model.named_parameters()}
    found = [group for update in trainer.updates.values() for one in update.optimizers for group in one.param_groups]
    return [([names[id(p)] for p in group["params"]], group["weight_decay"]) for group in found]


def test_biases_norms_and_vectors_go_without() -> None:
    spared = ["0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "5.bias"]
    assert groups_of(ADAMW, DecayGroups()) == [(["0.weight", "5.weight"], 0.1), (spared, 0.0)]
    assert groups_of(ADAMW, DecayGroups(decay=0.5, without="5.*")) == [(["0.weight"], 0.5), ([*spared[:5], "5.weight", "5.bias"], 0.0)]


def test_it_steps_as_torch_does_with_such_groups() -> None:
    ours, theirs = network(), network()
    theirs.load_state_dict(ours.state_dict())
    norms = [p for p in theirs.parameters() if p is not theirs[0].weight and p is not theirs[5].weight]
    groups = [{"params": [theirs[0].weight, theirs[5].weight]}, {"params": norms, "weight_decay": 0.0}]
    tiny_trainer(model=ours, optimizer=ADAMW, plugins=[DecayGroups()], accumulate=2).fit(epochs=3)
    tiny_trainer(model=theirs, optimizer=ADAMW(groups), accumulate=2).fit(epochs=3)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_groups_that_are_there_keep_their_options() -> None:
    model = network()
    first = Update("a", ADAMW, [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[1].parameters()}])
    second = Update("b", ADAMW([p for i in (3, 5) for p in model[i].parameters()]))
    found = groups_of(Updates([first, second]), DecayGroups(), model=model)
    assert found[:3] == [(["0.weight"], 0.1), (["0.bias"], 0.0), (["1.weight", "1.bias"], 0.0)]
    assert found[3] == (["3.weight", "3.bias", "5.weight", "5.bias"], 0.1), "a ready one is left alone"
    assert first.optimizer.param_groups[0]["lr"] == first.optimizer.param_groups[1]["lr"] == 0.5


def test_lazy_frozen_and_mixed_optimizers() -> None:
    lazy = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.LazyLinear(3))
    assert groups_of(ADAMW, DecayGroups(), model=lazy) == [
        (["0.weight", "2.weight"], 0.1),
        (["0.bias", "1.weight", "1.bias", "2.bias"], 0.0),
    ]
    model = network()
    model[0].requires_grad_(False)
    assert groups_of(ADAMW, DecayGroups(), model=model)[0] == (["5.weight"], 0.1)
    model = network()
    both = groups_of([torch.optim.SGD([model[5].weight], lr=0.1), ADAMW], DecayGroups(), model=model)
    assert [len(names) for names, _ in both] == [1, 1, 6]


def test_mistakes_are_told() -> None:
    model = network()
    with pytest.raises(FitError, match=r"ready optimizer; pass partial\(torch.optim.AdamW"):
        groups_of(ADAMW(model.parameters()), DecayGroups(), model=model)
    with pytest.raises(FitError, match="no parameter is called '9.*'"):
        groups_of(ADAMW, DecayGroups(without="9.*"))
    with pytest.raises(FitError, match="decay must be"):
        DecayGroups(decay=-1)


def test_conformance_and_resume() -> None:
    check_plugin(DecayGroups(decay=0.1))

    def make() -> Any:
        return tiny_trainer(model=network(), optimizer=ADAMW, plugins=[DecayGroups(decay=0.2)], accumulate=2)

    check_resume(make)

"""Penalties: formulas, once per window, of the update at work, in validation by choice."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from fit_core import FitError, Update, Updates
from fit_core.testing import check_plugin, tiny_batches, tiny_trainer
from fit_optim import WeightDecay
from fit_optim.penalties import norm_penalty, power_penalty

SGD = partial(torch.optim.SGD, lr=0.1)


def weights_of(trainer: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def double(**changes: Any) -> Any:
    torch.manual_seed(0)
    data = [(x.double(), y) for x, y in tiny_batches(6)]
    settings = {"model": nn.Linear(4, 3).double(), "train_data": data, "val_data": data[:2], "optimizer": SGD}
    return tiny_trainer(**{**settings, **changes})


def test_formulas_by_hand() -> None:
    weights = [torch.tensor([3.0, -4.0], requires_grad=True), torch.tensor([[2.0]], requires_grad=True)]
    assert power_penalty(weights, 2).item() == (9 + 16 + 4) / 2
    assert power_penalty(weights, 1).item() == norm_penalty(weights, 1).item() == 9
    assert power_penalty(weights, 3).item() == pytest.approx((27 + 64 + 8) / 3)
    assert norm_penalty(weights, 2).item() == 5 + 2
    assert norm_penalty(weights, math.inf).item() == 4 + 2
    power_penalty(weights, 2).backward()
    assert weights[0].grad is not None
    assert weights[0].grad.tolist() == [3.0, -4.0]
    zero = torch.zeros(2, requires_grad=True)
    (norm_penalty([zero], 2) + power_penalty([zero], 1)).backward()
    assert zero.grad is not None
    assert zero.grad.tolist() == [0.0, 0.0]


@pytest.mark.parity("C19", "B2")
@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_it_is_what_weight_decay_of_sgd_is_on_every_batch_and_window(accumulate: int, reduction: str) -> None:
    how = {"loss_fn": nn.CrossEntropyLoss(reduction=reduction), "accumulate": accumulate}
    theirs = double(optimizer=partial(torch.optim.SGD, lr=0.1, weight_decay=0.3), **how)
    ours = double(plugins=[WeightDecay(rate=0.3)], **how)
    theirs.fit(epochs=2)
    ours.fit(epochs=2)
    assert torch.allclose(weights_of(ours), weights_of(theirs), rtol=1e-12, atol=1e-14)


@pytest.mark.parity("C19", "B2")
def test_the_loss_has_it_and_that_of_validation_by_choice() -> None:
    still = partial(torch.optim.SGD, lr=0.0)
    plain = double(optimizer=still).fit(epochs=1)[0]
    trainer = double(optimizer=still, plugins=[WeightDecay(rate=1, p=1)])
    row, size = trainer.fit(epochs=1)[0], weights_of(trainer).abs().sum().item()
    assert row["loss"] == pytest.approx(plain["loss"] + size)
    assert row["val_loss"] == pytest.approx(plain["val_loss"])
    for reduction in ("mean", "sum"):
        how = {"optimizer": still, "loss_fn": nn.CrossEntropyLoss(reduction=reduction)}
        trainer = double(**how, plugins=[WeightDecay(rate=1, p=1, validation=True)])
        assert trainer.evaluate(tiny_double())["test_loss"] == pytest.approx(double(**how).evaluate(tiny_double())["test_loss"] + size)


def tiny_double() -> Any:
    return [(x.double(), y) for x, y in tiny_batches(2)]


def test_patterns_and_frozen_parameters() -> None:
    trainer = double(plugins=[WeightDecay(rate=0.5, params="w*")], loss_fn=lambda outputs, targets: 0 * outputs.sum())
    bias, weight = trainer.model.bias.detach().clone(), trainer.model.weight.detach().clone()
    trainer.fit(steps=1)
    assert torch.equal(trainer.model.bias, bias)
    assert torch.allclose(trainer.model.weight, weight * 0.95)
    with pytest.raises(FitError, match=r"no parameter is called 'wieght'; did you mean 'weight'\?"):
        double(plugins=[WeightDecay(params="wieght")]).fit(epochs=1)
    model = nn.Linear(4, 3).double()
    model.weight.requires_grad_(False)
    row = double(model=model, plugins=[WeightDecay(rate=1e6, params="weight")]).fit(epochs=1)[0]
    assert row["loss"] < 100


def test_each_update_has_the_penalty_of_its_own() -> None:
    def losses(*plugins: Any) -> Any:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
        still = partial(torch.optim.SGD, lr=0.0)
        updates = Updates([Update("a", still(model[0].parameters())), Update("b", still(model[1].parameters()))])
        return tiny_trainer(model=model, optimizer=updates, plugins=plugins).fit(epochs=1)[0], model

    (plain, _), (row, model) = losses(), losses(WeightDecay(rate=1, p=1, validation=True))
    a, b = (sum(p.abs().sum().item() for p in part.parameters()) for part in model)
    assert row["a_loss"] == pytest.approx(plain["a_loss"] + a)
    assert row["b_loss"] == pytest.approx(plain["b_loss"] + b)
    assert row["val_loss"] == pytest.approx(plain["val_loss"] + a)


def test_options_and_conformance() -> None:
    for options in ({"rate": -1}, {"p": 0.5}, {"p": math.inf}, {"form": "squared"}):
        with pytest.raises(FitError, match=f"{next(iter(options))} must be"):
            WeightDecay(**options)  # type: ignore[arg-type]
    check_plugin(WeightDecay(rate=0.1, p=1.5, validation=True), accumulate=2)
    check_plugin(WeightDecay(rate=0.1, form="norm"))


def test_lazy_parameters_and_closures() -> None:
    lazy = nn.Sequential(nn.LazyLinear(5), nn.LazyLinear(3))
    tiny_trainer(model=lazy, plugins=[WeightDecay(rate=0.1)]).fit(epochs=1)
    how = {"optimizer": partial(torch.optim.LBFGS, lr=0.1, max_iter=4), "loss_fn": nn.CrossEntropyLoss(reduction="sum")}
    with_penalty = double(plugins=[WeightDecay(rate=5.0)], **how)
    with_penalty.fit(steps=6)
    plain = double(**how)
    plain.fit(steps=6)
    assert weights_of(with_penalty).norm() < weights_of(plain).norm()

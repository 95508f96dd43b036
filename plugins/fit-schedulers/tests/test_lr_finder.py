"""The learning rate range test: what it suggests, and that nothing is left of it."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, Adam

from fit_core import FitError, State, Trainer, Update, Updates, hookimpl
from fit_core.items import Item, Scatter, Table
from fit_core.testing import check_plugin, check_resume, tiny_batches, tiny_trainer
from fit_schedulers import LRFinder
from fit_schedulers.range_test import centred, diverges, following, growing, judged


def valley(rate: float) -> float:
    """Fall most steeply at 1e-2, be lowest near 0.5, explode beyond."""
    return 2 - 1.5 / (1 + (1e-2 / rate) ** 2) + (rate / 0.8) ** 3


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    rates = growing(1e-6, 10, 200)
    found = judged(rates, [valley(rate) for rate in rates])
    assert found.suggestion == pytest.approx(1e-2, rel=0.2)
    assert "the loss falls fastest there; it is lowest at 0." in found.reason
    assert found.losses == [valley(rate) for rate in rates]


@pytest.mark.parametrize(
    ("losses", "why"),
    [
        ([1.0, 1.1, math.nan], "out of bounds after 2 steps: begin with a lower rate"),
        ([1.0 + i / 50 for i in range(60)], "the loss falls at no rate"),
        ([1.0 + (-1) ** i * 0.3 for i in range(60)], "the loss falls at no rate"),
        ([0.0] * 60, "the loss falls at no rate"),
    ],
)
def test_why_there_is_none(losses: list[float], why: str) -> None:
    found = judged(growing(1e-6, 10, 60), losses)
    assert found.suggestion is None
    assert why in found.reason


def test_a_loss_that_still_falls_at_the_end_says_so() -> None:
    found = judged(growing(1e-6, 1e-2, 60), [-i / 10 for i in range(60)])
    assert found.suggestion is not None
    assert "it still falls at 0.01: try a higher max_lr too" in found.reason


def test_divergence() -> None:
    assert diverges([1.0, math.inf])
    assert diverges([1.0, math.nan])
    assert not diverges([1.0] * 30)
    assert not diverges([-1.0 - i / 10 for i in range(30)])
    assert diverges([1 - i / 50 for i in range(20)] + [50.0] * 3)
    assert diverges([-5.0] * 15 + [40.0] * 5), "of negative losses too"


@given(st.floats(1e-8, 1e-2), st.floats(0.1, 100), st.integers(2, 300))
def test_rates_grow_by_one_factor(low: float, high: float, steps: int) -> None:
    rates = growing(low, high, steps)
    assert rates[0] == pytest.approx(low)
    assert rates[-1] == pytest.approx(high)
    factors = [b / a for a, b in pairwise(rates)]
    assert factors == pytest.approx([factors[0]] * len(factors))


def test_smoothing_has_no_bias_at_the_beginning() -> None:
    assert following([3.0] * 5) == pytest.approx([3.0] * 5)
    assert centred([3.0] * 5) == pytest.approx([3.0] * 5)
    assert following([1.0, 2.0])[1] == pytest.approx((0.9 * 1 + 2) / 1.9)
    assert centred([0.0, 0.0, 9.0, 0.0, 0.0]) == pytest.approx([9 / 6, 18 / 8, 3, 18 / 8, 9 / 6])


class Shown:
    """Keeps what is shown."""

    passive = True

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.rates: list[list[float]] = []

    @hookimpl
    def on_show(self, name: str, item: Item) -> None:
        self.items[name] = item

    @hookimpl
    def on_step_start(self, state: State) -> None:
        assert state.update is not None
        self.rates.append([float(group["lr"]) for group in state.update.optimizer.param_groups])


def dropped(finder: Any, **changes: Any) -> Trainer:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 3))
    settings: dict[str, Any] = {"optimizer": partial(Adam, lr=1e-3), "train_data": tiny_batches(30), "plugins": finder, **changes}
    return tiny_trainer(model=model, **settings)


@pytest.mark.parametrize("others", [[], ["lr:warmup=0.1"], ["lr:schedule=StepLR,step_size=3", "plateau:monitor=loss"]])
@pytest.mark.parametrize("seed", [1, None])
def test_the_run_is_the_same_to_the_bit(others: list[str], seed: int | None) -> None:
    shown, finder = Shown(), LRFinder(steps=60)
    trainer, plain = dropped([*others, shown, finder], seed=seed), dropped(others, seed=seed)
    torch.manual_seed(3)
    rows = trainer.fit(epochs=2)
    torch.manual_seed(3)
    assert [row["loss"] for row in plain.fit(epochs=2)] == [row["loss"] for row in rows]
    for mine, theirs in zip(trainer.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert finder.result is not None
    assert finder.result.suggestion is not None
    assert 1e-4 < finder.result.suggestion < 1
    table, scatter = shown.items["lr-finder-table"], shown.items["lr-finder"]
    assert isinstance(table, Table)
    assert isinstance(scatter, Scatter)
    assert [row[0] for row in table.rows] == list(finder.result.rates)
    assert scatter.points.shape == (len(finder.result.losses), 2)


def test_it_applies_what_it_found_and_a_schedule_begins_with_it() -> None:
    finder, shown = LRFinder(steps=60, apply=True), Shown()
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = SGD([{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.01}])
    trainer = tiny_trainer(model=model, optimizer=optimizer, train_data=tiny_batches(30), plugins=["lr:schedule=linear", shown, finder])
    trainer.fit(epochs=1)
    assert finder.result is not None
    assert finder.result.suggestion is not None
    assert shown.rates[0] == pytest.approx([finder.result.suggestion, finder.result.suggestion / 10])
    trainer.fit(epochs=1)
    assert len(shown.rates) == 60, "it tries once"


def test_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    dropped([LRFinder(steps=60), "no:console"], quiet=False).fit(epochs=1)
    said = capsys.readouterr().out
    assert said.startswith("lr-finder: 0.")
    assert "the loss falls fastest there" in said
    assert "(the rate is 0.001)" in said
    torch.manual_seed(0)
    noise = [(torch.randn(8, 4), torch.randint(3, (8,))) for _ in range(40)]
    dropped([LRFinder(steps=30, max_lr=1e-5), "no:console"], quiet=False, train_data=noise).fit(epochs=1)
    assert capsys.readouterr().out.startswith("lr-finder: no suggestion: the loss falls at no rate")


def test_only_the_search() -> None:
    finder = LRFinder(steps=30, only=True)
    trainer = dropped([finder])
    assert trainer.fit(epochs=3) == []
    assert finder.result is not None
    assert trainer.current_state().batch_count == 0
    assert trainer.current_state().stop_reason == "lr-finder: nothing but the search was asked for"


def test_accumulation_and_one_of_several_updates() -> None:
    model = nn.ModuleDict({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)})
    model.forward = lambda x: model["a"](x) + model["b"](x)  # type: ignore[method-assign]

    def make(finder: LRFinder) -> Trainer:
        updates = Updates([Update("a", SGD(model["a"].parameters(), lr=0.1)), Update("b", SGD(model["b"].parameters(), lr=0.1), every=2)])
        return tiny_trainer(model=model, optimizer=updates, train_data=tiny_batches(9), val_data=None, accumulate=2, plugins=[finder])

    with pytest.raises(FitError, match="whose rate\\? there are the updates a, b: say update="):
        make(LRFinder()).fit(epochs=1)
    with pytest.raises(FitError, match="there is no update 'c'"):
        make(LRFinder(update="c")).fit(epochs=1)
    finder = LRFinder(steps=40, update="b")
    before = [p.detach().clone() for p in model.parameters()]
    trainer = make(finder)
    trainer.rehearse(Stops())
    assert all(map(torch.equal, before, model.parameters()))
    trainer.fit(epochs=1)
    assert finder.result is not None
    assert len(finder.result.losses) > 20


class Stops:
    @hookimpl
    def on_step_end(self, trainer: Trainer) -> None:
        trainer.stop("enough")


def test_mistakes() -> None:
    for options in ({"min_lr": 0.0}, {"min_lr": 1.0, "max_lr": 0.1}, {"max_lr": math.inf}, {"steps": 5}):
        with pytest.raises(FitError):
            LRFinder(**options)  # type: ignore[arg-type]
    with pytest.raises(FitError, match="whose learning rate is a number above 0"):
        tiny_trainer(plugins=["lr-finder"], optimizer=partial(SGD, lr=0.0)).fit(epochs=1)


def test_a_resumed_run_tries_nothing(tmp_path: Path) -> None:
    check_resume(lambda: dropped(["lr-finder:steps=20,apply=true", "lr"], seed=1))
    trainer = dropped(["lr-finder:steps=20"], seed=1)
    trainer.fit(epochs=1)
    trainer.save(tmp_path / "saved")
    finder = LRFinder(steps=20)
    dropped([finder], seed=1).fit(epochs=2, resume=tmp_path / "saved", allow_changes=True)
    assert finder.result is None


def test_conformance() -> None:
    check_plugin("lr-finder:steps=20")

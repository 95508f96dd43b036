"""What is kept is what a plain model says, over any sequence of values, however often the run dies on the way."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fit_checkpoint import ModelCheckpoint
from fit_checkpoint.keeping import Rule, Saved
from fit_core import State, Trainer, hookimpl
from fit_core.checkpoint import find_checkpoint
from fit_core.saving import SaveLast
from fit_core.testing import tiny_batches, tiny_trainer

VALUES = st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, -math.inf, math.inf, math.nan]), min_size=1, max_size=7)
COUNTS = st.integers(0, 3)


def best_epochs(values: list[float], best: int, higher: bool) -> list[int]:
    """Return the best epochs of all, the very best first: no bookkeeping, just a sort."""
    real = [(-value if higher else value, epoch) for epoch, value in enumerate(values, 1) if not math.isnan(value)]
    return [epoch for _, epoch in sorted(real)][:best]


def model(values: list[float], last: int | None, best: int, every: int | None, higher: bool) -> set[int]:
    """Say which epochs are kept at the end: the last of those that were ever saved, and the best of all."""
    saved = []
    for epoch in range(1, len(values) + 1):
        due = (every is not None and epoch % every == 0) or epoch == len(values)
        if (due and last != 0) or epoch in best_epochs(values[:epoch], best, higher):
            saved.append(epoch)
    newest = saved if last is None else saved[len(saved) - min(last, len(saved)) :]
    return {*newest, *best_epochs(values, best, higher)}


@given(VALUES, st.none() | COUNTS, COUNTS, st.booleans())
@settings(max_examples=300)
def test_the_rule_keeps_what_the_model_says(values: list[float], last: int | None, best: int, higher: bool) -> None:
    rule, saved = Rule(last, best, higher), []
    for epoch, value in enumerate(values, 1):
        known = None if math.isnan(value) else value
        if last != 0 or rule.enters(saved, known):
            saved = rule.kept([*saved, Saved(f"e{epoch}", epoch, known)])
    assert {each.name for each in saved} == {f"e{epoch}" for epoch in model(values, last, best, 1, higher)}
    assert [each.name for each in rule.ranked(saved)] == [f"e{epoch}" for epoch in best_epochs(values, best, higher)]


class Scores:
    """Puts given values into the row, and dies before the given epochs, once each."""

    def __init__(self, values: list[float], deaths: list[int]) -> None:
        self.values, self.deaths = values, deaths

    @hookimpl
    def on_epoch_start(self, state: State) -> None:
        if state.epoch in self.deaths:
            self.deaths.remove(state.epoch)
            raise KeyboardInterrupt

    @hookimpl
    def on_train_epoch_end(self, trainer: Trainer, state: State) -> None:
        trainer.record("score", self.values[state.epoch - 1])


def run(folder: Path, values: list[float], deaths: list[int], others: list[Any], **options: Any) -> None:
    """Train as often as it takes."""
    left = sorted(deaths)
    while True:
        plugin = ModelCheckpoint(monitor="score", name="e{epoch}", **options)
        trainer = tiny_trainer(plugins=[Scores(values, left), *(make() for make in others), plugin], run_dir=folder, seed=0)
        try:
            trainer.fit(tiny_batches(1), epochs=len(values), resume="auto")
            return
        except KeyboardInterrupt:
            continue


def kept(folder: Path) -> set[str]:
    found = [path for path in (folder / "checkpoints").glob("*") if path.name not in ("best", "last")]
    assert not [path.name for path in found if path.name.startswith(".")]
    return {path.name for path in found}


@pytest.mark.parity("B30")
@given(VALUES, st.none() | COUNTS, COUNTS, st.sampled_from([None, 1, 2]), st.booleans(), st.lists(st.integers(2, 7), max_size=2))
@settings(max_examples=30, deadline=None)
@pytest.mark.parametrize("others", [[], [SaveLast]], ids=["alone", "beside save-last"])
def test_a_run_keeps_what_the_model_says(
    others: list[Any], values: list[float], last: int | None, best: int, every: int | None, higher: bool, deaths: list[int]
) -> None:
    if last == 0:
        best, every = best or 1, None
    options = {"last": "all" if last is None else last, "best": best, "mode": "max" if higher else "min"}
    options["every"] = None if every is None else f"{every} epochs"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, values, [epoch for epoch in {*deaths} if epoch <= len(values)], others, **options)
        expected = {f"e{epoch}" for epoch in model(values, last, best, every, higher)}
        ended = len(values)
        assert kept(folder) - {f"step-{ended:08}"} == expected
        first = best_epochs(values, best, higher)[:1]
        assert [find_checkpoint(folder / "checkpoints" / "best").folder.name for _ in first] == [f"e{epoch}" for epoch in first]
        if others:
            assert find_checkpoint(folder / "checkpoints" / "last").manifest["epoch"] == ended

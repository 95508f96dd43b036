"""How long, how often, how much: val_every, limits, and what a stop leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.data import Limited
from fit_core.position import length
from fit_core.testing import record_hooks, tiny_batches, tiny_trainer

VALIDATION = tiny_batches(3, seed=1)


class Heard:
    """Notes the step of every validation, and what trackers are told of it."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.entries: list[Any] = []

    @hookimpl
    def on_eval_start(self, state: State) -> None:
        self.steps.append(state.step)

    @hookimpl
    def on_log(self, entries: Any) -> None:
        self.entries += [entry for entry in entries if entry.phase == "validate"]


def test_validation_every_other_epoch() -> None:
    heard = Heard()
    rows = tiny_trainer(plugins=[heard]).fit(epochs=5, val_every="2 epochs")
    assert heard.steps == [4, 8]
    assert [("val_loss" in row) for row in rows] == [False, True, False, True, False]


def test_validation_inside_epochs_goes_to_trackers_and_the_row_has_the_last() -> None:
    heard = Heard()
    trainer = tiny_trainer(plugins=[heard], train_data=tiny_batches(10))
    rows = trainer.fit(epochs=2, val_every="4 steps")
    assert heard.steps == [4, 8, 12, 16, 20]
    assert [entry.step for entry in heard.entries] == [4, 8, 12, 16, 20]
    assert [entry.epoch for entry in heard.entries] == [1, 1, 2, 2, 2]
    assert rows[0]["val_loss"] == heard.entries[1].values["val_loss"]
    assert rows[1]["val_loss"] == heard.entries[-1].values["val_loss"]
    trainer.fit(epochs=1, val_every="4 steps")
    assert heard.steps[5:] == [24, 28], "the counting goes on over calls of fit"


def test_an_epoch_without_its_validation_has_no_values_of_it() -> None:
    rows = tiny_trainer().fit(epochs=3, val_every="5 steps")
    assert [("val_loss" in row) for row in rows] == [False, False, True]


def test_validation_by_the_clock() -> None:
    heard = Heard()
    tiny_trainer(plugins=[heard]).fit(epochs=1, val_every="0.000001 seconds")
    assert heard.steps == [1, 2]
    late = Heard()
    assert "val_loss" not in tiny_trainer(plugins=[late]).fit(epochs=1, val_every="1 hour")[0]


def test_validation_in_mid_epoch_changes_nothing_in_training() -> None:
    plain, watched = tiny_trainer(val_data=None), tiny_trainer()
    plain.fit(epochs=2)
    watched.fit(epochs=2, val_every="1 batch")
    assert torch.equal(plain.model.weight, watched.model.weight)
    assert plain.history[-1]["loss"] == watched.history[-1]["loss"]


def test_a_safe_point_comes_after_the_validation_of_a_batch() -> None:
    trainer = tiny_trainer()
    with record_hooks(trainer) as calls:
        trainer.fit(epochs=1, val_every="1 step")
    after = [hook for hook in calls.hooks if hook in ("on_batch_end", "on_eval_end", "on_safe_point", "on_train_epoch_end")]
    assert after[:3] == ["on_batch_end", "on_eval_end", "on_safe_point"]


def test_no_validation_follows_a_stop_in_mid_epoch() -> None:
    @hookimpl
    def on_batch_end(trainer: Trainer) -> None:
        trainer.stop("enough")

    heard = Heard()
    assert tiny_trainer(plugins=[on_batch_end, heard]).fit(epochs=1, val_every="1 step") == []
    assert heard.steps == []


def test_the_state_tells_what_is_validated() -> None:
    found: list[Any] = []

    @hookimpl
    def on_epoch_end(state: State) -> None:
        found.append(state.validation)

    for val_data in (None, VALIDATION, {"a": VALIDATION, "b": VALIDATION}):
        trainer = tiny_trainer(plugins=[on_epoch_end], val_data=None)
        trainer.fit(val_data=val_data, epochs=1)
    assert found == [(), ("val_",), ("val_a_", "val_b_")]


@pytest.mark.parity("T10", "T15")
@pytest.mark.parametrize(("limit", "batches"), [(2, (2, 2)), ({"train": 3}, (3, 3)), ({"validate": 1, "train": 1}, (1, 1)), (99, (5, 3))])
def test_limits(limit: int | Mapping[str, int], batches: tuple[int, int]) -> None:
    seen: list[tuple[str, int | None]] = []

    @hookimpl
    def on_train_epoch_end(state: State) -> None:
        seen.append((state.phase, state.batch))

    @hookimpl
    def on_eval_end(state: State) -> None:
        seen.append((state.phase, state.batch))

    trainer = tiny_trainer(plugins=[on_train_epoch_end, on_eval_end], train_data=tiny_batches(5), val_data=VALIDATION)
    rows = trainer.fit(epochs=2, limit_batches=limit)
    assert seen[:2] == [("train", batches[0]), ("validate", batches[1])]
    assert len(rows) == 2
    assert trainer.requests == []


def test_limits_of_evaluate_and_predict() -> None:
    trainer = tiny_trainer()
    data = tiny_batches(4)
    assert trainer.evaluate(data, limit_batches=2) == trainer.evaluate(data[:2])
    assert len(trainer.predict(data, limit_batches=3)) == 24


@pytest.mark.parity("T16")
def test_a_limit_ends_endless_data() -> None:
    def endless() -> Iterator[Any]:
        while True:
            yield from tiny_batches(1)

    assert tiny_trainer().fit(endless(), epochs=2, limit_batches=2)[-1]["epoch"] == 2
    assert length(Limited(endless(), 3)) is None


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "phase": ({"limit_batches": {"trian": 1}}, r"limit_batches has no phase 'trian' \(phases: train, validate\); did you mean 'train'"),
    "limit": ({"limit_batches": 0}, "limit_batches must be at least 1 and whole, not 0"),
    "val_every": ({"val_every": "5 stps"}, "cannot read the interval '5 stps': there is no unit 'stps'; did you mean 'steps'"),
    "true": ({"steps_per_epoch": True}, "steps_per_epoch must be at least 1 and whole, not True"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    arguments, message = MISTAKES[name]
    with pytest.raises(FitError, match=message):
        tiny_trainer().fit(epochs=1, **arguments)


def test_a_batch_size_that_does_nothing_is_refused() -> None:
    trainer = tiny_trainer()
    for call in (trainer.evaluate, trainer.predict):
        with pytest.raises(FitError, match="batch_size does nothing here: the data makes its own batches"):
            call(tiny_batches(1), batch_size=3)


@pytest.mark.parity("T22")
def test_evaluate_names_its_values() -> None:
    assert tiny_trainer().evaluate(tiny_batches(1), prefix="far_").keys() == {"far_loss"}

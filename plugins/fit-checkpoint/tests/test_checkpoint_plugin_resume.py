"""A run that is resumed saves where it would have saved, and knows what it has kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fit_checkpoint import ModelCheckpoint
from fit_core import State, Trainer, hookimpl
from fit_core.checkpoint import find_checkpoint
from fit_core.saving import SaveLast
from fit_core.testing import tiny_batches, tiny_trainer


class Life:
    """Puts given values into the row, one for each epoch; does something when a hook comes to a place, such as `epoch=3`.

    Args:
        values: of `score`.
        at: the hook; it raises by default.
        do: what to do instead.
        place: attributes of the state.
    """

    def __init__(self, *values: float, at: str = "", do: Callable[[Trainer], object] | None = None, **place: int) -> None:
        self.values, self.at, self.do, self.place = values, at, do, place

    def _heard(self, hook: str, trainer: Trainer, state: State) -> None:
        if hook == self.at and all(getattr(state, name) == value for name, value in self.place.items()):
            if self.do is None:
                raise KeyboardInterrupt
            self.do(trainer)

    @hookimpl
    def on_epoch_start(self, trainer: Trainer, state: State) -> None:
        self._heard("on_epoch_start", trainer, state)

    @hookimpl
    def on_train_epoch_end(self, trainer: Trainer, state: State) -> None:
        if self.values:
            trainer.record("score", self.values[state.epoch - 1])

    @hookimpl
    def on_eval_batch_end(self, trainer: Trainer, state: State) -> None:
        self._heard("on_eval_batch_end", trainer, state)

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State) -> None:
        self._heard("on_epoch_end", trainer, state)

    @hookimpl
    def on_safe_point(self, trainer: Trainer, state: State) -> None:
        self._heard("on_safe_point", trainer, state)


def by_epoch(**options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(name="e{epoch}", **{"monitor": "score", "mode": "min"} | options)


def trainer_in(folder: Path, *plugins: Any) -> Trainer:
    return tiny_trainer(plugins=list(plugins), run_dir=folder, seed=0)


def die_in(trainer: Trainer, **length: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(**length)


def folders(run: Path) -> list[str]:
    found = list((run / "checkpoints").iterdir())
    assert not [path for path in found if path.name.startswith(".")]
    return sorted(path.name for path in found if path.is_dir())


def pointed(run: Path, pointer: str = "best") -> str:
    return find_checkpoint(run / "checkpoints" / pointer).folder.name


def shuffled(folder: Path, *plugins: Any) -> Trainer:
    """Return a trainer with much that must be restored: shuffling, dropout, momentum, open windows."""
    inputs, targets = map(torch.cat, zip(*tiny_batches(6), strict=True))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 3))
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    checkpoint = ModelCheckpoint(every="5 batches", last="all", best=2)
    return tiny_trainer(
        model=model, optimizer=optimizer, accumulate=4, seed=3, run_dir=folder, plugins=[checkpoint, *plugins], train_data=(inputs, targets)
    )


def without_clock(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_run_resumed_from_any_of_them_is_equal_to_the_bit(tmp_path: Path) -> None:
    whole = shuffled(tmp_path / "whole")
    rows = whole.fit(epochs=3, batch_size=8)
    names = folders(tmp_path / "whole")
    saved = {name: find_checkpoint(tmp_path / "whole" / "checkpoints" / name).manifest["saved"] for name in names}
    assert len(names) == 6
    for name in sorted(names, key=saved.__getitem__)[:-1]:
        copy = tmp_path / name
        shutil.copytree(tmp_path / "whole", copy)
        for later in [other for other in names if saved[other] > saved[name]]:
            shutil.rmtree(copy / "checkpoints" / later)
        resumed = shuffled(copy)
        assert without_clock(resumed.fit(epochs=3, batch_size=8, resume="auto")) == without_clock(rows)
        for mine, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
            assert torch.equal(mine, other)
        assert folders(copy) == names, f"resumed from {name}"
        assert pointed(copy) == pointed(tmp_path / "whole")


@pytest.mark.parity("C9", "C10", "C11")
def test_it_knows_what_it_kept(tmp_path: Path) -> None:
    plugin, values = partial(by_epoch, every="1 epoch", last=2, best=2), (2, 1, 3, 4, 5)
    die_in(trainer_in(tmp_path, Life(*values, at="on_epoch_start", epoch=4), plugin()), epochs=5)
    assert folders(tmp_path) == ["e1", "e2", "e3"]
    trainer_in(tmp_path, Life(*values), plugin()).fit(epochs=5, resume="auto")
    assert folders(tmp_path) == ["e1", "e2", "e4", "e5"]
    assert pointed(tmp_path) == "e2"


def test_a_checkpoint_knows_itself(tmp_path: Path) -> None:
    trainer_in(tmp_path, Life(1, 2), by_epoch()).fit(epochs=2)
    saved = find_checkpoint(tmp_path / "checkpoints" / "e2").state()["plugins"]["checkpoint"]["own"]["saved"]
    assert saved == [["e1", 2, 1.0], ["e2", 4, 2.0]]


def test_what_a_kill_left_behind_is_removed_later(tmp_path: Path) -> None:
    """As if killed when the new checkpoint was there, but before the pointer was written and the old one removed."""
    plugin, values, run, copy = partial(by_epoch, every="1 epoch"), (3, 2, 4), tmp_path / "run", tmp_path / "copy"
    die_in(trainer_in(run, Life(*values, at="on_epoch_start", epoch=2), plugin()), epochs=3)
    shutil.copytree(run, copy)
    die_in(trainer_in(run, Life(*values, at="on_epoch_start", epoch=3), plugin()), epochs=3, resume="auto")
    assert folders(run) == ["e2"]
    shutil.copytree(copy, run, dirs_exist_ok=True)
    assert (folders(run), pointed(run)) == (["e1", "e2"], "e1")
    die_in(trainer_in(run, Life(*values, at="on_epoch_end", epoch=3), plugin()), epochs=3, resume="auto")
    assert (folders(run), pointed(run)) == (["e1", "e2"], "e2"), "nothing is removed before a newer one is there"
    trainer_in(run, Life(*values), plugin()).fit(epochs=3, resume="auto")
    assert folders(run) == ["e2", "e3"]


def test_an_older_one_can_be_resumed(tmp_path: Path) -> None:
    """What came after it belongs to another future, and stays; it goes itself once it is superseded."""
    plugin, values, older = partial(by_epoch, every="1 epoch"), (9, 8, 7, 6), tmp_path / "checkpoints" / "e2"
    trainer_in(tmp_path, Life(*values), plugin(last=4)).fit(epochs=4)
    die_in(trainer_in(tmp_path, Life(*values, at="on_epoch_end", epoch=3), plugin()), epochs=4, resume=older)
    assert folders(tmp_path) == ["e1", "e2", "e3", "e4"]
    trainer_in(tmp_path, Life(*values), plugin()).fit(epochs=4, resume=older)
    assert folders(tmp_path) == ["e3", "e4", "e4-2"]
    assert pointed(tmp_path) == "e4-2"


def test_the_same_trainer_can_be_sent_back(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, Life(1, 2, 3, 4), by_epoch(every="1 epoch", last=2))
    trainer.fit(epochs=3)
    assert folders(tmp_path) == ["e1", "e2", "e3"]
    trainer.fit(epochs=4, resume=tmp_path / "checkpoints" / "e1")
    assert folders(tmp_path) == ["e1", "e2", "e3", "e3-2", "e4"], "those of the other future stay"
    trainer.fit(epochs=4, resume=tmp_path / "checkpoints" / "e1")
    assert folders(tmp_path) == ["e1", "e2", "e3", "e3-2", "e3-3", "e4", "e4-2"]


def test_a_name_can_be_used_again(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, Life(1, 2, 3, 4), by_epoch(every="1 epoch"))
    trainer.fit(epochs=3)
    shutil.rmtree(tmp_path / "checkpoints" / "e3")
    trainer.fit(epochs=4, resume=tmp_path / "checkpoints" / "e1")
    assert folders(tmp_path) == ["e1", "e4"]


def test_one_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    plugin, values = partial(by_epoch, best=2), (1, 2, 3, 4)
    die_in(trainer_in(tmp_path, Life(*values, at="on_epoch_start", epoch=3), plugin()), epochs=4)
    shutil.rmtree(tmp_path / "checkpoints" / "e1")
    die_in(trainer_in(tmp_path, Life(*values, at="on_safe_point", epoch=3), plugin()), epochs=4, resume="auto")
    assert pointed(tmp_path) == "e2"


def test_a_run_that_is_resumed_and_stopped_at_once_loses_nothing(tmp_path: Path) -> None:
    trainer_in(tmp_path, Life(1, 2), by_epoch(last=0)).fit(epochs=2)
    life = Life(1, 2, at="on_epoch_start", do=lambda trainer: trainer.stop("now"), epoch=2)
    trainer_in(tmp_path, life, by_epoch()).fit(epochs=2, resume="auto")
    assert folders(tmp_path) == ["e1", "e2"]
    assert pointed(tmp_path) == "e1"


def test_after_a_failure_the_same_trainer_goes_on(tmp_path: Path) -> None:
    life = Life(1, 2, 3, at="on_epoch_start", epoch=3)
    trainer = trainer_in(tmp_path, life, by_epoch(every="1 epoch", restore_best=True))
    die_in(trainer, epochs=3)
    life.at = ""
    trainer.fit(epochs=3, resume="auto")
    assert folders(tmp_path) == ["e1", "e3"]
    assert trainer.model.weight.equal(find_checkpoint(tmp_path / "checkpoints" / "best").tensors("model")["weight"])


def test_a_trainer_that_goes_on_in_another_folder_begins_anew(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path / "a", Life(1, 2, 3), ModelCheckpoint(name="model", last=0, monitor="score", mode="min"))
    trainer.fit(epochs=2)
    trainer.run_dir = tmp_path / "b"
    trainer.fit(epochs=1)
    assert (folders(tmp_path / "a"), folders(tmp_path / "b")) == (["model"], ["model"])
    assert (pointed(tmp_path / "a"), pointed(tmp_path / "b")) == ("model", "model")


def test_a_run_in_another_folder_begins_anew(tmp_path: Path) -> None:
    trainer_in(tmp_path / "a", Life(1, 2), by_epoch()).fit(epochs=2)
    trainer_in(tmp_path / "b", Life(5, 6), by_epoch()).fit(epochs=2)
    trainer_in(tmp_path / "b", Life(1, 2, 4, 3), by_epoch()).fit(epochs=4, resume=tmp_path / "a" / "checkpoints" / "e2")
    assert folders(tmp_path / "a") == ["e1", "e2"]
    assert folders(tmp_path / "b") == ["e1", "e2", "e4"]
    assert pointed(tmp_path / "b") == "e4"


def test_a_loaded_state_begins_anew(tmp_path: Path) -> None:
    trainer_in(tmp_path, Life(1, 2), by_epoch(every="3 steps")).fit(epochs=2)
    trainer = trainer_in(tmp_path, Life(1, 3), by_epoch(every="3 steps"))
    trainer.load(tmp_path / "checkpoints" / "best")
    trainer.fit(epochs=1)
    assert folders(tmp_path) == ["e1", "e2-2", "e2-3"]
    assert pointed(tmp_path) == "e2-3"


def test_another_monitor_begins_anew(tmp_path: Path) -> None:
    trainer_in(tmp_path, Life(1, 2, 3), by_epoch()).fit(epochs=2)
    trainer_in(tmp_path, Life(1, 2, 3), by_epoch(monitor="val_loss")).fit(epochs=3, resume=tmp_path)
    assert folders(tmp_path) == ["e1", "e2", "e3"]
    assert pointed(tmp_path) == "e3"


def test_a_plugin_that_is_new_finds_nothing_of_its_own(tmp_path: Path) -> None:
    die_in(trainer_in(tmp_path, SaveLast(), Life(1, 2, 3, at="on_epoch_start", epoch=3)), epochs=3)
    trainer_in(tmp_path, SaveLast(), Life(1, 2, 3), by_epoch()).fit(epochs=3, resume="auto", allow_changes=True)
    assert folders(tmp_path) == ["e3"]


def place(path: Path) -> tuple[Any, ...]:
    """Return when a checkpoint was saved, and whether a run can go on from it; the number in its name depends on what was there."""
    found = find_checkpoint(path)
    return (*(found.manifest[key] for key in ("epoch", "batch", "step")), found.full)


def places(run: Path) -> list[tuple[Any, ...]]:
    return sorted(place(run / "checkpoints" / name) for name in folders(run))


class Dies:
    """Raises at a safe point, between the turns of others."""

    def __init__(self, batch_count: int | None = None) -> None:
        self.batch_count = batch_count

    @hookimpl(trylast=True)
    def on_safe_point(self, state: State) -> None:
        if state.batch_count == self.batch_count:
            raise KeyboardInterrupt


@pytest.mark.parametrize("turn", [0, 1, 2, 3, 4])
def test_what_dies_between_the_turns_of_several(tmp_path: Path, turn: int) -> None:
    """A checkpoint that the first one has written knows nothing of what the others would have done there."""

    def plugins(batch_count: int | None = None) -> list[Any]:
        several = [
            ("low", by_epoch(every="5 steps", last=2, best=1)),
            ("export", by_epoch(every="1 step", last=3, mode="max", weights_only=True)),
            ("high", by_epoch(mode="max", last=0, best=3)),
            ("often", by_epoch(every="3 steps", last="all", best=0)),
        ]
        return [*several[:turn], Dies(batch_count), *several[turn:], SaveLast()]

    values, whole, pointers = (1, 2, 3, 0), tmp_path / "whole", ("best-low", "best-export", "best-high", "last")
    trainer_in(whole, Life(*values), *plugins()).fit(epochs=4)
    for batch in (2, 3, 5, 6):
        copy = tmp_path / str(batch)
        die_in(trainer_in(copy, Life(*values), *plugins(batch)), epochs=4)
        trainer_in(copy, Life(*values), *plugins()).fit(epochs=4, resume="auto")
        assert places(copy) == places(whole), f"died after batch {batch}: {folders(copy)}"
        assert [place(copy / "checkpoints" / name) for name in pointers] == [place(whole / "checkpoints" / name) for name in pointers]


def test_weights_that_a_lost_future_has_left_are_written_again(tmp_path: Path) -> None:
    plugins = partial(lambda: [SaveLast(), ModelCheckpoint(every="1 step", last="all", best=0, weights_only=True)])
    die_in(trainer_in(tmp_path, Life(at="on_safe_point", batch_count=4), *plugins()), epochs=3)
    assert folders(tmp_path) == ["step-00000002", "weights-00000001", "weights-00000002", "weights-00000003"]
    before = {name: (tmp_path / "checkpoints" / name).stat().st_ino for name in folders(tmp_path)}
    trainer_in(tmp_path, Life(), *plugins()).fit(epochs=3, resume="auto")
    names = [f"weights-{step:08}" for step in (1, 2, 3, 4, 5)]
    assert folders(tmp_path) == ["step-00000006", *names, "weights-00000006-2"]
    again = [name for name, inode in before.items() if name in names and (tmp_path / "checkpoints" / name).stat().st_ino != inode]
    assert again == ["weights-00000003"]


def test_weights_of_others_are_not_replaced(tmp_path: Path) -> None:
    """They have a name that is wanted, or like it; only weights of this run and place that are nobody's would be replaced."""
    checkpoints = tmp_path / "checkpoints"

    def plugins(at: str = "") -> list[Any]:
        one, two = (ModelCheckpoint(name="w", last=0, best=3, weights_only=True) for _ in range(2))
        return [SaveLast(), Life(at=at, epoch=2, batch=2), ("one", one), ("two", two)]

    die_in(trainer_in(tmp_path, *plugins("on_safe_point")), epochs=3)
    assert folders(tmp_path) == ["step-00000002", "w", "w-2"]
    other = trainer_in(tmp_path / "other")
    other.fit(epochs=2)
    other.save(checkpoints / "w-3")
    other.save(checkpoints / "w-mine", weights_only=True)
    other.save(checkpoints / "w-7", weights_only=True)
    (checkpoints / "w-7" / "model.safetensors").write_bytes(b"damaged")
    other.fit(epochs=7)
    other.save(checkpoints / "w-4", weights_only=True)
    (checkpoints / "w-5").write_text("a file")
    before = {path: path.stat().st_mtime_ns for path in checkpoints.glob("w*/*")}
    trainer_in(tmp_path, *plugins()).fit(epochs=2, resume=checkpoints / "step-00000002")
    assert [path.name for path, time in before.items() if path.stat().st_mtime_ns != time] == []
    assert sorted(path.name for path in checkpoints.glob("w*")) == ["w", "w-2", "w-3", "w-4", "w-5", "w-6", "w-7", "w-8", "w-mine"]
    trainer_in(tmp_path, *plugins()).fit(epochs=2)
    assert [path.name for path, time in before.items() if path.stat().st_mtime_ns != time] == []


def test_what_others_saved_stays_though_it_was_resumed_from(tmp_path: Path) -> None:
    mine = tmp_path / "checkpoints" / "mine"
    plugin, save = partial(ModelCheckpoint, every="1 step", best=0), lambda trainer: trainer.save(mine)
    trainer_in(tmp_path, Life(at="on_safe_point", do=save, batch_count=3), plugin()).fit(epochs=3)
    trainer_in(tmp_path, Life(), plugin()).fit(epochs=3, resume=mine)
    assert mine.name in folders(tmp_path)


@pytest.mark.parametrize("order", [1, -1])
def test_two_that_share_a_checkpoint_both_know_of_it(tmp_path: Path, order: int) -> None:
    """It was written at the turn of the first one, so what it holds of the others is from before."""

    def plugins() -> list[Any]:
        low, high = by_epoch(every="5 steps", last=2, best=2), by_epoch(mode="max", last=0, best=2)
        return [("low", low), ("high", high), ("often", by_epoch(every="3 steps", last="all", best=0))][::order]

    values, whole = (2, 1, 3, 2), tmp_path / "whole"
    trainer_in(whole, Life(*values), *plugins()).fit(epochs=4)
    for batch in (3, 4, 5, 6):
        copy = tmp_path / str(batch)
        die_in(trainer_in(copy, Life(*values, at="on_safe_point", batch_count=batch), *plugins()), epochs=4)
        trainer_in(copy, Life(*values), *plugins()).fit(epochs=4, resume="auto")
        assert folders(copy) == folders(whole), f"died after batch {batch}"
        assert [pointed(copy, f"best-{name}") for name in ("low", "high")] == [pointed(whole, f"best-{name}") for name in ("low", "high")]


def test_a_validation_that_was_interrupted(tmp_path: Path) -> None:
    """The epoch is not complete: its checkpoint comes when it is, and takes the place of the interrupted one."""
    plugin = partial(ModelCheckpoint, every="2 epochs", last="all", name="e{epoch}", best=0)
    life = Life(at="on_eval_batch_end", do=lambda trainer: trainer.interrupt("now"), epoch=2)
    trainer_in(tmp_path, life, plugin()).fit(epochs=5)
    assert folders(tmp_path) == ["e2"]
    trainer_in(tmp_path, Life(), plugin()).fit(epochs=5, resume="auto")
    assert folders(tmp_path) == ["e2-2", "e4", "e5"]


def test_the_clock_goes_on(tmp_path: Path) -> None:
    plugin = partial(ModelCheckpoint, every="1 hour", best=0)
    die_in(trainer_in(tmp_path, SaveLast(), Life(at="on_epoch_start", epoch=2), plugin()), epochs=2)
    left = find_checkpoint(tmp_path).state()["plugins"]["checkpoint"]["own"]["due"]["gate"]["next"]
    assert 3590 < left < 3600
    resumed = trainer_in(tmp_path, SaveLast(), Life(), plugin())
    resumed.fit(epochs=2, resume="auto")
    assert resumed.state_dict()["plugins"]["checkpoint"]["own"]["due"]["gate"]["next"] < left


def test_the_best_of_before_is_restored(tmp_path: Path) -> None:
    plugin, values = partial(by_epoch, restore_best=True, last=0), (3, 1, 2)
    die_in(trainer_in(tmp_path, SaveLast(), Life(*values, at="on_epoch_start", epoch=3), plugin()), epochs=3)
    best = find_checkpoint(tmp_path / "checkpoints" / "best").tensors("model")["weight"]
    resumed = trainer_in(tmp_path, SaveLast(), Life(*values), plugin())
    resumed.fit(epochs=3, resume="auto")
    assert resumed.model.weight.equal(best)
    assert pointed(tmp_path, "last") == "step-00000006"

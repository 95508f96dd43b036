"""Garbage collection: off in a step, done between batches, and put back whatever happens."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import check_plugin, tiny_batches, tiny_trainer
from fit_device import GarbageCollection
from fit_device.collector import Collector


def found() -> tuple[bool, tuple[int, int, int], int]:
    return gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    gc.unfreeze()  # newer versions of Python begin with frozen objects
    before = found()
    yield
    after = found()
    gc.unfreeze()
    gc.enable()
    assert after == before


class Cycle:
    def __init__(self) -> None:
        self.me = self


class Litter:
    """Makes a cycle in every batch, and notes how many there are."""

    def __init__(self) -> None:
        self.made: list[weakref.ref[Cycle]] = []
        self.alive: list[int] = []

    @hookimpl
    def on_batch_start(self) -> None:
        self.made.append(weakref.ref(Cycle()))

    @hookimpl
    def on_eval_batch_start(self) -> None:
        self.made.append(weakref.ref(Cycle()))

    @hookimpl(trylast=True)
    def on_safe_point(self) -> None:
        self.alive.append(sum(one() is not None for one in self.made))

    @hookimpl(trylast=True)
    def on_eval_batch_end(self) -> None:
        self.alive.append(sum(one() is not None for one in self.made))


def test_it_conforms() -> None:
    check_plugin("gc")


def test_cycles_are_collected_every_so_often_and_after_an_epoch() -> None:
    litter = Litter()
    tiny_trainer(plugins=[GarbageCollection("3 steps"), litter], val_data=None).fit(tiny_batches(8), epochs=2)
    assert litter.alive == [1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 1, 2, 0, 1, 2, 0, 1, 0]


def test_an_interval_in_epochs_collects_after_epochs_only() -> None:
    litter = Litter()
    tiny_trainer(plugins=[GarbageCollection("1 epoch"), litter], val_data=None).fit(tiny_batches(3), epochs=2)
    assert litter.alive == [1, 2, 3, 0] * 2


def test_long_evaluations_are_collected_too() -> None:
    litter = Litter()
    tiny_trainer(plugins=[GarbageCollection("1 epoch"), litter]).fit(tiny_batches(1), tiny_batches(25), epochs=1)
    assert litter.alive == [1, *range(2, 11), 0, *range(1, 10), 0, *range(1, 6), 0]


def test_a_survivor_of_a_collection_is_found_after_the_epoch() -> None:
    kept: list[Cycle] = []
    gone: list[bool] = []

    class Keep:
        @hookimpl
        def on_batch_start(self, state: State) -> None:
            if state.batch == 1:
                kept.append(Cycle())
                self.seen = weakref.ref(kept[0])
            if state.batch == 5:
                kept.clear()

        @hookimpl(trylast=True)
        def on_safe_point(self) -> None:
            gone.append(self.seen() is None)

    tiny_trainer(plugins=[GarbageCollection("1 step"), Keep()], val_data=None).fit(tiny_batches(6), epochs=1)
    assert gone == [False] * 6 + [True]


class Watch:
    def __init__(self, raises: bool = False) -> None:
        self.seen: list[bool] = []
        self.raises = raises

    @hookimpl
    def on_batch_end(self) -> None:
        self.seen.append(gc.isenabled() or not gc.get_freeze_count())
        if self.raises:
            raise ValueError("here")


def test_it_is_put_back_after_an_exception() -> None:
    watch = Watch(raises=True)
    with pytest.raises(ValueError, match="here"):
        tiny_trainer(plugins=["gc", watch]).fit(epochs=1)
    assert watch.seen == [False]


def test_a_run_that_never_begins_leaves_it_alone() -> None:
    @hookimpl
    def on_setup() -> None:
        raise ValueError("early")

    with pytest.raises(ValueError, match="early"):
        tiny_trainer(plugins=["gc", on_setup]).fit(epochs=1)


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    tiny_trainer(plugins=["gc"]).fit(epochs=1)
    assert not gc.isenabled()
    gc.enable()


def test_a_trainer_inside_of_another_one_switches_nothing_on() -> None:
    watch = Watch()

    class Inner:
        @hookimpl
        def on_batch_start(self, trainer: Trainer, state: State) -> None:
            if state.batch == 1:
                tiny_trainer(plugins=["gc", watch]).fit(epochs=1)

    tiny_trainer(plugins=["gc", Inner(), watch]).fit(epochs=2)
    assert watch.seen
    assert not any(watch.seen)


def test_runs_may_end_in_any_order() -> None:
    collector, states = Collector(), []
    for change in (collector.hold, collector.hold, collector.release, collector.release):
        change()
        states.append((gc.isenabled(), gc.get_freeze_count() > 0))
    assert states == [(False, True)] * 3 + [(True, False)]


class Collected(Dataset[Any]):
    """Says whether the collector works where samples are loaded."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.full((4,), float(gc.isenabled())), torch.tensor(0)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("seed", [None, 1])
def test_workers_collect_by_themselves(workers: int, seed: int | None) -> None:
    seen: list[Tensor] = []

    @hookimpl
    def on_batch_start(state: State) -> None:
        seen.append(state.inputs)

    loader = DataLoader(Collected(), batch_size=2, num_workers=workers, multiprocessing_context="fork" if workers else None)
    tiny_trainer(plugins=["gc", on_batch_start], seed=seed, val_data=None).fit(loader, epochs=1)
    assert torch.equal(torch.cat(seen), torch.full((4, 4), float(workers)))


def test_what_is_no_interval_is_an_error() -> None:
    with pytest.raises(FitError, match="cannot read the interval"):
        GarbageCollection("often")

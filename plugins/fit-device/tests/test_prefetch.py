"""Batches fetched ahead: their order, how many, and where they are."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fit_core import FitError, State, hookimpl
from fit_core.testing import check_plugin, check_resume, tiny_batches, tiny_trainer
from fit_device import Prefetch
from fit_device.ahead import ahead
from fit_device.prefetch import SideStream, pinned, sent

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")


@given(count=st.integers(0, 12), depth=st.integers(0, 5))
def test_in_order_and_never_more_ahead_than_asked_for(count: int, depth: int) -> None:
    started: list[int] = []
    most = 0
    given_out = ahead(range(count), lambda i: started.append(i) or i, lambda i: i * 10, depth)
    assert started == [], "nothing is read before the first is asked for"
    for place, item in enumerate(given_out):
        assert item == place * 10
        most = max(most, len(started) - place - 1)
    assert started == list(range(count))
    assert most == min(depth, max(count - 1, 0))


@pytest.mark.parametrize("depth", [0, 1, 3, 9])
def test_an_error_comes_in_its_place(depth: int) -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise ValueError("the sixth")

    seen = []
    with pytest.raises(ValueError, match="the sixth"):
        seen.extend(item for item in ahead(items(), int, int, depth) if seen.append(item) is None and False)
    assert seen == [0, 1, 2, 3, 4]


class Batches:
    """Batches that count how many were read, and can tell which are alive."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read = 0
        self.references: list[Any] = []

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        for batch in tiny_batches(self.count):
            self.read += 1
            inputs = batch[0].clone()
            self.references.append(weakref.ref(inputs))
            yield inputs, batch[1]
            del inputs


class Leave(Exception):
    pass


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_run_on_meta_reads_ahead_and_counts_what_was_trained_on(depth: int) -> None:
    """Another device than the CPU, as far as one can go without one."""
    data, seen = Batches(8), []

    @hookimpl
    def on_batch_start(state: State) -> None:
        seen.append((state.batch, state.batch_count, data.read, state.inputs.device.type))
        if state.batch == 5:
            raise Leave

    trainer = tiny_trainer(model=nn.Linear(4, 3, device="meta"), plugins=[Prefetch(depth=depth), on_batch_start], val_data=None)
    with pytest.raises(Leave):
        trainer.fit(data, epochs=1)
    assert seen == [(i, i, i + depth, "meta") for i in (1, 2, 3, 4, 5)]


def test_an_error_of_the_data_names_its_batch() -> None:
    class Broken(Batches):
        def __iter__(self) -> Iterator[Any]:
            for i, batch in enumerate(super().__iter__(), 1):
                if i == 4:
                    raise ValueError("torn")
                yield batch

    trainer = tiny_trainer(model=nn.Linear(4, 3, device="meta"), plugins=["prefetch"], val_data=None)
    with pytest.raises(ValueError, match="torn") as caught:
        trainer.fit(Broken(6), epochs=1)
    assert "raised while train_data gave batch 4 (epoch 1, train)" in caught.value.__notes__


def test_on_the_cpu_it_leaves_batches_alone() -> None:
    data, reads = Batches(4), []

    @hookimpl
    def on_batch_start(state: State) -> None:
        reads.append(data.read)

    tiny_trainer(plugins=["prefetch", on_batch_start], val_data=None).fit(data, epochs=1)
    assert reads == [1, 2, 3, 4]
    gc.collect()
    assert [reference() for reference in data.references] == [None] * 4


def test_batches_of_any_nesting_are_sent() -> None:
    packed = nn.utils.rnn.pack_sequence([torch.ones(3), torch.ones(2)])
    batch = {"inputs": [torch.ones(2), (torch.ones(1), "name", None)], "packed": packed, "size": torch.Size([1])}
    moved = sent(batch, torch.device("meta"))
    assert [moved["inputs"][0].device.type, moved["inputs"][1][0].device.type, moved["packed"].data.device.type] == ["meta"] * 3
    assert (moved["inputs"][1][1:], moved["size"]) == (("name", None), torch.Size([1]))
    assert batch["inputs"][0].device.type == "cpu"
    assert pinned({"there already": moved["inputs"][0]})["there already"] is moved["inputs"][0]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, CUDA])])
def test_copies_on_a_side_stream_arrive(device: str) -> None:
    stream = SideStream(torch.device(device), pin=device == "cuda")
    batches = [{"inputs": torch.full((1 << 16,), float(i)), "name": str(i)} for i in range(8)]
    arrived = [(float(batch["inputs"].sum()), batch["name"]) for batch in ahead(batches, stream.start, stream.finish, depth=2)]
    assert arrived == [(float(i << 16), str(i)) for i in range(8)]


@pytest.mark.gpu
@CUDA
def test_memory_is_pinned_once() -> None:
    batch = pinned([torch.ones(3), "name"])
    assert batch[0].is_pinned()
    assert pinned(batch)[0] is batch[0]


@pytest.mark.gpu
@CUDA
@pytest.mark.parametrize("pin", [True, False])
def test_a_run_on_cuda_is_that_without_it(pin: bool) -> None:
    def weights(*plugins: Any) -> torch.Tensor:
        trainer = tiny_trainer(model=nn.Linear(4, 3, device="cuda"), plugins=plugins, train_data=tiny_batches(8), seed=1)
        nn.init.constant_(trainer.model.weight, 0.1)
        nn.init.zeros_(trainer.model.bias)
        trainer.fit(epochs=2)
        return trainer.model.weight

    assert torch.equal(weights(Prefetch(pin_memory=pin)), weights())


def test_conformance_and_mistakes() -> None:
    check_plugin("prefetch")
    with pytest.raises(FitError, match="depth must be 0 or more batches, not -1"):
        Prefetch(depth=-1)


def test_what_was_fetched_ahead_is_fetched_again_by_a_resumed_run() -> None:
    """Through the same look-ahead on the CPU: a plugin of the test, since `prefetch` does nothing there."""

    class Ahead:
        passive = True

        @hookimpl(wrapper=True)
        def iter_batches(self) -> Any:
            return ahead((yield), tuple, tuple, 3)

    data = torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*tiny_batches(5), strict=True)))
    for how in ({}, {"steps_per_epoch": 3}):
        check_resume(lambda: tiny_trainer(train_data=data, plugins=[Ahead()], seed=1), epochs=3, batch_size=8, at=[1, 3, 4, 7], **how)

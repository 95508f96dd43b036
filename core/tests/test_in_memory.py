"""Data in memory: batches are copies, gathered whole, and cost as much whatever their size."""

from __future__ import annotations

import sys
import weakref
from collections import Counter, OrderedDict
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from fit_core import hookimpl
from fit_core.arrays import ArrayBatches
from fit_core.batch import tensors
from fit_core.data import as_batches
from fit_core.position import begin_pass
from fit_core.seeded import StreamedDataset
from fit_core.testing import tiny_trainer

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3
NESTED = (({"a": X, "b": [X.clone(), X[:, 0].clone()]}, X.clone()), Y)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("data", [X, (X, Y), NESTED], ids=["one", "pair", "nested"])
def test_what_is_written_into_a_batch_changes_no_data(data: Any, shuffle: bool) -> None:
    before = [tensor.clone() for tensor in tensors(data)]
    for batch in ArrayBatches(data, 7, shuffle, seed=1):
        for tensor in tensors(batch):
            tensor.fill_(-1)
    assert all(map(torch.equal, tensors(data), before))


def test_a_hook_may_write_into_the_inputs_of_an_evaluation() -> None:
    @hookimpl
    def on_eval_batch_start(state: Any) -> None:
        state.inputs.zero_()

    data = X.clone(), Y
    trainer = tiny_trainer(plugins=[on_eval_batch_start])
    trainer.evaluate(data, batch_size=40)
    trainer.predict(data[0], batch_size=16)
    assert torch.equal(data[0], X)


@pytest.mark.parametrize("shuffle", [True, False])
def test_nothing_of_a_batch_outlives_it(shuffle: bool) -> None:
    batches = iter(ArrayBatches((X, Y), 8, shuffle, seed=1))
    alive: list[weakref.ref[Tensor]] = []
    for batch in batches:
        assert not [one for one in alive if one() is not None]
        alive = [weakref.ref(tensor) for tensor in batch]
        del batch


def test_rows_are_those_of_the_order() -> None:
    order = torch.cat(list(begin_pass(as_batches(torch.arange(40), 7, True, "data", seed=3), 2)))
    found = list(begin_pass(as_batches((X, Y), 7, True, "data", seed=3), 2, 1))
    assert torch.equal(torch.cat([x for x, _ in found]), X[order[7:]])
    assert torch.equal(torch.cat([y for _, y in found]), Y[order[7:]])


@given(samples=st.integers(1, 300), size=st.integers(1, 5), skip=st.integers(0, 300), shuffle=st.booleans())
def test_every_batch_is_cut_from_the_order(samples: int, size: int, skip: int, shuffle: bool) -> None:
    batches = ArrayBatches(torch.arange(samples), size, shuffle, seed=3)
    order = torch.cat(list(batches))
    assert torch.equal(order.sort().values, torch.arange(samples))
    skip = min(skip, len(batches))
    found = list(begin_pass(batches, 1, skip))
    assert [len(batch) for batch in found] == [min(size, samples - start) for start in range(skip * size, samples, size)]
    assert torch.equal(torch.cat([torch.arange(0), *found]), order[skip * size :])


def test_arrays_may_be_on_several_devices() -> None:
    batches = list(ArrayBatches((X.to("meta"), Y), 16, True, seed=1))
    assert [(x.device.type, len(x), y.device.type, len(y)) for x, y in batches] == [("meta", n, "cpu", n) for n in (16, 16, 8)]


class Labelled(NamedTuple):
    targets: Tensor
    inputs: Tensor


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_of_the_type_of_the_arrays(shuffle: bool) -> None:
    whole = next(iter(ArrayBatches((Labelled(Y, X), OrderedDict(x=X)), 40, shuffle, seed=1)))
    assert type(whole) is tuple
    labelled, named = whole
    assert isinstance(labelled, Labelled)
    assert isinstance(named, OrderedDict)
    order = torch.cat(list(ArrayBatches(torch.arange(40), 40, shuffle, seed=1)))
    assert torch.equal(labelled.targets, Y[order])
    assert torch.equal(labelled.inputs, X[order])


@pytest.mark.parametrize(("arrays", "sent"), [((X.to("meta"), Y.to("meta")), {}), ((X.to("meta"), Y), {"_to_copy": 1})])
def test_an_index_is_sent_to_those_arrays_alone_that_are_elsewhere(arrays: Any, sent: dict[str, int]) -> None:
    assert cost(ArrayBatches(arrays, 4, True, seed=1))[0] == {"index_select": 2, **sent}


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_memory_format_is_kept(shuffle: bool) -> None:
    pictures = torch.randn(10, 3, 4, 4).to(memory_format=torch.channels_last)
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in ArrayBatches(pictures, 4, shuffle, seed=1))


class Dispatches(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def cost(batches: Any) -> tuple[dict[str, int], int]:
    """Return what the second batch of a pass dispatches, and how many Python functions it calls."""
    iterator, calls = iter(batches), 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    next(iterator)
    with Dispatches() as counter:
        next(iterator)
    sys.setprofile(count)
    try:
        next(iterator)
    finally:
        sys.setprofile(None)
    return dict(counter.calls), calls


@pytest.mark.parametrize("size", [2, 13])
def test_a_shuffled_batch_costs_one_gather_of_each_array(size: int) -> None:
    dispatched, calls = cost(ArrayBatches((X, Y), size, True, seed=1))
    assert dispatched == {"index_select": 2}  # indices are cut for many batches at once
    assert calls <= 4


@pytest.mark.parametrize("size", [2, 13])
def test_a_batch_in_order_costs_one_copy_of_each_array(size: int) -> None:
    dispatched, calls = cost(ArrayBatches((X, Y), size, False))
    assert dispatched == {"slice": 2, "clone": 2}
    assert calls <= 12


def test_a_loader_of_tensors_costs_no_more_for_more_samples() -> None:
    def loaded(size: int) -> tuple[dict[str, int], int]:
        return cost(as_batches(DataLoader(TensorDataset(X, Y), batch_size=size, shuffle=True), None, True, "data", seed=1))

    assert loaded(2)[0]["index_select"] == 2
    assert loaded(2) == loaded(13)


DTYPES = [torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float64, torch.complex64]


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 3), max_size=3),
    dtype=st.sampled_from(DTYPES),
    part=st.lists(st.integers(-9, 8), min_size=1, max_size=9),
    again=st.lists(st.integers(0, 50), max_size=9),
    flipped=st.booleans(),
)
def test_a_gathered_batch_is_what_collation_makes(
    shape: list[int], dtype: torch.dtype, part: list[int], again: list[int], flipped: bool
) -> None:
    values = torch.arange(9 * torch.Size(shape).numel()).view(9, *shape).to(dtype)
    dataset: Any = TensorDataset(values.transpose(0, -1).contiguous().transpose(0, -1) if flipped else values, torch.arange(9))
    dataset = Subset(Subset(dataset, part), [index % len(part) for index in again] or [0])
    indices = list(range(len(dataset)))
    found = StreamedDataset(dataset, default_collate)[1, indices]
    expected = default_collate([dataset[index] for index in indices])
    assert type(found) is type(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_an_index_that_is_no_sample_is_an_error() -> None:
    with pytest.raises(IndexError):
        StreamedDataset(Subset(TensorDataset(X), [40]), default_collate)[1, [0]]
    with pytest.raises(IndexError):
        StreamedDataset(Subset(TensorDataset(X), [-41]), default_collate)[1, [0]]


@pytest.mark.parametrize("seed", [None, 3])
def test_a_dataset_of_tensors_costs_what_arrays_cost(seed: int | None) -> None:
    def of(data: Any) -> Any:
        return cost(as_batches(data, 8, True, "data", seed=seed))

    assert of(TensorDataset(X, Y)) == of((X, Y))

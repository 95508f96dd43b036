"""Anything sensible as data, and how a batch is split, moved and joined."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from fit_core import FitError
from fit_core.batch import batch_size, describe, join, move, split, to_cpu
from fit_core.data import as_batches
from fit_core.position import length

X, Y = torch.randn(10, 4, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 3
Pair = namedtuple("Pair", "inputs targets")
Other = namedtuple("Other", "targets extra inputs")


SOURCES: dict[str, Any] = {"tensors": (X, Y), "dataset": TensorDataset(X, Y)}


@pytest.mark.parity("T11")
@pytest.mark.parametrize("name", ["tensors", "dataset"])
@pytest.mark.parity("T11")
def test_training_data_is_shuffled_and_complete(name: str) -> None:
    batches = as_batches(SOURCES[name], 4, True, "train_data")
    assert length(batches) == 3
    first, second = (torch.cat([x for x, _ in batches]) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first.sum(1).sort().values, X.sum(1).sort().values)


def test_a_batch_has_at_least_one_sample() -> None:
    with pytest.raises(FitError, match="batch_size must be at least 1 and whole, not 0"):
        as_batches((X, Y), 0, True, "train_data")


@pytest.mark.parity("B23")
def test_batches_are_split() -> None:
    assert split((1, 2)) == (1, 2)
    assert split([1, 2]) == (1, 2)
    assert split(Pair(1, 2)) == (1, 2)
    assert split(Other(targets=2, extra=0, inputs=1)) == (1, 2)
    assert split({"a": 1}) == ({"a": 1}, None)
    assert split(3) == (3, None)
    with pytest.raises(FitError, match=r"not a tuple of 3; write a hook prepare_batch\(batch\)"):
        split((1, 2, 3))


@pytest.mark.parity("B25")
def test_moving_keeps_the_nesting() -> None:
    class Box:
        def __init__(self) -> None:
            self.moved: Any = None

        def to(self, device: torch.device) -> Any:
            self.moved = device
            return self

    box, meta = Box(), torch.device("meta")
    value = {"pair": Pair(X, [Y, None]), "text": "t", "number": 1, "box": box, "other": {1}}
    moved = move(value, meta)
    assert type(moved["pair"]) is Pair
    assert moved["pair"].inputs.device == moved["pair"].targets[0].device == meta
    assert moved["pair"].targets[1] is None
    assert (moved["text"], moved["number"], moved["other"]) == ("t", 1, {1})
    assert moved["box"].moved == meta
    assert value["pair"].inputs.device.type == "cpu", "nothing is changed in place"


def test_batch_size_is_found_in_any_nesting() -> None:
    assert batch_size(None, {"a": [torch.zeros(()), X]}) == 10
    assert batch_size(torch.zeros(())) == 1


def test_joining() -> None:
    assert torch.equal(join([X, X]), torch.cat([X, X]))
    joined = join([Pair(X, [Y]), Pair(X, [Y])])
    assert type(joined) is Pair
    assert joined.targets[0].shape == (20,)
    ragged = [X, X[:, :2]]
    assert join(ragged) is ragged
    assert join(["a", "b"]) == ["a", "b"]


@dataclasses.dataclass(frozen=True)
class Record:
    logits: Any
    loss: Any = None


def test_dataclasses_are_nested_like_dicts() -> None:
    record = Record(torch.ones(2, 3, requires_grad=True) * 2)
    assert move(record, torch.device("meta")).logits.device.type == "meta"
    assert not to_cpu(record).logits.requires_grad
    assert batch_size(record) == 2
    joined = join([to_cpu(record), to_cpu(record)])
    assert (type(joined), joined.logits.shape, joined.loss) == (Record, (4, 3), None)
    assert describe(record) == "Record {'logits': float32 (2, 3), 'loss': NoneType}"
    assert join([None, None]) is None

"""Anything sensible as data, and how a batch is split, moved and joined."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fit_core import FitError
from fit_core.batch import batch_size, join, move, split
from fit_core.data import as_batches, length
from fit_core.testing import tiny_trainer

X, Y = torch.randn(10, 4, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 3
Pair = namedtuple("Pair", "inputs targets")
Other = namedtuple("Other", "targets extra inputs")


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from zip(X, Y, strict=True)


SOURCES: dict[str, Any] = {
    "tensors": (X, Y),
    "arrays": (X.numpy(), Y.numpy()),
    "mixed": (X, Y.numpy()),
    "dataset": TensorDataset(X, Y),
    "stream": Stream(),
    "loader": DataLoader(TensorDataset(X, Y), batch_size=4),
    "list of batches": [(X[:4], Y[:4]), (X[4:8], Y[4:8]), (X[8:], Y[8:])],
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_same_data_gives_the_same_numbers_from_any_source(name: str) -> None:
    own = name in ("loader", "list of batches")
    trainer = tiny_trainer(optimizer=None, metrics=["accuracy"])
    found = trainer.evaluate(SOURCES[name], batch_size=None if own else 4)
    assert found == pytest.approx(trainer.evaluate(SOURCES["tensors"], batch_size=10), rel=1e-6)


@pytest.mark.parametrize("name", ["tensors", "dataset"])
def test_training_data_is_shuffled_and_complete(name: str) -> None:
    batches = as_batches(SOURCES[name], 4, True, "train_data")
    assert length(batches) == 3
    first, second = (torch.cat([x for x, _ in batches]) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first.sum(1).sort().values, X.sum(1).sort().values)


@pytest.mark.parametrize(
    ("data", "size", "message"),
    [
        ((X, Y[:3]), None, "the arrays of train_data differ in length: 10, 3"),
        ((X[:0], Y[:0]), None, "train_data is empty"),
        (TensorDataset(X[:0]), None, "train_data is empty"),
        ([], None, "train_data is empty"),
        (3, None, "train_data must be a DataLoader, .* not int"),
        ("digits", None, "not str"),
        ((X, Y), 0, "batch_size must be at least 1, not 0"),
    ],
)
def test_data_that_is_none(data: Any, size: int | None, message: str) -> None:
    with pytest.raises(FitError, match=message):
        as_batches(data, size, True, "train_data")


def test_float64_stays_what_it_is_and_numpy_is_shared() -> None:
    array = np.ones((3, 2))
    (batch,) = as_batches(array, 3, False, "data")
    assert batch.dtype == torch.float64


def test_batches_are_split() -> None:
    assert split((1, 2)) == (1, 2)
    assert split([1, 2]) == (1, 2)
    assert split(Pair(1, 2)) == (1, 2)
    assert split(Other(targets=2, extra=0, inputs=1)) == (1, 2)
    assert split({"a": 1}) == ({"a": 1}, None)
    assert split(3) == (3, None)
    with pytest.raises(FitError, match=r"not a tuple of 3; write a hook prepare_batch\(batch\)"):
        split((1, 2, 3))


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

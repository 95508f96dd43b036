"""Anything sensible as data: one adapter that gives batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from fit_core.errors import FitError
from fit_core.state import Progress


class ArrayBatches:
    """Batches of arrays that fit into memory, gathered whole: no worker, no collation.

    Args:
        arrays: tensors of the same length.
        batch_size: samples per batch; the last one may be smaller.
        shuffle: a new order at each pass, drawn from torch's random state.
    """

    def __init__(self, arrays: tuple[Tensor, ...], batch_size: int, shuffle: bool) -> None:
        self.arrays = arrays
        self.batch_size = batch_size
        self.shuffle = shuffle

    def __len__(self) -> int:
        return -(-len(self.arrays[0]) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...] | Tensor]:
        samples = len(self.arrays[0])
        order = torch.randperm(samples) if self.shuffle else None
        for start in range(0, samples, self.batch_size):
            part = slice(start, start + self.batch_size)
            yield self._gather(part if order is None else order[part])  # no local name: it would keep the batch alive

    def _gather(self, index: slice | Tensor) -> tuple[Tensor, ...] | Tensor:
        batch = tuple(array[index] for array in self.arrays)
        return batch if len(batch) > 1 else batch[0]


def as_batches(data: Any, batch_size: int | None, shuffle: bool, name: str) -> Iterable[Any]:
    """Return an iterable of batches.

    Args:
        data: a `DataLoader` or another iterable of batches (used untouched), a `Dataset`, a tensor or array, or a tuple of
            them.
        batch_size: for a dataset or arrays; 32 if None.
        shuffle: whether a dataset or arrays are shuffled at each pass.
        name: what an error calls it.

    Raises:
        FitError: it is none of these, is empty, or its arrays differ in length.
    """
    if is_array(data) or (isinstance(data, tuple) and data and all(is_array(array) for array in data)):
        arrays = tuple(torch.as_tensor(array) for array in (data if isinstance(data, tuple) else (data,)))
        _check_lengths(arrays, name)
        return ArrayBatches(arrays, _positive(batch_size), shuffle)
    if isinstance(data, Dataset) and not isinstance(data, DataLoader):
        shuffle = shuffle and not isinstance(data, IterableDataset)
        _check_not_empty(data, name)
        return DataLoader(data, batch_size=_positive(batch_size), shuffle=shuffle)
    if not isinstance(data, Iterable) or isinstance(data, (str, bytes, dict)):
        raise FitError(
            f"{name} must be a DataLoader, an iterable of batches, a Dataset or a tuple of tensors or arrays, not {type(data).__name__}"
        )
    _check_not_empty(data, name)
    return data


def is_array(value: Any) -> bool:
    """Tell a tensor or numpy array with a first dimension."""
    return (isinstance(value, Tensor) or hasattr(value, "__array_interface__")) and value.ndim > 0


def length(batches: Iterable[Any]) -> int | None:
    """Return how many batches a pass has, or None if they don't say."""
    if not isinstance(batches, Sized):
        return None
    try:
        return len(batches)
    except TypeError:  # a DataLoader over an IterableDataset has a __len__ that says it has none
        return None


def check_count(progress: Progress, name: str, may_be_short: bool) -> None:
    """Refuse a pass that saw fewer batches than it should have.

    Args:
        progress: of the pass.
        name: what an error calls the data.
        may_be_short: a plugin acts in `iter_batches`, and may end the pass early.

    Raises:
        FitError: it saw none, or fewer than `len` of the data said.
    """
    if progress.batch == 0:
        when = f" in epoch {progress.epoch}" if progress.epoch else ""
        raise FitError(f"{name} gave no batch{when}; a generator can be read only once: pass a DataLoader or a list of batches")
    if progress.batches is not None and progress.batch < progress.batches and not may_be_short:
        raise FitError(
            f"{name} gave {progress.batch} batches, but its length is {progress.batches}; "
            "mend its __len__, or look for a StopIteration raised in its dataset"
        )


def describe_data(data: Any) -> dict[str, Any] | None:
    """Return the type and, if it says, the length of data: samples of arrays and datasets, batches of loaders."""
    if data is None:
        return None
    size = length(data[0]) if isinstance(data, tuple) and data and is_array(data[0]) else length(data)
    return {"type": type(data).__name__, "length": size}


def _check_lengths(arrays: tuple[Tensor, ...], name: str) -> None:
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) > 1:
        raise FitError(f"the arrays of {name} differ in length: {', '.join(map(str, lengths))}")
    _check_not_empty(arrays[0], name)


def _check_not_empty(data: Any, name: str) -> None:
    if length(data) == 0:
        raise FitError(f"{name} is empty")


def _positive(batch_size: int | None) -> int:
    size = 32 if batch_size is None else batch_size
    if size < 1:
        raise FitError(f"batch_size must be at least 1, not {size}")
    return size

"""Arrays that fit into memory, in any nesting, as batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fit_core.batch import map_structure, tensors
from fit_core.errors import FitError
from fit_core.position import Passes
from fit_core.seeded import order_generator

CUT_AT_ONCE = 64
"""Batches whose indices are cut out of the order together."""


class ArrayBatches(Passes):
    """Batches of arrays, gathered whole: no worker, no collation.

    Args:
        arrays: tensors of the same length, nested in tuples, lists and dicts.
        batch_size: samples per batch; the last one may be smaller.
        shuffle: a new order at each pass.
        seed: the order is a function of it and the pass; None: it is drawn from torch's random state.
    """

    def __init__(self, arrays: Any, batch_size: int, shuffle: bool, seed: int | None = None) -> None:
        self.arrays = arrays
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.number = 1
        self.skip = 0
        self.samples = len(next(tensors(arrays)))

    def begin_pass(self, number: int, skip: int = 0) -> None:
        """Set which pass over the data comes next, and how many of its batches are left out."""
        self.number, self.skip = number, skip

    def unsure(self) -> str | None:
        """Say that an order without a seed cannot be had again."""
        return "they have no seed: pass Trainer(seed=...)" if self.shuffle and self.seed is None else None

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        devices = {tensor.device for tensor in tensors(self.arrays)}
        home = devices.pop() if len(devices) == 1 else torch.device("cpu")  # from where an index is sent without waiting
        take = taker(self.arrays, home if self.shuffle else None)
        for index in self._shuffled(home) if self.shuffle else self._in_order():
            yield take(index)  # no local name: it would keep the batch alive

    def _in_order(self) -> Iterator[slice]:
        for start in range(self.skip * self.batch_size, self.samples, self.batch_size):
            yield slice(start, start + self.batch_size)

    def _shuffled(self, home: torch.device) -> Iterator[Tensor]:
        order = torch.randperm(self.samples, generator=order_generator(self.seed, self.number)).to(home)
        several = self.batch_size * CUT_AT_ONCE
        for start in range(self.skip * self.batch_size, self.samples, several):
            yield from order[start : start + several].split(self.batch_size)  # in one call: a cut in Python takes far longer


def taker(arrays: Any, home: torch.device | None) -> Callable[[Any], Any]:
    """Return what takes samples of every array, always as copies: what is written into a batch changes no data.

    Args:
        arrays: tensors, nested in tuples, lists and dicts.
        home: where the indices are that it is given; None: it is given slices.
    """
    if not isinstance(arrays, Tensor):
        takers = map_structure(lambda part: taker(part, home), arrays)
        if type(takers) is tuple:  # nearly always
            return lambda index: tuple([take(index) for take in takers])
        return lambda index: map_structure(lambda take: take(index), takers)
    if home is None:
        return lambda part: arrays[part].clone()
    # the first copies whole rows: three times as fast as an index, which keeps the memory format, such as channels_last
    take = partial(arrays.index_select, 0) if arrays.is_contiguous() else arrays.__getitem__
    return take if arrays.device == home else lambda index: take(index.to(arrays.device, non_blocking=True))


def is_array(value: Any) -> bool:
    """Tell what numpy could read as an array: a tensor, an array, a column or table of pandas."""
    return isinstance(value, Tensor) or hasattr(value, "__array__")


def are_arrays(value: Any) -> bool:
    """Tell an array, or arrays nested in tuples and dicts."""
    if isinstance(value, (tuple, dict)) and value:
        return all(are_arrays(part) for part in (value.values() if isinstance(value, dict) else value))
    return is_array(value)


def mixes_arrays(value: Any) -> bool:
    """Tell a tuple of arrays and something else, such as a list of labels."""
    return isinstance(value, tuple) and any(is_array(part) for part in value) and not are_arrays(value)


def first_array(value: Any) -> Any:
    """Return the first of nested arrays."""
    while isinstance(value, (tuple, dict)):
        value = next(iter(value.values() if isinstance(value, dict) else value))
    return value


def as_tensors(value: Any, name: str, floating: torch.dtype) -> Any:
    """Turn nested arrays into tensors of one length.

    Tensors stay as they are. Of other arrays, float64 takes the floating type of the model, and integers become int64, which
    torch's criteria want for classes.

    Args:
        value: arrays, nested in tuples and dicts.
        name: what an error calls them.
        floating: the floating type of the model.

    Raises:
        FitError: an array holds no numbers or has no first dimension, or lengths differ.
    """
    result = _convert(value, name, lambda array, where: _tensor(array, where, floating))
    lengths = [len(tensor) for tensor in tensors(result)]
    if len(set(lengths)) > 1:
        raise FitError(f"the arrays of {name} differ in length: {', '.join(map(str, lengths))}")
    if lengths[0] == 0:
        raise FitError(f"{name} is empty")
    return result


def _convert(value: Any, where: str, leaf: Callable[[Any, str], Tensor]) -> Any:
    if isinstance(value, dict):
        return {key: _convert(part, f"{where}[{key!r}]", leaf) for key, part in value.items()}
    if isinstance(value, tuple):
        parts = tuple(_convert(part, f"{where}[{i}]", leaf) for i, part in enumerate(value))
        if hasattr(value, "_fields"):
            return type(value)(*parts)
        return parts[0] if len(parts) == 1 else parts
    return leaf(value, where)


def _tensor(value: Any, where: str, floating: torch.dtype) -> Tensor:
    if not isinstance(value, Tensor):
        import numpy

        array = numpy.asarray(value)
        if array.dtype.kind not in "biuf":
            raise FitError(f"{where} has dtype {array.dtype}; numbers or booleans are needed: convert or leave out what is neither")
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        wanted = {"f": floating if array.dtype == numpy.float64 else None, "i": torch.int64}.get(array.dtype.kind)
        value = torch.as_tensor(numpy.require(array, requirements=["C", "W"]), dtype=wanted)
    if not value.dim():
        raise FitError(f"{where} is a single number; its first dimension must be the samples")
    tensor: Tensor = value
    return tensor

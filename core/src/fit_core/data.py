"""Anything sensible as data: one adapter that gives batches."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fit_core.arrays import ArrayBatches, are_arrays, as_tensors, first_array, is_array, mixes_arrays
from fit_core.errors import FitError, whole
from fit_core.position import Passes, begin_pass, length, load_state, state_of, unsure
from fit_core.seeded import SeededLoader, can_be_seeded, holds_only_tensors, order_generator
from fit_core.state import Progress

ENDLESS = (itertools.cycle, itertools.count, itertools.repeat)
SOURCES = "a DataLoader, an iterable of batches, a Dataset, a list of samples, or arrays"


def as_batches(
    data: Any, batch_size: int | None, shuffle: bool, name: str, floating: torch.dtype = torch.float32, seed: int | None = None
) -> Iterable[Any]:
    """Return an iterable of batches.

    Args:
        data: a `DataLoader` or another iterable of batches (used untouched without a seed); a `Dataset`, or another object with a length
            and indices; a list of samples; a tensor, array or table, alone or nested in tuples and dicts.
        batch_size: for samples and arrays; 32 if None.
        shuffle: whether samples and arrays are shuffled at each pass.
        name: what an error calls it.
        floating: the floating type of the model, which arrays of float64 take.
        seed: the order of samples, arrays and `DataLoader`s, and what is drawn while a batch is loaded, are functions of it.

    Raises:
        FitError: it is none of these, is empty, or its arrays differ in length.
    """
    if isinstance(data, TensorDataset) and holds_only_tensors(data):
        data = data.tensors
    if are_arrays(data):
        return ArrayBatches(as_tensors(data, name, floating), _positive(batch_size), shuffle, seed)
    if mixes_arrays(data):
        kinds = " and ".join(sorted({type(part).__name__ for part in data}))
        raise FitError(f"{name} is a tuple of {kinds}; make all of its parts arrays, or leave out what is none")
    if isinstance(data, ENDLESS):
        raise FitError(f"{name} is endless ({type(data).__name__}): pass what it repeats, and steps_per_epoch=... or steps=...")
    if isinstance(data, (str, bytes, dict)):
        raise FitError(f"{name} must be {SOURCES}, not {type(data).__name__}")
    if isinstance(data, IterableDataset):
        generator = order_generator(seed, 0)  # so that a loader draws nothing from the random state of the model
        return DataLoader(data, batch_size=_positive(batch_size), generator=generator)
    if _gives_samples(data):
        _check_not_empty(data, name)
        return _seeded(DataLoader(data, batch_size=_positive(batch_size), shuffle=shuffle), seed)
    if not isinstance(data, Iterable):
        hint = f"; call it: {name}={data.__name__}()" if inspect.isfunction(data) else ""
        raise FitError(f"{name} must be {SOURCES}, not {type(data).__name__}{hint}")
    _check_not_empty(data, name)
    return _seeded(data, seed)


def _seeded(data: Iterable[Any], seed: int | None) -> Iterable[Any]:
    return SeededLoader(data, seed) if seed is not None and isinstance(data, DataLoader) and can_be_seeded(data) else data


def makes_batches(data: Any) -> bool:
    """Tell what comes in batches already, so that `batch_size` does nothing."""
    return not (are_arrays(data) or isinstance(data, IterableDataset) or _gives_samples(data))


def _gives_samples(data: Any) -> bool:
    """Tell what holds single samples, not batches: a map-style dataset, or a list whose items are pairs of which one is a number."""
    if isinstance(data, DataLoader):
        return False
    if isinstance(data, Dataset):
        return True
    if isinstance(data, list) and data and isinstance(data[0], (tuple, list)) and len(data[0]) == 2:
        return _is_number(data[0][1])
    return hasattr(data, "__getitem__") and isinstance(data, Sized) and not isinstance(data, Iterable)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (is_array(value) and value.ndim == 0)


class VirtualEpochs(Passes):
    """Data cut into epochs of a given number of batches: each goes on where the last one stopped.

    When the data is exhausted it is read again from its beginning.

    Args:
        data: the batches.
        size: batches per epoch.
        name: what an error calls the data.
        passes: how many passes came before: an order under a seed goes on from there.
    """

    def __init__(self, data: Iterable[Any], size: int, name: str, passes: int = 0) -> None:
        self.data = data
        self.size = size
        self.name = name
        self._iterator: Iterator[Any] = iter(())
        self._pass = passes
        self._read: int | None = None
        self._skip = self._first = 0
        self._marks: list[tuple[int, int | None]] = [(passes, None)]

    def begin_pass(self, number: int, skip: int = 0) -> None:
        """Set how many batches of an epoch are left out; which pass over the data that is, it knows itself."""
        del number
        self._skip = skip

    def state_dict(self, consumed: int) -> dict[str, Any]:
        """Return which pass over the data is going on, and how many of its batches were used.

        Args:
            consumed: batches of the epoch that were used; 0 is where the one before has ended.
        """
        number, read = self._marks[min(consumed - self._first, len(self._marks) - 1) if consumed else -1]
        return {"pass": number, "read": read, "data": state_of(self.data, read or 0)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._pass, self._read = state["pass"], state["read"]
        self._marks = [(self._pass, self._read)]
        if self._read is not None:
            load_state(self.data, state["data"])
            self._iterator = iter(begin_pass(self.data, self._pass, self._read))

    def unsure(self) -> str | None:
        """Say why the data may go on with other batches."""
        return unsure(self.data)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Any]:
        self._first, self._marks = self._skip, [(self._pass, self._read)]
        for _ in range(self._skip, self.size):
            item = self._next()
            self._marks.append((self._pass, self._read))
            yield item
            item = None  # nothing of a batch outlives it

    def _next(self) -> Any:
        for item in self._iterator:
            self._read = (self._read or 0) + 1
            return item
        self._check_complete()
        self._pass += 1
        self._iterator, read, self._read = iter(begin_pass(self.data, self._pass)), self._read, 0
        for item in self._iterator:
            self._read = 1
            return item
        raise FitError(
            f"{self.name} gave {read or 'no'} batches and cannot be read again; pass a DataLoader or a list of batches, or fewer steps"
        )

    def _check_complete(self) -> None:
        said = length(self.data)
        if self._read is not None and said is not None and self._read < said:
            raise FitError(
                f"{self.name} gave {self._read} batches, but its length is {said}; "
                "mend its __len__, or look for a StopIteration raised in its dataset"
            )


class Limited(Passes):
    """The first batches of data; every attribute of theirs can be reached through this.

    Args:
        data: the batches.
        size: how many of them at most.
    """

    def __init__(self, data: Iterable[Any], size: int) -> None:
        self.data = data
        self.size = size
        self._source, self._left = data, size

    def begin_pass(self, number: int, skip: int = 0) -> None:
        """Set which pass over the data comes next, and how many of its batches are left out."""
        self._source, self._left = begin_pass(self.data, number, skip), max(self.size - skip, 0)

    def state_dict(self, consumed: int) -> Any:
        """Return the state of the data."""
        return state_of(self.data, consumed)

    def load_state_dict(self, state: Any) -> None:
        """Take up what `state_dict` returned."""
        load_state(self.data, state)

    def unsure(self) -> str | None:
        """Say why the data may go on with other batches."""
        return unsure(self.data)

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self._source, self._left)

    def __len__(self) -> int:
        return min(len(self.data), self.size)  # type: ignore[arg-type]  # a TypeError says that there is no length

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)


class NoData(Passes):
    """Empty batches without end, for a model that needs no inputs: a plain optimisation problem."""

    def begin_pass(self, number: int, skip: int = 0) -> None:
        """Do nothing: every batch is like the others."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class Counted:
    """Counts what is read from data, for passes that a plugin may end early.

    Args:
        data: the batches; every attribute of theirs can be reached through this.
        skipped: how many were left out, since they were seen before.
    """

    def __init__(self, data: Iterable[Any], skipped: int) -> None:
        self.data = data
        self.skipped = skipped
        self.read = 0
        self.exhausted = False

    def __iter__(self) -> Iterator[Any]:
        self.read = 0
        for item in self.data:
            self.read += 1
            yield item
            item = None  # nothing of a batch outlives it
        self.exhausted = True

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)


def counted(data: Iterable[Any], altered: bool, skipped: int = 0) -> Iterable[Any]:
    """Return data that is counted at the source if a plugin acts between it and the loop; else the data itself."""
    return Counted(data, skipped) if altered else data


def check_count(progress: Progress, name: str, source: Iterable[Any], before: int = 0) -> None:
    """Refuse a pass that saw fewer batches than there should be.

    Args:
        progress: of the pass.
        name: what an error calls the data.
        source: the data; if a plugin acted in `iter_batches`, a `Counted`: it may have ended the pass early.
        before: how many batches the pass before this one had.

    Raises:
        FitError: the pass saw no batch, or the data ran out before its length.
    """
    if progress.batch == 0 and not progress.batches:
        when = f" in epoch {progress.epoch}" if progress.epoch else ""
        earlier = f", after {before} in the pass before" if before else ""
        raise FitError(f"{name} gave no batch{when}{earlier}; a generator can be read only once: pass a DataLoader or a list of batches")
    if isinstance(source, Counted):
        read, ran_out = source.skipped + source.read, source.exhausted
    else:
        read, ran_out = progress.batch, True
    if ran_out and progress.batches is not None and read < progress.batches:
        raise FitError(
            f"{name} gave {read} batches, but its length is {progress.batches}; "
            "mend its __len__, or look for a StopIteration raised in its dataset"
        )


def fetched(batches: Iterator[Any], name: str, progress: Progress, interrupted: Callable[[], bool]) -> Iterator[Any]:
    """Yield batches; what is raised while one is loaded says where.

    Args:
        batches: to be read.
        name: what the error calls the data.
        progress: of the pass.
        interrupted: whether the run was interrupted: workers that died of the same signal are no error then, but the end.
    """
    while True:
        try:
            yield next(batches)  # which keeps no batch: nothing of one outlives it
        except StopIteration:
            return
        except Exception as error:
            if isinstance(error, RuntimeError) and interrupted():  # what torch raises for a lost worker
                return
            epoch = f"epoch {progress.epoch}, " if progress.epoch else ""
            error.add_note(f"raised while {name} gave batch {progress.batch + 1} ({epoch}{progress.phase})")
            raise


def describe_data(data: Any) -> dict[str, Any] | None:
    """Return the type and, if it says, the length of data: samples of arrays and datasets, batches of loaders."""
    if data is None:
        return None
    return {"type": type(data).__name__, "length": length(first_array(data) if are_arrays(data) else data)}


def _check_not_empty(data: Any, name: str) -> None:
    if length(data) == 0:
        raise FitError(f"{name} is empty")


def _positive(batch_size: int | None) -> int:
    return 32 if batch_size is None else whole("batch_size", batch_size)

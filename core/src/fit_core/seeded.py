"""Data whose order and random numbers are functions of a seed, however it is loaded.

The order of a pass is a function of (seed, pass); what is drawn while a batch is fetched and collated, of (seed, pass,
batch). So any number of worker processes gives the same batches.
"""

from __future__ import annotations

import copy
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    get_worker_info,
)

from fit_core.position import Passes
from fit_core.streams import derived_seed

SAMPLERS = (SequentialSampler, RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
"""Samplers whose order can be made a function of a seed: all they draw comes from their `generator`."""


def order_generator(seed: int | None, number: int) -> torch.Generator | None:
    """Return the generator of a pass's order; None, which is torch's own, without a seed."""
    return None if seed is None else torch.Generator().manual_seed(derived_seed(seed, "order", number))


class SeededLoader(Passes):
    """A `DataLoader` built anew around an order that is a function of seed and pass.

    Dataset, batch size, workers, collation and everything else are those of the given one, whose attributes can be reached
    through this.

    Args:
        loader: as the user made it; it is not changed.
        seed: of the order and of every batch's random numbers.
    """

    def __init__(self, loader: DataLoader[Any], seed: int) -> None:
        self.loader = loader
        self.seed = seed
        self.keys = BatchKeys(loader, seed)
        self._built: DataLoader[Any] = DataLoader(
            StreamedDataset(loader.dataset, loader.collate_fn),  # type: ignore[arg-type]  # a map-style dataset with other keys
            batch_size=None,
            sampler=self.keys,
            collate_fn=_as_it_is,
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=WorkerInit(loader.worker_init_fn),
            multiprocessing_context=loader.multiprocessing_context,
            generator=torch.Generator(),
            in_order=loader.in_order,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
        )

    def begin_pass(self, number: int, skip: int = 0) -> None:
        """Set which pass over the data comes next, and how many of its batches are left out."""
        self.keys.number, self.keys.skip = number, skip

    def __iter__(self) -> Iterator[Any]:
        self._built.generator.manual_seed(derived_seed(self.seed, "workers", self.keys.number))
        with interrupts_blocked():
            return iter(self._built)

    def __len__(self) -> int:
        return len(self.keys)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def can_be_seeded(loader: DataLoader[Any]) -> bool:
    """Tell a loader whose order can be a function of a seed: a map-style dataset under one of torch's own samplers."""
    if type(loader) is not DataLoader or isinstance(loader.dataset, IterableDataset):
        return False
    return type(loader.batch_sampler) in (BatchSampler, type(None)) and type(_sampler_of(loader)) in SAMPLERS


class BatchKeys(Sampler[Any]):
    """What a pass fetches: for each batch the seed of its random numbers, and its indices (one index without batching).

    Attributes:
        number: the pass that comes next; 1 is the first.
        skip: how many of its batches are left out.
    """

    def __init__(self, loader: DataLoader[Any], seed: int) -> None:
        self.seed = seed
        self.number = 1
        self.skip = 0
        self.sampler: Any = _sampler_of(loader)
        self.batch_size: int | None = getattr(loader.batch_sampler, "batch_size", None)
        self.drop_last: bool = getattr(loader.batch_sampler, "drop_last", False)

    def __len__(self) -> int:
        if self.batch_size is None:
            return len(self.sampler)
        return len(self.sampler) // self.batch_size if self.drop_last else -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        sampler = copy.copy(self.sampler)  # of each pass: weights may change in between
        if not isinstance(sampler, SequentialSampler):
            sampler.generator = order_generator(self.seed, self.number)
        indices = list(sampler)
        for batch in range(self.skip, len(self)):
            at = batch if self.batch_size is None else batch * self.batch_size
            key = derived_seed(self.seed, "batch", self.number, batch)
            yield key, indices[at] if self.batch_size is None else indices[at : at + self.batch_size]


class StreamedDataset:
    """A dataset that is asked for whole batches, each fetched and collated under random numbers of its own.

    Args:
        dataset: a map-style one; its attributes can be reached through this.
        collate_fn: of the loader.
    """

    def __init__(self, dataset: Any, collate_fn: Callable[[Any], Any]) -> None:
        self.dataset = dataset
        self.collate_fn = collate_fn
        self.only_tensors = collate_fn is default_collate and holds_only_tensors(dataset)

    def __getitem__(self, key: tuple[int, Any]) -> Any:
        seed, indices = key
        if self.only_tensors:
            return rows_of(self.dataset, indices)
        with batch_stream(seed):
            if not isinstance(indices, list):
                samples = self.dataset[indices]
            elif getattr(self.dataset, "__getitems__", None):
                samples = self.dataset.__getitems__(indices)
            else:
                samples = [self.dataset[index] for index in indices]
            return self.collate_fn(samples)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # a copy on its way to a worker has no dataset yet
            raise AttributeError(name)
        return getattr(self.dataset, name)


class WorkerInit:
    """Lets a worker process see the user's dataset where it looks for it, in `get_worker_info().dataset`.

    Args:
        user: the loader's own `worker_init_fn`, or None.
    """

    def __init__(self, user: Callable[[int], None] | None) -> None:
        self.user = user

    def __call__(self, worker: int) -> None:
        """Be the `worker_init_fn` of worker number `worker`."""
        info: Any = get_worker_info()
        object.__setattr__(info, "dataset", info.dataset.dataset)  # it refuses to be assigned to
        if self.user is not None:
            self.user(worker)


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Keep Ctrl-C from processes that are started meanwhile; one that comes meanwhile is heard afterwards.

    A terminal sends it to every process; workers that die of it would take the batch with them that is waited for.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def batch_stream(seed: int) -> Iterator[None]:
    """Seed Python, numpy (if it is imported) and torch on the CPU; put their states back afterwards.

    In a worker process nothing else draws from them, so that nothing has to be put back.
    """
    numpy: Any = sys.modules.get("numpy.random")
    if get_worker_info() is not None:
        _seed(seed, numpy)
        yield
        return
    python, cpu = random.getstate(), torch.get_rng_state()
    numpy_state = numpy.get_state() if numpy else None
    _seed(seed, numpy)
    try:
        yield
    finally:
        random.setstate(python)
        torch.set_rng_state(cpu)
        if numpy:
            numpy.set_state(numpy_state)


def _seed(seed: int, numpy: Any) -> None:
    random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if numpy:
        numpy.seed(seed % 2**32)


def rows_of(dataset: Any, indices: list[int]) -> list[Tensor]:
    """Return what `default_collate` makes of samples of a `TensorDataset`, or of a part of one, without asking for each sample."""
    while type(dataset) is Subset:
        dataset, indices = dataset.dataset, [dataset.indices[index] for index in indices]
    index = torch.tensor(indices)
    index += len(dataset) * (index < 0)  # which an index counts from the end, and index_select does not know
    return [tensor.index_select(0, index.to(tensor.device)) for tensor in dataset.tensors]


def holds_only_tensors(dataset: Any) -> bool:
    """Tell a dataset of tensors, or a part of one: it draws no random numbers, and can be asked for many samples at once."""
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return type(dataset) is TensorDataset and all(type(tensor) is Tensor and tensor.layout == torch.strided for tensor in dataset.tensors)


def _sampler_of(loader: DataLoader[Any]) -> Any:
    return loader.sampler if loader.batch_sampler is None else getattr(loader.batch_sampler, "sampler", None)


def _as_it_is(batch: Any) -> Any:
    return batch

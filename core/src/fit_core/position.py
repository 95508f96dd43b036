"""Where a pass over data goes on: batches that were seen are left out, without being loaded where that can be.

The position in data whose order is a function of a seed is a number. Other data is asked for a state of its own; where it has
none, batches are read and thrown away, and fit says what it cannot promise.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler


class Passes(ABC):
    """Data that can begin a pass anywhere."""

    @abstractmethod
    def begin_pass(self, number: int, skip: int = 0) -> None:
        """Set which pass over the data comes next, and how many of its batches are left out."""

    def state_dict(self, consumed: int) -> Any:
        """Return what the number of a pass and of its batches does not say; None for nothing.

        Args:
            consumed: how many batches of the pass were used; more may have been fetched ahead.
        """
        del consumed
        return None

    def load_state_dict(self, state: Any) -> None:  # noqa: B027  # for those whose state is None there is nothing to do
        """Take up what `state_dict` returned."""

    def unsure(self) -> str | None:
        """Say why the batches that are left of a pass may be others when it is begun again; None if they are the same."""
        return None


class Rest:
    """What is left of data that can only be read: as many batches as were seen are read and thrown away.

    Args:
        data: the batches; every attribute of theirs can be reached through this.
        skip: how many were seen.
    """

    def __init__(self, data: Iterable[Any], skip: int) -> None:
        self.data = data
        self.skip = skip

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self.data)
        for _ in itertools.islice(iterator, self.skip):  # at once: random states are set when this is done
            pass
        return iterator

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)


class AtItsEnd:
    """Data that keeps its own position, and has given the last batch of a pass: no batch comes.

    Args:
        data: the batches; every attribute of theirs can be reached through this.
    """

    def __init__(self, data: Iterable[Any]) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        end_pass(self.data, state_of(self.data))
        return iter(())

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)


def begin_pass(data: Iterable[Any], number: int, skip: int = 0) -> Iterable[Any]:
    """Return the data of a pass.

    Args:
        data: the batches.
        number: of the pass; 1 is the first.
        skip: how many of its batches were seen already.
    """
    if isinstance(data, Passes):
        data.begin_pass(number, skip)
        return data
    if not skip:
        return data
    if owner_of_state(data) is None:
        return Rest(data, skip)
    return AtItsEnd(data) if length(data) == skip else data


def length(batches: Iterable[Any]) -> int | None:
    """Return how many batches a pass has, or None if they don't say."""
    if not isinstance(batches, Sized):
        return None
    try:
        return len(batches)
    except TypeError:  # a DataLoader over an IterableDataset has a __len__ that says it has none
        return None


def state_of(data: Iterable[Any], consumed: int = 0) -> Any:
    """Return the state that data has of its own; None if it has none.

    Args:
        data: the batches.
        consumed: how many of the pass were used.
    """
    if isinstance(data, Passes):
        return data.state_dict(consumed)
    owner = owner_of_state(data)
    return None if owner is None else owner.state_dict()


def keeps_its_place(data: Iterable[Any]) -> bool:
    """Tell data whose position is a state of its own, and no number."""
    while isinstance(data, Passes) and "data" in vars(data):
        data = vars(data)["data"]
    return not isinstance(data, Passes) and owner_of_state(data) is not None


def load_state(data: Iterable[Any], state: Any, complete: bool = False) -> None:
    """Let data go on from a state that `state_of` returned.

    Args:
        data: the batches.
        state: of them.
        complete: the pass was over that it is of, so that the next one begins.
    """
    owner = owner_of_state(data)
    if owner is None or state is None:
        return
    owner.load_state_dict(state)
    if complete and not isinstance(data, Passes):
        end_pass(data, state)


def end_pass(data: Iterable[Any], state: Any) -> None:
    """Let data that keeps its own position find that a pass is over.

    What its state says then may be the end of this pass or the beginning of the next one.
    """
    for _ in data:
        load_state(data, state)  # it was the next one, which has not begun
        return


def unsure(data: Iterable[Any]) -> str | None:
    """Say why a run that is resumed in the midst of a pass may see other batches; None if it sees the same."""
    if isinstance(data, Passes):
        return data.unsure()
    if owner_of_state(data) is not None:
        fetched_ahead = isinstance(data, DataLoader) and owner_of_state(data) is not data and data.num_workers > 0
        return "its workers fetch ahead of what its state says" if fetched_ahead else None
    if isinstance(data, DataLoader) and not isinstance(data.dataset, IterableDataset):
        in_order = type(data.batch_sampler) is BatchSampler and type(data.sampler) is SequentialSampler
        return None if in_order and not data.num_workers else "its order is no function of a seed, and its sampler has no state_dict"
    return None if isinstance(data, Sequence) else "it has no state_dict: what was seen is read again"


def owner_of_state(data: Any) -> Any:
    """Return what keeps the position of data: itself, or a loader's sampler or dataset; None if nothing does."""
    parts = [data]
    if isinstance(data, DataLoader):
        parts += [data.batch_sampler, data.sampler, *([data.dataset] if isinstance(data.dataset, IterableDataset) else [])]
    return next((part for part in parts if hasattr(part, "state_dict") and hasattr(part, "load_state_dict")), None)

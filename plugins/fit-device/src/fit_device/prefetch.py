"""Batches on their way to the device while the one before is trained on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import torch
from torch import Tensor

from fit_core import FitError, State, hookimpl
from fit_core.batch import map_structure, move, tensors
from fit_device.ahead import ahead


class Prefetch:
    """Copies batches to the device without blocking, some ahead of the one that is trained on; on cuda on a stream of their own.

    On the CPU there is nothing to copy, and it does nothing. Batches are read in the same order, by the same process; those fetched
    ahead count as not seen, and are read again by a resumed run. They are whole batches, before `prepare_batch`.

    Args:
        depth: how many batches are on the device ahead of the one that is trained on; 0: none, but copies do not block.
        pin_memory: on cuda, copy batches into pinned memory first, unless the loader did: only from there the device fetches by itself.

    Raises:
        FitError: depth is below 0.
    """

    passive = True

    def __init__(self, depth: int = 2, pin_memory: bool = True) -> None:
        if depth < 0:
            raise FitError(f"depth must be 0 or more batches, not {depth}")
        self.depth = depth
        self.pin_memory = pin_memory

    @hookimpl(wrapper=True, tryfirst=True)  # outermost: after what others do to batches on the CPU
    def iter_batches(self, state: State) -> Generator[None, Any, Iterator[Any]]:
        batches: Iterator[Any] = yield
        if state.device.type == "cpu":
            return batches
        if state.device.type == "cuda":
            stream = SideStream(state.device, self.pin_memory)
            return ahead(batches, stream.start, stream.finish, self.depth)
        device = state.device
        return ahead(batches, lambda batch: sent(batch, device), lambda batch: batch, self.depth)


class SideStream:
    """Copies batches to a device on a stream of their own. On the CPU, whose streams do nothing, it does the same at once.

    Args:
        device: where to.
        pin: copy them into pinned memory first.
    """

    def __init__(self, device: torch.device, pin: bool) -> None:
        self.device = device
        self.pin = pin
        self._streams: Any = torch.get_device_module(device)
        self._own = self._streams.Stream(device)

    def start(self, batch: Any) -> tuple[Any, Any]:
        """Begin to copy a batch; return its copy, and what tells when it is there."""
        source = pinned(batch) if self.pin else batch
        with self._streams.stream(self._own):
            return sent(source, self.device), self._own.record_event()

    def finish(self, started: tuple[Any, Any]) -> Any:
        """Let the work that follows wait for a copy, on the device: the host goes on."""
        batch, arrived = started
        current = self._streams.current_stream(self.device)
        current.wait_event(arrived)
        for tensor in tensors(batch):
            if tensor.device.type != "cpu":
                tensor.record_stream(current)  # its memory is not given away before the work on it is done
        return batch


def sent(value: Any, device: torch.device) -> Any:
    """Bring every tensor of a nested value to a device, without waiting for it."""
    return _each(value, lambda tensor: tensor.to(device, non_blocking=True), lambda other: move(other, device))


def pinned(value: Any) -> Any:
    """Copy every tensor of a nested value into pinned memory, but for those that are there, or on a device."""
    return _each(value, _pinned, lambda other: other)


def _pinned(tensor: Tensor) -> Tensor:
    pageable = tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.is_pinned()
    return tensor.pin_memory() if pageable else tensor


def _each(value: Any, of_tensor: Callable[[Tensor], Tensor], of_other: Callable[[Any], Any]) -> Any:
    """Map the tensors of a nested value, and objects that have a `to` of their own."""
    if isinstance(value, Tensor):
        return of_tensor(value)
    if callable(getattr(value, "to", None)):
        return of_other(value)
    return map_structure(lambda item: _each(item, of_tensor, of_other), value)

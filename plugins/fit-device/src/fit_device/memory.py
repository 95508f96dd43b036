"""Bytes of tensors, the peak of a process or device, and what to do when there are not enough."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

CPU_MESSAGES = ("can't allocate memory", "not enough memory")
"""What torch's allocator of the CPU says, in a plain RuntimeError."""


def size_of(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of some tensors, each counted once."""
    return sum(_bytes(tensor) for tensor in {id(tensor): tensor for tensor in tensors}.values())


def _bytes(tensor: Tensor) -> int:
    if is_lazy(tensor):
        return 0
    if tensor.is_sparse:
        return _bytes(tensor._values()) + _bytes(tensor._indices())
    return tensor.numel() * tensor.element_size()


def peak_of(device: torch.device) -> int | None:
    """Return the most bytes that there were at once: on cuda and the like those of tensors, on the CPU those of the process.

    None where nobody counts: on the meta device, with mps, on Windows.
    """
    if device.type == "cpu":
        return _peak_of_process()
    measures = device.type in ("cuda", "xpu")
    return int(torch.get_device_module(device).max_memory_allocated(device)) if measures else None


def _peak_of_process() -> int | None:
    if sys.platform == "win32":
        return None
    import resource  # which Windows has not

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def readable(size: int) -> str:
    """Return bytes for people: `3.2 MB`, `1.5 GB`."""
    number, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB"):  # the last one is wanted
        if number < 1024 or unit == "GB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell what torch raises if memory cannot be had, on an accelerator or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in CPU_MESSAGES)


def advice(batch: int, accumulate: int, training: bool, plugins: Iterable[str], sizes: dict[str, int]) -> str:
    """Say what to try against an exception for want of memory.

    Args:
        batch: samples of the batch at work; 0 if unknown.
        accumulate: batches that make a step now.
        training: whether it was trained on; else it was evaluated.
        plugins: those at work already are not recommended.
        sizes: bytes by what they are for.
    """
    there, tries = set(plugins), []
    if batch > 1:
        smaller = f"batches of {-(-batch // 2)} samples instead of {batch}"
        tries.append(f"{smaller} with accumulate={2 * accumulate}, which makes the same steps" if training else smaller)
    if not there & {"autocast"}:
        tries.append("the plugin mixed-precision")
    if training and "activation-checkpointing" not in there:
        tries.append("the plugin activation-checkpointing")
    if training and sizes.get("optimizer", 0) > sizes.get("parameters", 0):
        tries.append(f"an optimizer with less state than {readable(sizes['optimizer'])}")
    held = ", ".join(f"{name} {readable(size)}" for name, size in sizes.items() if size)
    said = f"out of memory, with {held or 'nothing measured yet'}; the rest is the batch and its activations."
    return f"{said} Try {', or '.join(tries)}." if tries else said

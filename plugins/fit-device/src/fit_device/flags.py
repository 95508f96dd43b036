"""Switches of torch that hold for the whole process: what they are, and how they are set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Flag:
    """A switch.

    Attributes:
        read: returns its value.
        write: sets it.
    """

    read: Callable[[], Any]
    write: Callable[[Any], None]


def _backend(backend: Any, name: str) -> Flag:
    return Flag(lambda: getattr(backend, name), lambda value: setattr(backend, name, value))


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


FLAGS = {
    "matmul": Flag(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "cudnn tf32": _backend(torch.backends.cudnn, "allow_tf32"),
    "cudnn benchmark": _backend(torch.backends.cudnn, "benchmark"),
    "cudnn deterministic": _backend(torch.backends.cudnn, "deterministic"),
    "deterministic": Flag(_deterministic, _set_deterministic),
}
"""Every switch by name; the value of "deterministic" is (on, only warn)."""


def set_flags(values: dict[str, Any]) -> dict[str, Any]:
    """Set switches, and return what they were."""
    before = {name: FLAGS[name].read() for name in values}
    for name, value in values.items():
        FLAGS[name].write(value)
    return before

"""Switches of torch that hold for the whole process: what they are, how they are set and put back.

The precision of float32 products has an older interface (`set_float32_matmul_precision`, `allow_tf32`) and a newer one (`fp32_precision`).
The older one sets both, but refuses to be read where the newer one was set to something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

BACKENDS: Any = torch.backends


@dataclass(frozen=True)
class Flag:
    """A switch.

    Attributes:
        read: returns how it stands, for `put_back`.
        write: sets it.
        put_back: sets it to how it stood.
    """

    read: Callable[[], Any]
    write: Callable[[Any], None]
    put_back: Callable[[Any], None]


def _attribute(backend: Any, name: str) -> Flag:
    def write(value: Any) -> None:
        setattr(backend, name, value)

    return Flag(lambda: getattr(backend, name), write, write)


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _read_deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _in_both(read: Callable[[], Any], write: Callable[[Any], None], newer: Callable[[], list[Any]]) -> Flag:
    """Return a switch that the newer interface has too.

    Args:
        read: of the older interface.
        write: likewise; it sets the newer one as well.
        newer: returns what has it as `fp32_precision`.
    """

    def read_both() -> tuple[Any, list[str]]:
        now = [part.fp32_precision for part in newer()]
        try:
            return read(), now
        except RuntimeError:  # the two contradict each other already
            return None, now

    def put_back(before: tuple[Any, list[str]]) -> None:
        if before[0] is not None:
            write(before[0])
        for part, value in zip(newer(), before[1], strict=True):
            part.fp32_precision = value

    return Flag(read_both, write, put_back)


def _allow_in_cudnn(value: bool) -> None:
    BACKENDS.cudnn.allow_tf32 = value
    if not value:  # else what is set for all of torch holds
        BACKENDS.cudnn.conv.fp32_precision = BACKENDS.cudnn.rnn.fp32_precision = "ieee"


FLAGS = {
    "matmul": _in_both(
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
        lambda: [BACKENDS.cuda.matmul, BACKENDS.mkldnn.matmul],
    ),
    "cudnn tf32": _in_both(lambda: BACKENDS.cudnn.allow_tf32, _allow_in_cudnn, lambda: [BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn]),
    "cudnn benchmark": _attribute(BACKENDS.cudnn, "benchmark"),
    "cudnn deterministic": _attribute(BACKENDS.cudnn, "deterministic"),
    "deterministic": Flag(_read_deterministic, _set_deterministic, _set_deterministic),
}
"""Every switch by name; the value of "deterministic" is (on, only warn)."""


def set_flags(values: Mapping[str, Any]) -> dict[str, Any]:
    """Set switches, and return how they stood, for `put_back`."""
    before = {name: FLAGS[name].read() for name in values}
    for name, value in values.items():
        FLAGS[name].write(value)
    return before


def put_back(before: Mapping[str, Any]) -> None:
    """Set switches to how they stood."""
    for name, value in before.items():
        FLAGS[name].put_back(value)

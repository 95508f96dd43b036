"""Waits for the device: reading a number, copying to the host, shapes that depend on values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import fit_core
from fit_core.errors import TrainingError
from fit_core.log import LogBuffer
from fit_core.traced.around import Watcher

if TYPE_CHECKING:
    from fit_core.state import State

TORCH, OURS = str(Path(torch.__file__).parent), str(Path(fit_core.__file__).parent)
ALWAYS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique_dim", "_unique2"}
"""Operations of torch that wait, whatever they are given."""
FREE = LogBuffer.add.__code__
"""It reads numbers on the CPU alone: what it does there says nothing about an accelerator."""


class Waits(TorchDispatchMode):
    """Hears of every wait.

    Args:
        heard: called with the name of the operation.
    """

    def __init__(self, heard: Callable[[str], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.heard = heard

    def begin(self) -> None:
        """Begin to listen."""
        self.__enter__()  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """Listen no longer."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if waits(func, args, kwargs) and getattr(first_outside_torch(sys._getframe(1)), "f_code", None) is not FREE:
            self.heard(func.overloadpacket.__name__)
        return func(*args, **kwargs)


def waits(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tell whether an operation waits for the device, or would if its tensors were on one."""
    name = func.overloadpacket.__name__
    if name in ALWAYS:
        return True
    if name == "index" and any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1]):
        return True
    to_host = name == "_to_copy" and kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cpu"
    return to_host and args[0].device.type not in ("cpu", "meta") and not kwargs.get("non_blocking")


class ForbidWaits(Watcher):
    """Makes every wait inside of a training step an error, at its line.

    The core's own do not count: the guard's look at a flag on the CPU, the flush of the log, steps of torch's optimizers.
    """

    def __init__(self) -> None:
        self.mode = Waits(refuse)
        self.inside = False

    @contextmanager
    def around(self, hook: str, plugin: str | None, arguments: tuple[Any, ...]) -> Iterator[None]:
        """Begin with the first hook of a batch, and end with its last."""
        begins = plugin is None and hook == "prepare_batch" and of_training(arguments) and not self.inside
        ends = plugin is None and hook in ("on_batch_end", "on_exception", "on_eval_start")
        if begins:
            self.inside = True
            self.mode.begin()
        try:
            yield
        finally:
            if ends and self.inside:
                self.leave()

    def leave(self) -> None:
        """No longer look."""
        self.inside = False
        self.mode.end()


def of_training(arguments: tuple[Any, ...]) -> bool:
    """Tell whether a hook as a whole was called in a training pass."""
    state: State = arguments[1]
    return state.phase == "train"


def refuse(operation: str) -> None:
    """Raise for a wait, unless it is the core's own.

    Raises:
        TrainingError: which says where.
    """
    frame = first_outside_torch(sys._getframe(1))
    if frame is not None and not frame.f_code.co_filename.startswith(OURS):
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        raise TrainingError(f"--forbid-sync: a training step waits for the device at {where} ({operation}): keep tensors as they are")


def first_outside_torch(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame that is not torch's, nor this module's."""
    while frame is not None and (frame.f_code.co_filename.startswith(TORCH) or frame.f_code.co_filename == __file__):
        frame = frame.f_back
    return frame

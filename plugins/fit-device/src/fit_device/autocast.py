"""Forward and loss in half precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from fit_core import FitError, State, hookimpl

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Autocast:
    """Runs `forward`, `compute_loss` and what is added to the loss under `torch.autocast`, in training and in evaluation.

    Args:
        dtype: "bf16" or "fp16"; fp16 needs an accelerator, and the plugin `grad-scaler` for training.
    """

    def __init__(self, dtype: Literal["bf16", "fp16"] = "bf16") -> None:
        if dtype not in DTYPES:
            raise FitError(f"dtype must be 'bf16' or 'fp16', not {dtype!r}")
        self.dtype = DTYPES[dtype]

    @hookimpl(wrapper=True)
    def forward(self, state: State) -> Iterator[None]:
        with self._context(state):
            return (yield)

    @hookimpl(wrapper=True)
    def compute_loss(self, state: State) -> Iterator[None]:
        with self._context(state):
            return (yield)

    @hookimpl(wrapper=True)
    def on_loss_end(self, state: State) -> Iterator[None]:
        with self._context(state):  # terms of a loss may call the model's parts again
            return (yield)

    def _context(self, state: State) -> AbstractContextManager[object]:
        if self.dtype == torch.float16 and state.device.type == "cpu":
            raise FitError("fp16 on the CPU has the range of fp16 and the speed of float32; use dtype=bf16")
        if state.device.type == "meta":  # where nothing is computed, and torch has no autocast
            return nullcontext()
        return torch.autocast(state.device.type, self.dtype)

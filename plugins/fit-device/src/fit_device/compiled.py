"""A module that is compiled when it is first called, and runs as it is where that cannot be."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch._dynamo.exc import ShortenTraceback


class Compiled(nn.Module):
    """Calls another module through `torch.compile`.

    If the backend fails, a warning says why, and from then on the module runs uncompiled. Errors of the module itself are raised.

    Args:
        module: what is compiled; its parameters are this one's.
        options: of `torch.compile`.
    """

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__()
        self.module = module
        self._call: Any = torch.compile(module.__call__, **options)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module returns."""
        if self._call is not None:
            try:
                return self._call(*args, **kwargs)
            except ShortenTraceback as error:  # what torch raises for backends: BackendCompilerFailed, TritonMissing, GPUTooOldForTriton
                self._call = None
                warnings.warn(f"the model runs uncompiled: {reason(error)}", stacklevel=2)
        return self.module(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)


def reason(error: BaseException) -> str:
    """Return type and first line of what a backend failed with."""
    inner = getattr(error, "inner_exception", error)
    return f"{type(inner).__name__}: {(str(inner).strip() or 'no message').splitlines()[0]}"

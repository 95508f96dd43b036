"""A module that is compiled when it is first called, and runs as it is where that cannot be."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch._dynamo.exc import ShortenTraceback


def compiled(module: nn.Module, **options: Any) -> nn.Module:
    """Return a module that calls another one through `torch.compile`, with its parameters, attributes and mode.

    If the backend fails, a warning says why, and from then on the module runs uncompiled. Errors of the module itself are raised.

    Args:
        module: what is compiled.
        options: of `torch.compile`.
    """
    made = cast("nn.Module", torch.compile(module, **options))
    made.forward = OrPlain(made.forward, module)
    return made


class OrPlain:
    """Calls one function, or another one once the first could not be compiled.

    Args:
        function: what torch compiles when it is called.
        plain: what does the same.
    """

    def __init__(self, function: Callable[..., Any], plain: Callable[..., Any]) -> None:
        self._function = function
        self._plain = plain

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the functions return."""
        try:
            return self._function(*args, **kwargs)
        except ShortenTraceback as error:  # what torch raises for backends: BackendCompilerFailed, TritonMissing, GPUTooOldForTriton
            self._function = self._plain
            warnings.warn(f"the model runs uncompiled: {reason(error)}", stacklevel=2)
        return self._plain(*args, **kwargs)


def reason(error: BaseException) -> str:
    """Return type and first line of what a backend failed with."""
    inner = getattr(error, "inner_exception", error)
    return f"{type(inner).__name__}: {(str(inner).strip() or 'no message').splitlines()[0]}"

"""Modules whose activations are computed again for the backward pass, instead of being kept."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Recomputed:
    """A module's `forward` that keeps nothing but its inputs; they are all it takes to compute the rest again.

    Random numbers and buffers are then as they were the first time, so that dropout drops the same, and statistics of batch norm are
    updated once. Only while the module is in training mode and gradients are on.

    It is an object and no function, so that a copy of the module calls the copy.

    Args:
        module: whose `forward` it takes the place of.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.forward = module.forward
        functools.update_wrapper(self, self.forward)  # the signature stays

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Be the module's `forward`."""
        if not (self.module.training and torch.is_grad_enabled()):
            return self.forward(*args, **kwargs)
        if torch.compiler.is_compiling():  # which takes care of buffers itself
            return checkpoint(self.forward, *args, use_reentrant=False, **kwargs)
        again = Rewound(self.module) if next(self.module.buffers(), None) is not None else nullcontext()
        contexts = (nullcontext(), again)
        # torch looks for devices with random numbers in what is positional only
        return checkpoint(self._call, args, kwargs, use_reentrant=False, context_fn=lambda: contexts)

    def _call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return self.forward(*args, **kwargs)


class Rewound(AbstractContextManager[None]):
    """A context in which the buffers of a module are what they were when this was made.

    Args:
        module: whose buffers are put aside; what is done to them inside is forgotten.
    """

    def __init__(self, module: nn.Module) -> None:
        self._kept = [
            (owner, name, buffer.clone()) for owner in module.modules() for name, buffer in owner._buffers.items() if buffer is not None
        ]
        self._aside: list[Tensor | None] = []

    def __enter__(self) -> None:
        self._aside = [owner._buffers[name] for owner, name, _ in self._kept]
        for owner, name, before in self._kept:
            owner._buffers[name] = before.clone()  # a graph may be gone through twice

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for (owner, name, _), buffer in zip(self._kept, self._aside, strict=True):
            owner._buffers[name] = buffer


def recompute(module: nn.Module) -> None:
    """Let a module compute its activations again for the backward pass."""
    if not isinstance(vars(module).get("forward"), Recomputed):
        module.forward = Recomputed(module)


def keep(module: nn.Module) -> None:
    """Take back what `recompute` did."""
    found = vars(module).get("forward")
    if isinstance(found, Recomputed):
        del module.forward
        if module.forward != found.forward:  # it had one of its own
            module.forward = found.forward

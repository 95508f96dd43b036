"""Modules whose activations are computed again for the backward pass, instead of being kept."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.checkpoint import checkpoint


class Recomputed:
    """A module's `forward` that keeps nothing but its inputs; they are all it takes to compute the rest again.

    Random numbers and buffers are then as they were the first time, so that dropout drops the same, and statistics of batch norm are
    updated once. Only while gradients are on, and once lazy modules have their shapes.

    It is an object and no function, so that a copy of the module calls the copy.

    Args:
        module: whose `forward` it takes the place of.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.forward = module.forward
        self._overwrites = True  # until a call shows that it does not
        functools.update_wrapper(self, self.forward)  # the signature stays

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Be the module's `forward`.

        Raises:
            RuntimeError: inputs were changed in place, so that it cannot be computed again.
        """
        if not torch.is_grad_enabled():
            return self.forward(*args, **kwargs)
        before: list[Rewound] = []
        inputs: list[Inputs] = []

        def run(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
            # asked here too: what torch finds that it cannot compile, it calls as it is, and then buffers are our matter
            if torch.compiler.is_compiling():
                return self.forward(*args, **kwargs)
            if not before:
                before.append(Rewound(self.module))
                inputs.append(Inputs((args, kwargs), self._overwrites))
                outputs = self.forward(*args, **kwargs)
                self._overwrites = inputs[0].settle((args, kwargs))
                return outputs
            with before[0]:
                args, kwargs = inputs[0].again((args, kwargs), type(self.module).__name__)
                return self.forward(*args, **kwargs)

        if torch.compiler.is_compiling():
            return checkpoint(lambda *given: run(given, kwargs), *args, use_reentrant=False)
        if any(is_lazy(tensor) for tensor in (*self.module.parameters(), *self.module.buffers())):
            return self.forward(*args, **kwargs)
        return checkpoint(run, args, kwargs, use_reentrant=False)  # it looks for devices with random numbers in what is positional


class Inputs:
    """What a module is called with, to call it with the same once more.

    Args:
        given: its arguments, in any nesting.
        copied: whether to keep copies, for a module that changes its inputs in place.
    """

    def __init__(self, given: Any, copied: bool) -> None:
        self._versions = versions(given)
        self._copies = tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), given) if copied else None

    def settle(self, given: Any) -> bool:
        """Return whether the first call changed them; if it did not, no copies are kept."""
        changed = versions(given) != self._versions
        if not changed:
            self._copies = None
        return changed

    def again(self, given: Any, name: str) -> Any:
        """Return them as they were before the first call.

        Args:
            given: what the first call was given.
            name: of the module, for the error.

        Raises:
            RuntimeError: they were changed since, and there are no copies.
        """
        if self._copies is not None:
            wanted = iter(tensor.requires_grad for tensor in tree_leaves(given) if isinstance(tensor, Tensor))
            return tree_map_only(Tensor, lambda tensor: tensor.detach().requires_grad_(next(wanted)).clone(), self._copies)
        if versions(given) != self._versions:
            raise RuntimeError(
                f"an input of {name} was changed in place, so that its activations cannot be computed again; "
                "leave this module out of activation-checkpointing, or change a copy"
            )
        return given


def versions(given: Any) -> list[int]:
    """Return how often each tensor in a nested value was changed in place."""
    return [tensor._version for tensor in tree_leaves(given) if isinstance(tensor, Tensor) and not tensor.is_inference()]


class Rewound(AbstractContextManager[None]):
    """A context in which the buffers of a module, and random numbers of Python and numpy, are what they were when this was made.

    Those of torch are the matter of `checkpoint`.

    Args:
        module: whose buffers are put aside; what is done to them inside is forgotten.
    """

    def __init__(self, module: nn.Module) -> None:
        self._copies = {id(buffer): buffer.clone() for buffer in module.buffers()}
        self._kept = [
            (owner, name, id(buffer)) for owner in module.modules() for name, buffer in owner._buffers.items() if buffer is not None
        ]
        self._random = _random_states()
        self._aside: list[Tensor | None] = []
        self._random_aside = self._random

    def __enter__(self) -> None:
        self._aside = [owner._buffers[name] for owner, name, _ in self._kept]
        fresh = {key: before.clone() for key, before in self._copies.items()}  # a graph may be gone through twice
        for owner, name, key in self._kept:
            owner._buffers[name] = fresh[key]  # one for all that share it
        self._random_aside = _random_states()
        _set_random_states(self._random)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for (owner, name, _), buffer in zip(self._kept, self._aside, strict=True):
            owner._buffers[name] = buffer
        _set_random_states(self._random_aside)


def _random_states() -> tuple[Any, Any]:
    numpy: Any = sys.modules.get("numpy.random")
    return random.getstate(), numpy.get_state() if numpy else None


def _set_random_states(states: tuple[Any, Any]) -> None:
    random.setstate(states[0])
    if states[1] is not None:
        sys.modules["numpy.random"].set_state(states[1])


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

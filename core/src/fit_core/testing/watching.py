"""What the hooks of a plugin do to the process while a run goes on: the random numbers they draw, and what they print."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fit_core.plan import Call
from fit_core.trainer import Trainer


@dataclass
class Watched:
    """What was seen.

    Attributes:
        drawn: the random states that a hook changed, such as "torch in on_batch_start".
        printed: the epochs in which a hook printed, by its name.
        changed: what of the process was not as before when the run was over.
    """

    drawn: list[str] = field(default_factory=list)
    printed: dict[str, set[int]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)


@contextmanager
def watched(trainer: Trainer, plugins: Collection[str]) -> Iterator[Watched]:
    """Watch the hooks of some plugins of a trainer while the block runs; what is printed meanwhile is kept back."""
    seen, output = Watched(), io.StringIO()

    @contextmanager
    def acting(hook: str) -> Iterator[None]:
        before, length = random_states(), output.tell()
        try:
            yield
        finally:
            now = random_states()
            changed = [f"{name} in {hook}" for name in now if not equal(before[name], now[name])]
            seen.drawn += [each for each in changed if each not in seen.drawn]
            if output.tell() > length:
                seen.printed.setdefault(hook, set()).add(trainer._progress.epoch)

    def tracer(hook: str, plugin: str | None, call: Call) -> Call:
        if plugin not in plugins:
            return call

        def watching(*arguments: Any) -> Any:
            with acting(hook):
                result = call(*arguments)
            return _Halves(result, lambda: acting(hook)) if isinstance(result, Generator) else result

        return watching

    trainer.trace(tracer)
    try:
        with redirect_stdout(output), redirect_stderr(output):
            yield seen
    finally:
        trainer.trace(None)


class _Halves:
    """A generator of which each half is watched: that of a wrapper runs before and after what it wraps."""

    def __init__(self, inner: Generator[Any, Any, Any], acting: Callable[[], Any]) -> None:
        self._inner = inner
        self._acting = acting

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        with self._acting():
            return self._inner.send(value)

    def throw(self, error: BaseException) -> Any:
        with self._acting():
            return self._inner.throw(error)

    def close(self) -> None:
        self._inner.close()


def random_states() -> dict[str, Any]:
    """Return the random states of the process on the CPU, by whose they are."""
    numpy: Any = sys.modules.get("numpy.random")
    return {"Python": random.getstate(), "numpy": numpy.get_state()[1:3] if numpy else None, "torch": torch.get_rng_state()}


def process_state() -> dict[str, Any]:
    """Return what a run must leave as it was, by name."""
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "working directory": str(Path.cwd()),
        "environment": dict(os.environ),
        "warning filters": list(warnings.filters),
        "default dtype": torch.get_default_dtype(),
    }


def equal(a: Any, b: Any) -> bool:
    """Tell whether two values are the same, of the same types, and tensors and arrays to the bit; a nan is equal to itself."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and torch.equal(a, b)
    if hasattr(a, "__array__") and getattr(a, "ndim", False):
        return hasattr(b, "__array__") and a.dtype == b.dtype and bool((a == b).all())
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))

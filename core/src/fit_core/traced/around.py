"""Calls of hooks and their implementations, with something done before and after each."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from fit_core.plan import Call, Tracer

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


class Watcher(ABC):
    """Does something around every call. It is a tracer: `trainer.trace(watcher)`."""

    @abstractmethod
    def around(self, hook: str, plugin: str | None, arguments: tuple[Any, ...]) -> AbstractContextManager[Any]:
        """Return the context of a call; what it yields, if it is a list, gets the result of the call.

        Args:
            hook: its name.
            plugin: who implements it; None for the hook as a whole, with all who act in it.
            arguments: of the call. Those of a hook as a whole begin with trainer and state.
        """

    def result(self, hook: str, result: Any) -> Any:
        """Return what stands for the result of a hook as a whole."""
        del hook
        return result

    def __call__(self, hook: str, plugin: str | None, call: Call) -> Call:
        """Build the call that is made in place of another."""
        if inspect.isgeneratorfunction(inspect.unwrap(call)):

            def entered(*arguments: Any) -> Any:
                return Halves(call(*arguments), lambda: self.around(hook, plugin, arguments))

            return entered

        def watched(*arguments: Any) -> Any:
            with self.around(hook, plugin, arguments) as told:
                found = call(*arguments)
                if told is not None:
                    told.append(found)
            return found if plugin is not None else self.result(hook, found)

        return watched


class Halves:
    """The two halves of a wrapper, each in a context of its own.

    Args:
        generator: of the wrapper.
        around: makes the context.
    """

    def __init__(self, generator: Generator[None, Any, Any], around: Callable[[], AbstractContextManager[Any]]) -> None:
        self.generator, self.around = generator, around

    def __next__(self) -> Any:
        with self.around():
            return next(self.generator)

    def send(self, value: Any) -> Any:
        """Go on with a result."""
        with self.around():
            return self.generator.send(value)

    def throw(self, error: BaseException) -> Any:
        """Go on with an exception."""
        with self.around():
            return self.generator.throw(error)

    def close(self) -> None:
        """End it."""
        self.generator.close()


@contextmanager
def traced(trainer: Trainer, tracer: Tracer) -> Iterator[None]:
    """Trace a trainer while the block runs, within what traces it already."""
    before = trainer.trace(None)

    def both(hook: str, plugin: str | None, call: Call) -> Call:
        inner = tracer(hook, plugin, call)
        return inner if before is None else before(hook, plugin, inner)

    trainer.trace(both)
    try:
        yield
    finally:
        trainer.trace(before)

"""Notes on an exception: who raised it, in which hook, and when."""

from __future__ import annotations

from collections.abc import Iterator
from traceback import walk_tb
from types import TracebackType
from typing import TYPE_CHECKING

from fit_core import defaults
from fit_core.errors import did_you_mean

if TYPE_CHECKING:
    from fit_core.state import State

BLAMED = "raised in hook"

DEFAULT_OF = {each.__code__: each.fit_impl["specname"] or name for name, each in vars(defaults).items() if hasattr(each, "fit_impl")}
"""The hook of each of the core's defaults. The core calls most of them by itself, so that they are found in the traceback."""


def blame(error: BaseException, whose: str | None, state: State) -> BaseException:
    """Add a note that says who raised, in which hook and when, unless it is there already.

    It is the default that the traceback shows inside of an implementation, or else the implementation. A `StopIteration`
    becomes a `RuntimeError`: it must never look like the end of the data.

    Args:
        error: what was raised.
        whose: hook and implementation, `"on_batch_end of plugin 'clip' (fit-optim 1.0)"`; None if it is no implementation's.
        state: of the pass.

    Returns:
        What to raise.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    if isinstance(error, StopIteration):
        wrapped = RuntimeError("StopIteration was raised")
        wrapped.__cause__ = error
        error = wrapped
    if is_blamed(error):
        return error
    inner = [DEFAULT_OF[frame.f_code] for frame in frames if frame.f_code in DEFAULT_OF]
    whose = by_default(inner[-1]) if inner else whose
    if whose is not None:
        error.add_note(f"{BLAMED} {whose}, {state.where()}")
        for hint in _misspelt_attribute(error, state):
            error.add_note(hint)
    return error


def is_blamed(error: BaseException) -> bool:
    """Tell whether the note is there."""
    return any(note.startswith(BLAMED) for note in getattr(error, "__notes__", ()))


class Blamed:
    """A context in which the core calls defaults by itself: the note on what one raises is added when it leaves.

    Args:
        state: of the pass.
    """

    def __init__(self, state: State) -> None:
        self.state = state

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            blamed = blame(error, None, self.state)
            if blamed is not error:
                raise blamed


def by_default(hook: str) -> str:
    """Return what an error calls the core's default of a hook."""
    return f"{hook} of the core's default"


def _misspelt_attribute(error: BaseException, state: State) -> Iterator[str]:
    prefix = "'State' object has no attribute '"
    if isinstance(error, AttributeError) and "of 'State' object has no setter" in str(error):
        yield "the counters of state are read-only: the core counts"
    if isinstance(error, AttributeError) and str(error).startswith(prefix):
        word = str(error)[len(prefix) :].split("'")[0]
        suggestion = did_you_mean(word, state.attributes())
        yield f"state has no attribute {word!r}{suggestion}" + ("" if suggestion else "; keep a value of your own under a StateKey")

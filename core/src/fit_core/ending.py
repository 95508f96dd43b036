"""How a run or a pass ends: everyone hears of it, and nothing raised on the way hides what was raised first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fit_core.state import State

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


@contextmanager
def ending(trainer: Trainer, state: State, fit: bool) -> Iterator[None]:
    """Tell every plugin how a call ends; nothing raised there hides what was raised first."""
    hooks = trainer.hooks
    try:
        yield
    except BaseException as error:
        raised = [*flushed(trainer, state), *hooks.on_exception(trainer, state, error)]
        raised += hooks.on_fit_end(trainer, state) if fit else []
        mention(error, [*raised, *flushed(trainer, state)])
        raise
    raised = flushed(trainer, state)
    raised += hooks.on_fit_end(trainer, state) if fit else []
    raised += flushed(trainer, state)
    if raised:
        mention(raised[0], raised[1:])
        raise raised[0]


def flushed(trainer: Trainer, state: State) -> list[BaseException]:
    """Send what was logged to the trackers; return what that raised."""
    try:
        trainer._flush(state)
    except BaseException as error:
        return [error]
    return []


def mention(error: BaseException, others: Iterable[BaseException]) -> None:
    """Note on an exception what else was raised while it was on its way."""
    for other in others:
        if other is error:
            continue
        notes = "; ".join(getattr(other, "__notes__", ()))
        error.add_note(f"and while ending: {type(other).__name__}: {other} ({notes})")

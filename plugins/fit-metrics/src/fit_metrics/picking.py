"""Which of several outputs or targets a metric looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fit_core.errors import FitError, listed


def picked(name: str, what: str, choice: Any, value: Any) -> Any:
    """Return what is picked from a value.

    Args:
        name: of the metric, for the error.
        what: "output" or "target".
        choice: a key, an index, the name of an attribute, or a function that picks; None picks everything.
        value: all of them.

    Raises:
        FitError: there is no such thing.
    """
    if choice is None:
        return value
    if callable(choice):
        return choice(value)
    try:
        if isinstance(value, Mapping) or (isinstance(value, Sequence) and isinstance(choice, int)):
            return value[choice]
        return getattr(value, str(choice))
    except (KeyError, IndexError, AttributeError, TypeError):
        has = listed(value) if isinstance(value, Mapping) else f"a {type(value).__name__}"
        raise FitError(f"metric {name!r} looks at {what}={choice!r}, which the {what}s have not: {has}") from None

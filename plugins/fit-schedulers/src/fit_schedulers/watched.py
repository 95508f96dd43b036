"""A value of the row that a plugin watches."""

from __future__ import annotations

from collections.abc import Mapping

from fit_core import FitError, State
from fit_core.errors import did_you_mean, listed


def watched(who: str, name: str, row: Mapping[str, float], state: State, strict: bool = True) -> float | None:
    """Return a value of a row; None if this epoch has none, and need not have one.

    An epoch without validation has no values of it, and one in which an update made no step no loss of it.

    Args:
        who: watches it, for the error.
        name: of the value.
        row: of the epoch.
        state: of the run.
        strict: whether a value that is missing otherwise is an error.

    Raises:
        FitError: the row has no such value, and should have.
    """
    if name in row:
        return row[name]
    waits = name in ("loss", *(f"{update}_loss" for update in state.updates))
    prefix = next((prefix for prefix in state.validation if name.startswith(prefix)), None)
    waits |= prefix is not None and not any(each.startswith(prefix) for each in row)
    if strict and not waits:
        raise FitError(f"{who} monitors {name!r}, but the row has: {listed(row)}{did_you_mean(name, row)}")
    return None

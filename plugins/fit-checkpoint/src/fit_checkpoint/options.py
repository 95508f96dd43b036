"""Options that say nothing, or contradict each other, are refused."""

from __future__ import annotations

from typing import Any

from fit_core.errors import FitError

MODES = ("auto", "min", "max")
ON_ERROR = ("stop", "warn")


def check_options(every: Any, last: Any, best: Any, mode: str, restore_best: bool, on_error: str) -> None:
    """Check the options of the plugin `checkpoint`; see there.

    Raises:
        FitError: something is wrong with them.
    """
    if last != "all" and not _is_count(last):
        raise FitError(f"last must be a number of checkpoints or 'all', not {last!r}")
    if not _is_count(best):
        raise FitError(f"best must be a number of checkpoints, not {best!r}")
    if last == 0 and best == 0:
        raise FitError("nothing would be kept: set last or best above 0")
    if last == 0 and every is not None:
        raise FitError(f"every={str(every)!r} does nothing with last=0: only the best are saved then")
    if restore_best and best == 0:
        raise FitError("restore_best needs a best checkpoint: set best above 0")
    for option, value, known in (("mode", mode, MODES), ("on_error", on_error, ON_ERROR)):
        if value not in known:
            raise FitError(f"{option} must be one of {', '.join(known)}, not {value!r}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

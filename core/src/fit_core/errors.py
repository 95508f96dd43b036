"""The errors a user sees, and the suggestions in them."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class FitError(Exception):
    """Something the user can mend: one line that says what is wrong and what to do.

    The command line prints it without a traceback and exits with 2.
    """

    exit_code = 2


class TrainingError(FitError):
    """The command was right, but the run failed: the finite guard, say. Exits with 1."""

    exit_code = 1


class Interrupted(KeyboardInterrupt):
    """A signal has ended the run.

    Args:
        number: of the signal.
        message: what the command line prints.
    """

    def __init__(self, number: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.exit_code = 128 + number


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of ``known``, or an empty string."""
    nearest = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def listed(words: Iterable[str]) -> str:
    """Return the words sorted and joined by commas, or ``"none"``."""
    return ", ".join(sorted(words)) or "none"


def whole(name: str, number: Any) -> int:
    """Return a whole number above 0.

    Args:
        name: what an error calls it.
        number: an int, or what is equal to one.

    Raises:
        FitError: it is something else.
    """
    try:
        found = int(number) if not isinstance(number, (bool, str)) and number == int(number) else 0
    except (TypeError, ValueError, OverflowError):
        found = 0
    if found < 1:
        raise FitError(f"{name} must be at least 1 and whole, not {number!r}")
    return found

"""The errors a user sees, and the suggestions in them."""

from collections.abc import Iterable
from difflib import get_close_matches


class FitError(Exception):
    """Something the user can mend: one line that says what is wrong and what to do.

    The command line prints it without a traceback and exits with 2.
    """

    exit_code = 2


class TrainingError(FitError):
    """The command was right, but the run failed: the finite guard, say. Exits with 1."""

    exit_code = 1


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of ``known``, or an empty string."""
    nearest = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def listed(words: Iterable[str]) -> str:
    """Return the words sorted and joined by commas, or ``"none"``."""
    return ", ".join(sorted(words)) or "none"

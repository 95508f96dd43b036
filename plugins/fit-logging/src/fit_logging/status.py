"""The line that says how far a pass is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DOING = {"train": "", "validate": "validating", "test": "testing", "predict": "predicting"}
GAP = "  "
BAR = 24
"""Characters of the longest bar."""
SHORTEST = 8


@dataclass(frozen=True)
class Status:
    """What the line says.

    Attributes:
        phase: what the data is used for.
        epoch: as text, `3/10`; empty outside of training.
        batch: how many batches are done.
        batches: of how many; None if unknown.
        left: seconds until the run (or the pass) is done; None if unknown.
        values: formatted, by name.
    """

    phase: str
    epoch: str
    batch: int
    batches: int | None
    left: float | None = None
    values: Mapping[str, str] = field(default_factory=dict)

    def line(self, width: int, full: str = "━", empty: str = "─") -> tuple[str, str, str]:
        """Return three parts of a line of at most `width` characters: before the bar, the bar, after it.

        What does not fit is left out: the bar gets shorter, values go from the end, then the bar, then the time.

        Args:
            width: how many characters there are.
            full: what the bar is made of where the work is done.
            empty: and where it is not.
        """
        head = GAP.join(word for word in (self.epoch, DOING[self.phase]) if word)
        count = str(self.batch) if self.batches is None else f"{self.batch}/{self.batches}"
        words = [count] + ([] if self.left is None else [f"{clock(self.left)} left"])
        words += [f"{name} {value}" for name, value in self.values.items()]
        bar = SHORTEST if self.batches else 0
        while len(words) > 2 and length(head, bar, words) > width:
            words.pop()
        if length(head, bar, words) > width:
            bar = 0
        while len(words) > 1 and length(head, bar, words) > width:
            words.pop()
        if bar:
            bar = min(BAR, bar + width - length(head, bar, words))
        done = round(bar * min(self.batch / self.batches, 1)) if self.batches else 0
        before = head + GAP if head else ""
        after = (GAP if bar else "") + GAP.join(words)
        return before[:width], full * done + empty * (bar - done), after[: max(width - len(before) - bar, 0)]


def length(head: str, bar: int, words: list[str]) -> int:
    """Return how many characters a line has."""
    parts = [len(head)] * bool(head) + [bar] * bool(bar) + [len(word) for word in words]
    return sum(parts) + len(GAP) * (len(parts) - 1)


def clock(seconds: float) -> str:
    """Format a time: `0:07`, `12:03`, `1:02:33`, `3 d 4 h`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""Which of the checkpoints that were saved are worth their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was saved.

    Attributes:
        name: of its folder.
        place: how many batches were trained by then.
        value: what the epoch was worth that it was saved at the end of; None if that is not known.
    """

    name: str
    place: int
    value: float | None = None

    def replaces(self, other: Saved) -> bool:
        """Tell whether this one has all that another, earlier one has: after an epoch's last batch, say, comes the epoch's end."""
        return other.name == self.name or (other.place == self.place and other.value is None)


@dataclass(frozen=True)
class Rule:
    """What is kept: the last few, and those with the best values. One checkpoint can be both.

    Attributes:
        last: how many of the newest; None for all.
        best: how many of the best.
        higher_is_better: the direction of the values.
    """

    last: int | None
    best: int
    higher_is_better: bool = False

    def ranked(self, saved: Sequence[Saved]) -> list[Saved]:
        """Return the best ones, the very best first; of equal ones the earlier is better."""
        sign = -1 if self.higher_is_better else 1
        candidates = [(sign * each.value, place) for place, each in enumerate(saved) if each.value is not None]
        return [saved[place] for _, place in sorted(candidates)[: self.best]]

    def enters(self, saved: Sequence[Saved], value: float | None) -> bool:
        """Tell whether a checkpoint with this value, saved now, would be among the best."""
        new = Saved("", 0, value)
        return any(each is new for each in self.ranked([*saved, new]))

    def kept(self, saved: Sequence[Saved]) -> list[Saved]:
        """Return those that are kept, in the order of their saving."""
        newest = len(saved) if self.last is None else self.last
        best = self.ranked(saved)
        return [each for place, each in enumerate(saved) if place >= len(saved) - newest or each in best]

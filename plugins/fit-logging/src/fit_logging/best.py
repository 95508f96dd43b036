"""The best value of each column so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """A best value.

    Attributes:
        value: itself.
        epoch: when it was reached.
    """

    value: float
    epoch: int


class Best:
    """Keeps the best value of each column of which it is known what is better.

    Args:
        directions: whether more is better, by the names of values without prefix.
        prefixes: of validation: `("val_",)`.
    """

    def __init__(self, directions: Mapping[str, bool | None], prefixes: Iterable[str]) -> None:
        self._directions = directions
        self._prefixes = tuple(prefixes)
        self.records: dict[str, Record] = {}

    def take(self, row: Mapping[str, float]) -> set[str]:
        """Take in a row, and return the names of the values that are better than any before."""
        improved = set()
        for name, value in row.items():
            more = self.direction(name)
            if more is None or math.isnan(value):
                continue
            known = self.records.get(name)
            if known is None or (value > known.value if more else value < known.value):
                self.records[name] = Record(value, int(row["epoch"]))
                improved.add(name)
        return improved

    def direction(self, name: str) -> bool | None:
        """Tell whether more of a value is better; None if it is not known."""
        prefix = next((prefix for prefix in self._prefixes if name.startswith(prefix)), "")
        base = name.removeprefix(prefix)
        if base in self._directions:
            return self._directions[base]
        return False if base == "loss" or base.endswith("_loss") else None

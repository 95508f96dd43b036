"""Counting how long a value has not improved."""

from __future__ import annotations

import math
from collections.abc import Mapping


class Patience:
    """Keeps the best value, and counts the epochs since.

    Args:
        patience: how many misses in a row are too many.
        min_delta: by how much a value must improve to count.
        relative_delta: by how much more, as a part of the best value's magnitude.
        higher_is_better: the direction.
    """

    def __init__(self, patience: int, min_delta: float = 0.0, relative_delta: float = 0.0, higher_is_better: bool = False) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.relative_delta = relative_delta
        self.higher_is_better = higher_is_better
        self.best = math.nan
        self.best_epoch = 0
        self.misses = 0

    def over(self, value: float, epoch: int) -> bool:
        """Take in the value of an epoch, and tell whether patience is at an end. NaN is a miss."""
        gain = value - self.best if self.higher_is_better else self.best - value
        enough = self.min_delta + self.relative_delta * abs(self.best) if math.isfinite(self.best) else 0.0
        if not math.isnan(value) and (math.isnan(self.best) or gain > enough):
            self.best, self.best_epoch, self.misses = value, epoch, 0
        else:
            self.misses += 1
        return self.misses >= self.patience

    def state_dict(self) -> dict[str, float]:
        """Return what was counted."""
        return {"best": self.best, "best_epoch": self.best_epoch, "misses": self.misses}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take up what `state_dict` returned."""
        self.best = state["best"]
        self.best_epoch = int(state["best_epoch"])
        self.misses = int(state["misses"])

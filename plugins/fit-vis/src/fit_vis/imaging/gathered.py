"""Pictures of several batches, until there are enough."""

from __future__ import annotations

import torch
from torch import Tensor


class Gathered:
    """Pictures until there are enough; nothing is left over for the next pass.

    Args:
        count: how many are enough; None: every batch is, and there is never enough.

    Attributes:
        wants: whether further ones are taken.
    """

    def __init__(self, count: int | None) -> None:
        self.count = count
        self.wants = False
        self._parts: list[Tensor] = []

    def open(self) -> None:
        """Begin to gather; what was there is forgotten."""
        self.wants, self._parts = True, []

    def fits(self, pictures: Tensor) -> bool:
        """Tell whether pictures are of the size of those that are there."""
        return all(part.shape[1:] == pictures.shape[1:] for part in self._parts)

    def add(self, pictures: Tensor) -> Tensor | None:
        """Take pictures (batch, ...) in; return those that are ready, if any."""
        if self.count is None:
            return pictures
        self._parts.append(pictures[: self.count - sum(map(len, self._parts))])
        return self.close() if sum(map(len, self._parts)) >= self.count else None

    def close(self) -> Tensor | None:
        """Take no more; return those that are there, if any."""
        left = torch.cat(self._parts) if self._parts else None
        self.wants, self._parts = False, []
        return left

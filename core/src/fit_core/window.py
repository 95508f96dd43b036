"""The window: the batches whose gradients are added up for one step.

The gradient of a step is `grad(sum of w * loss / sum of w)` over its window, w the weight of each batch. A window of one
batch needs no scaling at all, so that it stays equal to the plain loop to the bit.
"""

from __future__ import annotations

from torch import Tensor


class Window:
    """Counts the batches of a window and scales their losses.

    Args:
        accumulate: how many batches make a window.
    """

    __slots__ = ("accumulate", "batches")

    def __init__(self, accumulate: int = 1) -> None:
        self.accumulate = accumulate
        self.batches = 0

    def scale(self, loss: Tensor) -> Tensor:
        """Return what `backward` is given for a batch with this loss."""
        return loss

    def add(self) -> None:
        """Count a batch whose gradients are in."""
        self.batches += 1

    @property
    def full(self) -> bool:
        """Whether it is time to step."""
        return self.batches >= self.accumulate

    def clear(self) -> None:
        """Begin anew, after a step or a skipped one."""
        self.batches = 0

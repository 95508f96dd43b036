"""Curves in characters: each has a letter of its own, so that they are told apart without colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from string import ascii_letters

Points = Sequence[tuple[float, float]]
SEVERAL = "*"
"""Where curves cross."""
LETTERS = ascii_letters


@dataclass(frozen=True)
class Canvas:
    """A drawing.

    Attributes:
        rows: its lines from the top, each with a letter, `SEVERAL` or a blank in every place.
        left: what stands at the left of each line.
        below: the line under it, with the numbers of the horizontal axis.
    """

    rows: list[str]
    left: list[str]
    below: str

    def lines(self) -> list[str]:
        """Return the drawing with its axes."""
        margin = len(self.left[0])
        drawn = [f"{label} |{row}".rstrip() for label, row in zip(self.left, self.rows, strict=True)]
        return [*drawn, f"{' ' * margin} +{'-' * len(self.rows[0])}", f"{' ' * margin}  {self.below}".rstrip()]


def canvas(curves: Sequence[Points], width: int, height: int, log: bool = False) -> Canvas:
    """Draw curves over each other; what is not finite leaves a gap.

    Args:
        curves: points of each, by their place on the horizontal axis.
        width: characters of a line, with the numbers at the left.
        height: lines, without those of the horizontal axis.
        log: draw the logarithms of values; those that have none leave a gap.
    """
    curves = [logarithms(curve) for curve in curves] if log else curves
    points = [point for curve in curves for point in curve if math.isfinite(point[1])]
    low, high = widened(min((y for _, y in points), default=0.0), max((y for _, y in points), default=1.0))
    first = min((x for x, _ in points), default=0.0)
    last = max([first + 1, *(x for x, _ in points)])
    values = [high + (low - high) * i / (height - 1) for i in range(height)]
    labels = [f"{10**value if log else value:.3g}" if i % 4 == 0 else "" for i, value in enumerate(values)]
    margin = max(map(len, labels))
    columns = max(width - margin - 2, 10)
    grid = [[" "] * columns for _ in range(height)]
    for curve, letter in zip(curves, letters(len(curves)), strict=True):
        across = [(x - first) / (last - first) * (columns - 1) for x, _ in curve]
        down = [(high - y) / (high - low) * (height - 1) for _, y in curve]
        for column, row in {(round(x), round(y)) for x, y in traced(list(zip(across, down, strict=True)))}:
            grid[row][column] = letter if grid[row][column] == " " else SEVERAL
    ends = (f"{first:g}", f"{last:g}")
    below = f"{ends[0]}{'epoch':^{columns - len(ends[0]) - len(ends[1])}}{ends[1]}"
    return Canvas(["".join(row) for row in grid], [f"{label:>{margin}}" for label in labels], below)


def logarithms(points: Points) -> list[tuple[float, float]]:
    """Return the common logarithms of values."""
    return [(x, math.log10(y) if y > 0 else math.nan) for x, y in points]


def letters(count: int) -> list[str]:
    """Return a letter for each curve; they come again if there are more curves than letters."""
    return [LETTERS[i % len(LETTERS)] for i in range(count)]


def widened(low: float, high: float) -> tuple[float, float]:
    """Return two ends that differ."""
    return (low, high) if high > low else (low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2)


def traced(points: Points) -> list[tuple[float, float]]:
    """Return finite points with those between each and the next, so near that no place is left out."""
    found = [point for point in points if math.isfinite(point[1])]
    for (x, y), (other_x, other_y) in pairwise(points):
        if math.isfinite(y) and math.isfinite(other_y):
            count = max(math.ceil(max(abs(other_x - x), abs(other_y - y))), 1)
            found += [(x + (other_x - x) * i / count, y + (other_y - y) * i / count) for i in range(1, count)]
    return found

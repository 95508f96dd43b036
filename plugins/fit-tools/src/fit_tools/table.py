"""Tables as wide as there is room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GAP = "  "
WIDEST = 40
"""Characters of a cell, at most."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its heading.
        cells: one per line.
        rank: of columns that do not fit, those of a high rank are left out first.
        from_right: keep the end of cells that are too long.
    """

    title: str
    cells: Sequence[str]
    rank: int
    from_right: bool = False

    @property
    def width(self) -> int:
        """How many characters it takes."""
        return max(map(len, (self.title, *self.cells)))


def fitting(columns: Sequence[Column], width: int | None) -> tuple[list[Column], list[str]]:
    """Return the columns that fit, and the titles of those that do not.

    Args:
        columns: in their order on the screen; that of the lowest rank is always there, and cut if need be.
        width: how many characters a line may have; None if any number.
    """
    if width is None:
        return list(columns), []
    cut = [cut_to(column, WIDEST) for column in columns]
    taken: dict[int, Column] = {}
    room = width
    for i, column in sorted(enumerate(cut), key=lambda pair: pair[1].rank):
        if not taken:
            column = cut_to(column, max(width * 6 // 10, len(column.title)))
        if column.width <= room:
            taken[i] = column
            room -= column.width + len(GAP)
    return [taken[i] for i in sorted(taken)], [column.title for i, column in enumerate(columns) if i not in taken]


def cut_to(column: Column, width: int) -> Column:
    """Return a column whose cells have at most so many characters."""
    cells = [cell if len(cell) <= width else shortened(cell, width, column.from_right) for cell in column.cells]
    return Column(column.title, cells, column.rank, column.from_right)


def shortened(text: str, width: int, from_right: bool) -> str:
    """Cut text, and mark where."""
    return "..." + text[len(text) - width + 3 :] if from_right else text[: width - 3] + "..."


def lines_of(columns: Sequence[Column]) -> list[str]:
    """Return the heading and the lines of a table."""
    widths = [column.width for column in columns]
    rows = zip(*((column.title, *column.cells) for column in columns), strict=True)
    return [joined(row, widths) for row in rows]


def joined(cells: Iterable[str], widths: Iterable[int]) -> str:
    """Return one line."""
    return GAP.join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()

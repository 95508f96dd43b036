"""Lines of a table whose rows come one by one."""

from __future__ import annotations

from collections.abc import Mapping

LEAST = 8
"""Characters of the narrowest column."""


class Table:
    """Formats rows as they come; a heading goes before the first, and again when the columns change."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()

    def lines(self, cells: Mapping[str, str]) -> list[str]:
        """Return the lines of one row, a heading before it if one is due.

        Args:
            cells: formatted values by column.
        """
        widths = [max(len(name), LEAST) for name in cells]
        heading = []
        if tuple(cells) != self._names:
            self._names = tuple(cells)
            heading = ["  ".join(f"{name:>{width}}" for name, width in zip(cells, widths, strict=True))]
        return [*heading, "  ".join(f"{cell:>{width}}" for cell, width in zip(cells.values(), widths, strict=True))]

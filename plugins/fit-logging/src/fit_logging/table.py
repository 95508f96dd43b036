"""Lines of a table whose rows come one by one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

LEAST = 8
"""Characters of the narrowest column."""
GAP = "  "
BEST = "*"
"""Follows a value that is the best so far."""


class Table:
    """Formats rows as they come; a heading goes before the first, and again when the columns change.

    Args:
        width: how many characters a line may have; where a row does not fit, each of its values gets its name, on as many lines
            as it takes. None: any number.
    """

    def __init__(self, width: int | None = None) -> None:
        self.width = width
        self._names: tuple[str, ...] = ()

    def lines(self, cells: Mapping[str, str], best: Collection[str] = ()) -> list[str]:
        """Return the lines of one row, a heading before it if one is due.

        Args:
            cells: formatted values by column.
            best: the columns whose value is the best so far.
        """
        widths = {name: max(len(name), LEAST) for name in cells}
        if self.width is not None and sum(widths.values()) + len(GAP) * len(cells) > self.width:
            return pairs(cells, best, self.width)
        heading = []
        if tuple(cells) != self._names:
            self._names = tuple(cells)
            heading = [row({name: name for name in cells}, widths, ())]
        return [*heading, row(cells, widths, best)]


def row(cells: Mapping[str, str], widths: Mapping[str, int], best: Collection[str]) -> str:
    """Return one line; the mark of a best value stands in the gap after it."""
    line = "".join(f"{cell:>{widths[name]}}{BEST if name in best else ' '} " for name, cell in cells.items())
    return line.rstrip()


def pairs(cells: Mapping[str, str], best: Collection[str], width: int) -> list[str]:
    """Return names with values, on lines of at most so many characters where that is possible; the first cell goes without name."""
    first, *others = cells.items()
    words = [first[1], *(f"{name} {cell}{BEST if name in best else ''}" for name, cell in others)]
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(GAP) + len(word) > width:
            lines.append(" " * len(words[0]))
        lines[-1] += GAP + word
    return lines

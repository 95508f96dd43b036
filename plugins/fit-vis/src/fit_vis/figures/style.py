"""How figures look: no pyplot, nothing global."""

from __future__ import annotations

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fit_vis.palette import LINES, shortened

DASHES = ("-", "--", ":", "-.")
GREY = "#666666"
Place = Literal["best", "lower left", "lower right"]


def colour(index: int) -> str:
    """Return a colour for the curve of this number."""
    return LINES[index % len(LINES)]


def dash(index: int) -> str:
    """Return a dash for the curve of this number: the first eight are solid, so that no two look alike."""
    return DASHES[index // len(LINES) % len(DASHES)]


def new_figure(panels: int = 1, columns: int = 3, size: tuple[float, float] = (4.4, 3.2)) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels in a grid.

    Args:
        panels: how many.
        columns: how many in a row at most.
        size: of a panel: width and height in inches.
    """
    columns = min(panels, columns)
    rows = -(-panels // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    axes: list[Axes] = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for each in axes:
        each.grid(visible=True, color="#DDDDDD", linewidth=0.6)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def label(axes: Axes, title: str, x: str, y: str) -> None:
    """Say what axes show."""
    axes.set_title(plain(title), fontsize=11)
    axes.set_xlabel(plain(x), fontsize=9)
    axes.set_ylabel(plain(y), fontsize=9)
    axes.tick_params(labelsize=8)


def plain(text: str, most: int = 80) -> str:
    """Return text that is shown as it is, without its middle if it is too long: a dollar sign begins no formula."""
    return shortened(text, most).replace("$", r"\$")


def legend(axes: Axes, place: Place = "best") -> None:
    """Show a legend."""
    axes.legend(fontsize=8, frameon=True, framealpha=0.85, edgecolor="none", loc=place)

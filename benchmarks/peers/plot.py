"""The picture of what compare.py has measured: a panel for each workload, a bar for each contestant, from the plain loop's 1.

python -m peers.plot draws it anew, once this file has changed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from xml.sax.saxutils import escape

from peers import NAMES, WORKLOADS

LABELS, PANEL, ROW, TOP, MARGIN = 240, 180, 24, 62, 16
"""Widths of the labels and of a panel, the height of a row, where rows begin, what is left free around all (pixels)."""
TICKS = (0.5, 1, 2, 4, 8)
LEAST, MOST = 0.45, 12
COLOURS = {"fit": "#c8792b", "plain": "#666", "sliced": "#666"}
OTHERS = "#3b6ea5"


def draw() -> None:
    """Draw the figures of results/compare.json into docs/compare.svg."""
    root = Path(__file__).parent.parent.parent
    figures = json.loads((root / "benchmarks" / "results" / "compare.json").read_text())["figures"]
    (root / "docs" / "compare.svg").write_text(drawn(figures))


def drawn(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Return the picture as SVG, on white.

    Args:
        figures: of each workload and contestant; `ratio` is drawn, on a logarithmic axis.
    """
    width, height = LABELS + len(WORKLOADS) * PANEL, TOP + len(NAMES) * ROW + 2 * MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    title = text(MARGIN, 24, "Time per step as a ratio to the plain loop, on a logarithmic axis; left of 1 is faster", weight="bold")
    labels = (text(MARGIN, middle(row), name) for row, name in enumerate(NAMES.values()))
    panels = (panel(number, title, figures[name]) for number, (name, title) in enumerate(WORKLOADS.items()))
    parts = [
        f'{head} font-family="Helvetica, Arial, sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    return "\n".join([*parts, title, *labels, *chain.from_iterable(panels), "</svg>\n"])


def panel(number: int, title: str, figures: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Draw one workload."""
    left, bottom = LABELS + number * PANEL, TOP + len(NAMES) * ROW
    yield text(place(left, 1), TOP - 12, title, anchor="middle", weight="bold")
    for tick in TICKS:
        x = place(left, tick)
        yield f'<path d="M{x} {TOP} V{bottom}" stroke="{"#666" if tick == 1 else "#ddd"}"/>'
        yield text(x, bottom + 16, f"{tick:g}", anchor="middle", size=11)
    for row, name in enumerate(NAMES):
        if name in figures:
            yield from bar(left, row, figures[name]["ratio"], COLOURS.get(name, OTHERS))


def bar(left: float, row: int, ratio: float, colour: str) -> Iterator[str]:
    """Draw a bar from 1, and the number to the right of it."""
    start, end = sorted((place(left, 1), place(left, ratio)))
    yield f'<rect x="{start}" y="{TOP + row * ROW + 5}" width="{max(1, round(end - start, 1))}" height="{ROW - 10}" fill="{colour}"/>'
    yield text(end + 5, middle(row), f"{ratio:.2f}", size=12)


def place(left: float, ratio: float) -> float:
    """Return where a ratio stands in a panel, from the left of the picture."""
    part = math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return round(left + part * (PANEL - 44), 1)


def middle(row: int) -> float:
    """Return the base line of a row's text."""
    return TOP + row * ROW + ROW / 2 + 4.5


def text(x: float, y: float, words: str, anchor: str = "start", size: int = 13, weight: str = "normal") -> str:
    """Write words."""
    style = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    return f'<text x="{x}" y="{y}" {style} fill="#333">{escape(words)}</text>'


if __name__ == "__main__":
    draw()

"""Colours that everybody can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
"""For kinds of things, the most different ones first (Okabe and Ito 2008, https://jfly.uni-koeln.de/color)."""
LINES = (*(colour for colour in CATEGORIES if colour != "#F0E442"), "#999999")
"""For thin lines on white, on which yellow is hard to see: grey is in its place."""
MARKERS = "osD^vPX*"
"""Shapes that go with the colours when there are more kinds than colours."""
MAP = "viridis"
"""For numbers: matplotlib's name of a map that gets evenly lighter."""
MISSING = "#BBBBBB"
"""For numbers that are not finite."""
ACCENT = CATEGORIES[0]
"""For the only kind that there is."""


def style(number: int) -> tuple[str, str]:
    """Return colour and marker of a kind: 64 different ones, then they come again."""
    colours = len(CATEGORIES)
    return CATEGORIES[number % colours], MARKERS[number // colours % len(MARKERS)]


def ink(red: float, green: float, blue: float) -> str:
    """Return black or white: what is easier to read on a colour (relative luminance and contrast of WCAG 2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def rgb(colour: str) -> tuple[int, int, int]:
    """Return `#RRGGBB` as numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def shortened(text: str, most: int) -> str:
    """Return a text with so many characters at most, without its middle if it has more: names often differ at their end."""
    end = most // 2
    return text if len(text) <= most else f"{text[: most - end - 1]}…{text[-end:]}"


def thinned(names: Sequence[str], most: int) -> tuple[list[int], list[str]]:
    """Return places and names of so many names at most, evenly spread and with the first."""
    apart = max(1, -(-len(names) // max(1, most)))
    return list(range(0, len(names), apart)), list(names[::apart])

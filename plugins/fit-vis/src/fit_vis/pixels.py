"""Pictures as arrays: magnified so that each pixel can be seen, in a grid, with captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fit_vis.palette import shortened

Pixels = NDArray[np.uint8]
"""(height, width, 3), or with more dimensions in front."""
GAP = 2
"""White pixels between pictures."""
LETTERS = 11
"""Height of captions in pixels."""
LONGEST = 28
"""Characters of a line of a caption."""


def as_bytes(pixels: Tensor) -> Pixels:
    """Return pictures as they are shown.

    Args:
        pixels: (..., channels, height, width), one or three channels, 0 to 1 (floats; what is beyond is cut off, NaN is black) or
            0 to 255 (uint8).

    Returns:
        (..., height, width, 3).
    """
    values = pixels.detach().cpu()
    if values.is_floating_point():
        values = (values.float().nan_to_num(0.0).clamp(0, 1) * 255).round()
    channels_last = values.movedim(-3, -1).numpy().astype(np.uint8)
    return np.broadcast_to(channels_last, (*channels_last.shape[:-1], 3)).copy()


def magnification(height: int, width: int) -> int:
    """Return how many pixels one pixel becomes: small pictures get about 64 pixels wide or high, and narrow ones not too thin."""
    longest, shortest = max(height, width), min(height, width)
    return max(64 // longest, min(-(-8 // shortest), 2048 // longest), 1)


def magnified(pictures: Pixels, times: int) -> Pixels:
    """Return pictures (..., height, width, 3) with every pixel repeated."""
    return pictures.repeat(times, axis=-3).repeat(times, axis=-2)


def grid(pictures: Pixels, captions: Sequence[str] = (), columns: int | None = None) -> Pixels:
    """Lay pictures out in rows, each with its caption below.

    Args:
        pictures: (count, height, width, 3), one at least.
        captions: one for each, or none; lines that are too long are cut.
        columns: how many in a row; None: so many that the whole is about as high as wide.
    """
    count, height, width, _ = pictures.shape
    lines = [[shortened(line, LONGEST) for line in caption.split("\n")] for caption in captions]
    cell_width = math.ceil(max([width, *(font().getlength(line) + 4 for caption in lines for line in caption)]))
    cell_height = height + max(map(len, lines), default=0) * (LETTERS + 4)
    columns = min(count, columns or max(1, round(math.sqrt(count * cell_height / cell_width))))
    rows = math.ceil(count / columns)
    sheet = Image.new("RGB", (columns * (cell_width + GAP) + GAP, rows * (cell_height + GAP) + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number in range(count):
        left = GAP + number % columns * (cell_width + GAP)
        top = GAP + number // columns * (cell_height + GAP)
        sheet.paste(Image.fromarray(pictures[number]), (left + (cell_width - width) // 2, top))
        for line, text in enumerate(lines[number] if lines else ()):
            at = (left + cell_width / 2, top + height + 2 + line * (LETTERS + 4))
            pen.text(at, text, fill="black", font=font(), anchor="ma")
    return np.asarray(sheet)


@cache
def font() -> ImageFont.FreeTypeFont:
    """Return the font of captions, which matplotlib brings."""
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", LETTERS)


def write_png(path: Path, picture: Pixels) -> None:
    """Write a picture (height, width, 3) as a PNG."""
    Image.fromarray(picture).save(path, format="PNG")

"""Every item as a picture: drawn off screen, without pyplot, so that nothing global changes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image as Picture
from torch import Tensor

from fit_core import items
from fit_vis.numbers import binned, classes, floats, principal
from fit_vis.palette import ACCENT, MAP, MISSING, ink, shortened, style, thinned
from fit_vis.pixels import Pixels, as_bytes, grid, magnification, magnified

LETTER = 0.075
"""Width of a letter of labels in inches."""
LINE = 0.16
"""Height of a line of labels in inches."""
LONGEST = 24
"""Characters of a label."""
LARGEST = 9.0
"""Inches of a matrix, at most."""
CLASSES = 24
"""Most classes that a legend names."""


def picture(item: items.Item) -> Pixels | None:
    """Return a picture of an item, (height, width, 3); None of words and tables, which are no pictures."""
    match item:
        case items.Image():
            return thumbnails(item.pixels[None], [item.caption] if item.caption else [], None)
        case items.Images():
            return thumbnails(item.pixels, item.captions, item.columns)
        case items.Text() | items.Table():
            return None
        case items.Figure():
            return rasterised(item.figure)
        case items.Histogram():
            return rasterised(histogram(item.values, item.bins))
        case items.Heatmap():
            return rasterised(heatmap(item))
        case items.Scatter():
            return rasterised(scatter(item.points, item.labels, item.axis_titles))
        case items.Embedding():
            return rasterised(embedding(item.vectors, item.labels))


def thumbnails(pixels: Tensor, captions: Sequence[str], columns: int | None) -> Pixels:
    """Return pictures in a grid, small ones magnified.

    Args:
        pixels: (count, channels, height, width).
        captions: one for each, or none.
        columns: in a row; None: about a square.
    """
    times = magnification(*pixels.shape[-2:])
    return grid(magnified(as_bytes(pixels), times), captions, columns)


def rasterised(figure: Figure) -> Pixels:
    """Return the pixels of a figure as it is saved, on white; the figure and its canvas stay as they are."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing")  # a letter that the font lacks is a box, and no reason to complain
        figure.savefig(file, format="png", facecolor="white", transparent=False)
    return np.asarray(Picture.open(file).convert("RGB"))


def label(text: str) -> str:
    """Return a name as it is written beside a figure: on one line, not too long, and no formula."""
    return shortened(" ".join(text.split()), LONGEST).replace("$", r"\$")


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of so many inches with one pair of axes, whose labels find room by themselves."""
    figure = Figure((width, height), dpi=100, layout="constrained")
    return figure, figure.add_subplot()


def histogram(values: Tensor, bins: int) -> Figure:
    """Draw how often values lie where. What is not finite is left out, and counted in the title."""
    counts, edges, left_out = binned(values, bins)
    figure, axes = canvas(5, 3.2)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=ACCENT, edgecolor="white", linewidth=0.3)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, max(counts.max() * 1.05, 1))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_ylabel("values")
    axes.spines[["top", "right"]].set_visible(False)
    if not values.numel():
        axes.set_title("no values", fontsize=9, loc="left")
    elif left_out:
        axes.set_title(f"{left_out} of {values.numel()} values are not finite", fontsize=9, loc="left")
    return figure


def heatmap(item: items.Heatmap) -> Figure:
    """Draw a matrix: its first row is above, and numbers stand in the cells as far as there is room. What is not finite is grey."""
    values = floats(item.values)
    rows, columns = values.shape
    texts = cell_texts(values)
    longest = max(map(len, texts.ravel()), default=0)
    row_names = [label(name) for name in item.row_names]
    column_names = [label(name) for name in item.column_names]
    longest_name = max(map(len, column_names), default=1) * LETTER
    flat = (longest_name + LETTER) * columns <= LARGEST / 2
    cell = max(0.42, (longest + 1) * LETTER, longest_name + LETTER if flat else 0)
    width, height = max(min(columns * cell, LARGEST), 1.5), max(min(rows * 0.36, LARGEST), 1.0)
    cell = width / columns
    upright = bool(column_names) and longest_name > cell
    left = max(map(len, row_names), default=3) * LETTER + 0.5
    below = (longest_name if upright else LINE) + 0.4
    figure, axes = canvas(left + width + 1.0, below + height + 0.2)
    colours = mpl.colormaps[MAP].with_extremes(bad=MISSING)
    finite = values[np.isfinite(values)]
    norm = Normalize(finite.min(), finite.max()) if finite.size else Normalize(0, 1)
    shown = axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, aspect="auto", interpolation="nearest")
    figure.colorbar(shown, ax=axes, pad=0.02, aspect=max(height / 0.2, 5))
    for put, count, names, room in (
        (axes.set_yticks, rows, row_names, height / LINE),
        (axes.set_xticks, columns, column_names, width / (LINE if upright else max(cell, 4 * LETTER))),
    ):
        places, written = thinned(names or [str(number) for number in range(count)], int(room))
        put(places, written)
    axes.tick_params(axis="both", labelsize=8, length=2)
    axes.tick_params(axis="x", rotation=90 if upright else 0)
    axes.set_xlabel(label(item.column_title))
    axes.set_ylabel(label(item.row_title))
    if cell >= (longest + 0.5) * LETTER and height / rows >= LINE and values.size <= 900:
        write_cells(axes, values, texts, colours(norm(np.ma.masked_invalid(values))))
    return figure


def cell_texts(values: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return what stands in each cell: whole numbers as they are, others with three digits."""
    finite = values[np.isfinite(values)]
    whole = bool((finite == finite.round()).all() and (np.abs(finite) < 1e6).all())
    return np.array([[f"{value:.0f}" if whole else f"{value:.3g}" for value in row] for row in values], dtype=np.str_)


def write_cells(axes: Axes, values: NDArray[np.float64], texts: NDArray[np.str_], colours: NDArray[np.float64]) -> None:
    """Write a number into each cell, in black or white."""
    for (row, column), text in np.ndenumerate(texts):
        red, green, blue, _ = colours[row, column]
        dark = ink(red, green, blue) if np.isfinite(values[row, column]) else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=dark)


def scatter(points: Tensor, labels: Tensor | Sequence[str] | None, axis_names: Sequence[str] = ()) -> Figure:
    """Draw points in the plane or in space, with a colour and a marker for each class; points that are not finite are left out.

    Args:
        points: (count, 2) or (count, 3).
        labels: (count,) or None. Of more classes than a legend can hold the first ones are named.
        axis_names: one for each dimension, or none.
    """
    places = floats(points)
    numbers, names = classes(labels, len(places))
    keep = np.isfinite(places).all(axis=1)
    figure = Figure((6.0 if len(names) == 1 else 7.2, 5.0), dpi=100, layout="constrained")
    axes = figure.add_subplot(projection="3d" if places.shape[1] == 3 else None)
    size = float(np.clip(4000 / max(len(places), 1), 4, 36))
    for number, name in enumerate(names):
        own = places[keep & (numbers == number)]
        colour, marker = style(number)
        edge = 0.4 if size >= 10 else 0.0
        named = label(name) if name and number < CLASSES else None
        looks: dict[str, Any] = {"marker": marker, "c": colour, "s": size, "edgecolors": "white", "linewidths": edge, "alpha": 0.85}
        axes.scatter(*own.T, label=named, **looks)
    if len(names) > 1:
        title = f"{CLASSES} of {len(names)} classes" if len(names) > CLASSES else None
        figure.legend(loc="outside right upper", fontsize=8, frameon=False, markerscale=max(1, (20 / size) ** 0.5), title=title)
    for put, name in zip((axes.set_xlabel, axes.set_ylabel, getattr(axes, "set_zlabel", None)), axis_names, strict=False):
        assert put is not None
        put(name)
    if not keep.all():
        axes.set_title(f"{(~keep).sum()} of {len(places)} points are not finite", fontsize=9, loc="left")
    return figure


def embedding(vectors: Tensor, labels: Tensor | Sequence[str] | None) -> Figure:
    """Draw vectors along their first two principal components; those that are not finite are left out."""
    return scatter(flattened(vectors), labels, ("first principal component", "second principal component"))


def flattened(vectors: Tensor) -> Tensor:
    """Return where vectors (count, dimensions) lie in the plane of their first two principal components; NaN where one is not finite."""
    whole = torch.as_tensor(np.isfinite(floats(vectors)).all(axis=1))
    places = torch.full((len(vectors), 2), float("nan"), dtype=torch.float64)
    if whole.any():
        places[whole] = principal(vectors.detach().cpu()[whole])
    return places

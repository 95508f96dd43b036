"""Things to look at: plain data that a plugin gives to `trainer.show`, and a sink turns into pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Image:
    """One picture.

    Attributes:
        pixels: (channels, height, width), one or three channels, 0 to 1 (floats) or 0 to 255 (uint8).
        caption: what it shows.
    """

    pixels: Tensor
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Images:
    """Several pictures in a grid.

    Attributes:
        pixels: (count, channels, height, width), as for `Image`.
        captions: one for each, or none.
        columns: of the grid; None leaves it to the sink.
    """

    pixels: Tensor
    captions: Sequence[str] = ()
    columns: int | None = None


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure of a plotting library.

    Attributes:
        figure: a matplotlib figure.
    """

    figure: Any


@dataclass(frozen=True, eq=False)
class Histogram:
    """How values are distributed.

    Attributes:
        values: any shape.
        bins: how many.
    """

    values: Tensor
    bins: int = 64


@dataclass(frozen=True, eq=False)
class Heatmap:
    """A matrix in colours.

    Attributes:
        values: (rows, columns).
        row_names: one for each row, or none.
        column_names: one for each column, or none.
        row_title: what the rows are.
        column_title: what the columns are.
    """

    values: Tensor
    row_names: Sequence[str] = ()
    column_names: Sequence[str] = ()
    row_title: str = ""
    column_title: str = ""


@dataclass(frozen=True, eq=False)
class Scatter:
    """Points in the plane or in space.

    Attributes:
        points: (count, 2) or (count, 3).
        labels: (count,) class of each point, or None.
        axis_titles: what each dimension is, or none.
    """

    points: Tensor
    labels: Tensor | Sequence[str] | None = None
    axis_titles: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Text:
    """Words, in Markdown.

    Attributes:
        text: what to show.
    """

    text: str


@dataclass(frozen=True, eq=False)
class Table:
    """Rows and columns.

    Attributes:
        columns: their names.
        rows: values in the order of the columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors to be looked at in a projector.

    Attributes:
        vectors: (count, dimensions).
        labels: one for each, or None.
        pictures: (count, channels, height, width) thumbnails, or None.
    """

    vectors: Tensor
    labels: Tensor | Sequence[str] | None = None
    pictures: Tensor | None = None


Item = Image | Images | Figure | Histogram | Heatmap | Scatter | Text | Table | Embedding

"""What can be shown, and written: items whose parts fit together, and folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from fit_core import FitError, items


def check(name: str, item: items.Item) -> None:
    """Refuse an item whose parts don't fit together, before any sink has taken half of it.

    Raises:
        FitError: the message names the item and says what it should be.
    """
    wrong = _wrong(item)
    if wrong is not None:
        raise FitError(f"cannot show {name!r}: {wrong}")


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Say in one line that a folder cannot be written to.

    Raises:
        FitError: it is none, it is somebody else's, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise FitError(f"cannot write to {folder}: {error.strerror or error}; choose another folder, or make room") from error


def _wrong(item: items.Item) -> str | None:
    match item:
        case items.Image(pixels):
            return _pixels(pixels, 3)
        case items.Images(pixels, captions, columns):
            return (
                _pixels(pixels, 4) or _count("captions", captions, len(pixels)) or ((columns == 0 and "columns must be at least 1") or None)
            )
        case items.Figure(figure):
            known = hasattr(figure, "savefig")
            return None if known else f"figure must be a matplotlib figure, not {type(figure).__name__}; figures of others can't be drawn"
        case items.Histogram(_, bins):
            return None if bins > 0 else f"bins must be at least 1, not {bins}"
        case items.Heatmap(values, row_names, column_names):
            if values.ndim != 2 or not values.numel():
                return f"values must be (rows, columns), not {_shape(values)}"
            return _count("row_names", row_names, values.shape[0]) or _count("column_names", column_names, values.shape[1])
        case items.Scatter(points, labels, titles):
            if points.ndim != 2 or points.shape[1] not in (2, 3):
                return f"points must be (count, 2) or (count, 3), not {_shape(points)}"
            return _count("labels", labels, len(points)) or _count("axis_titles", titles, points.shape[1])
        case items.Table(columns, rows):
            ragged = next((number for number, row in enumerate(rows) if len(row) != len(columns)), None)
            return None if ragged is None else f"row {ragged} has {len(rows[ragged])} values for {len(columns)} columns"
        case items.Embedding(vectors, labels, pictures):
            if vectors.ndim != 2 or not vectors.numel():
                return f"vectors must be (count, dimensions), not {_shape(vectors)}"
            odd = None if pictures is None else _pixels(pictures, 4) or _count("pictures", pictures, len(vectors))
            return _count("labels", labels, len(vectors)) or odd
        case items.Text():
            return None


def _pixels(pixels: Tensor, dimensions: int) -> str | None:
    if pixels.ndim == dimensions and pixels.shape[-3] in (1, 3) and pixels.numel():
        return None
    wanted = "(channels, height, width)" if dimensions == 3 else "(count, channels, height, width)"
    return f"pixels must be {wanted} with 1 or 3 channels, not {_shape(pixels)}"


def _count(what: str, values: Tensor | Sequence[str] | None, count: int) -> str | None:
    """Return what is wrong with values of which there must be as many as things, or none."""
    given = 0 if values is None else len(values)
    return f"there are {given} {what} for {count} of them" if given not in (0, count) else None


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))

"""What a picture cannot say exactly, as plain values for JSON."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from fit_core import items
from fit_vis.numbers import binned


def exact(item: items.Item) -> dict[str, Any] | None:
    """Return the numbers and names of an item; None if its picture, or its text, has all of it. Numbers that are not finite are text."""
    match item:
        case items.Image(caption=caption) if caption:
            return {"caption": caption}
        case items.Images(captions=captions) if captions:
            return {"captions": list(captions)}
        case items.Histogram():
            counts, edges, left_out = binned(item.values, item.bins)
            return {"counts": counts.tolist(), "edges": edges.tolist(), "not_finite": left_out}
        case items.Heatmap():
            return {
                "values": plain(item.values),
                "row_names": list(item.row_names),
                "column_names": list(item.column_names),
                "row_title": item.row_title,
                "column_title": item.column_title,
            }
        case items.Scatter():
            return {"points": plain(item.points), "labels": plain(item.labels), "axis_titles": list(item.axis_titles)}
        case items.Table():
            return {"columns": list(item.columns), "rows": plain(item.rows)}
        case _:
            return None


def plain(value: Any) -> Any:
    """Return a value that JSON can hold: tensors as lists of numbers, what is unknown as text."""
    if isinstance(value, Tensor):
        return plain(value.detach().cpu().tolist())
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)

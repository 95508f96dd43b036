"""Items in TensorBoard's form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.proto.summary_pb2 import HistogramProto, Summary
from torch import Tensor

from fit_core import items
from fit_vis.drawing import picture
from fit_vis.numbers import binned, floats

HParam = bool | int | float | str


def scalars(values: Mapping[str, float]) -> Summary:
    """Return numbers by their tags."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def shown(tag: str, item: items.Item) -> Summary:
    """Return an item: a histogram, words, a table in Markdown, or a picture."""
    match item:
        case items.Histogram():
            return Summary(value=[Summary.Value(tag=tag, histo=histogram(item.values, item.bins))])
        case items.Text():
            return summary.text(tag, item.text)
        case items.Table():
            return summary.text(tag, markdown(item.columns, item.rows))
        case _:
            return summary.image(tag, picture(item), dataformats="HWC")


def histogram(values: Tensor, bins: int) -> HistogramProto:
    """Return how often values lie where; those that are not finite are left out."""
    counts, edges, _ = binned(values, bins)
    found = floats(values).ravel()
    finite = found[np.isfinite(found)]
    return HistogramProto(
        min=finite.min(initial=edges[-1]),
        max=finite.max(initial=edges[0]),
        num=finite.size,
        sum=finite.sum(),
        sum_squares=finite @ finite,
        bucket_limit=edges,  # upper ends: the first bucket, which is empty, gives the lower end of the second
        bucket=[0, *counts],
    )


def markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell(value) for value in line)} |" for line in lines)


def cell(value: Any) -> str:
    """Return what stands in a cell: numbers with six digits, and nothing that would end it."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value.item() if isinstance(value, Tensor) and value.numel() == 1 else value)
    return text.replace("|", "\\|").replace("\n", " ")


def session_start(values: Mapping[str, object]) -> Summary:
    """Return hyper-parameters: other types as text, None not at all. TensorBoard takes the metrics of a run from its scalars."""
    said = {name: each if isinstance(each, HParam | None) else str(each) for name, each in values.items()}
    return summary.hparams(said, {})[1]


def session_end() -> Summary:
    """Return that the run with these hyper-parameters is over."""
    return summary.hparams({}, {})[2]

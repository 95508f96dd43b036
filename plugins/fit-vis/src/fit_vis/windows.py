"""Numbers and items as messages to Visdom, in the form that its own client gives them."""

from __future__ import annotations

import html
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from fit_core import FitError, items
from fit_vis.drawing import flattened, picture
from fit_vis.exact import plain
from fit_vis.numbers import Floats, binned, classes, floats
from fit_vis.outbox import Message
from fit_vis.palette import CATEGORIES, MISSING

if TYPE_CHECKING:
    from fit_core.log import LogEntry


Made = tuple[dict[str, Any], str]
"""What Visdom's client returns: a message and its end point."""


SMALLEST = 180
"""Pixels of the width of a window with a picture; smaller ones have no room for their name."""
BAR = 20
"""Pixels of the bar with the name."""


class Client(Protocol):
    """What is used of Visdom's client when it sends nothing: and none is logged."""

    def line(self, Y: Any, X: Any, *, win: str, name: str, opts: Any, update: str | None) -> Made: ...  # noqa: D102
    def scatter(self, X: Any, Y: Any, *, win: str, opts: Any) -> Made: ...  # noqa: D102
    def bar(self, X: Any, Y: Any, *, win: str, opts: Any) -> Made: ...  # noqa: D102
    def heatmap(self, X: Any, *, win: str, opts: Any) -> Made: ...  # noqa: D102
    def image(self, img: Any, *, win: str, opts: Any) -> Made: ...  # noqa: D102
    def text(self, text: str, *, win: str, opts: Any) -> Made: ...  # noqa: D102


class Windows:
    """Makes messages for one environment of Visdom.

    Args:
        env: its name.
        known: windows that are there already.

    Raises:
        FitError: Visdom's client is not installed.
    """

    def __init__(self, env: str, known: Iterable[str] = ()) -> None:
        self._client = formatter(env)
        self._known = set(known)

    def lines(self, entries: Iterable[LogEntry], prefixes: Sequence[str], every: int) -> list[Message]:
        """Return messages that lengthen lines by the numbers of some moments.

        A value of training, of validation and of the epoch are lines in one window. Each line gets one message.

        Args:
            entries: in their order.
            prefixes: of validation sets.
            every: of the numbers of steps those of each so many steps are taken; those of epochs and validations always.
        """
        points: dict[str, list[tuple[int, float]]] = {}
        for entry in entries:
            for name, value in entry.values.items():
                if name.startswith("epoch/") or entry.phase != "train" or entry.step % every == 0:
                    points.setdefault(name if entry.phase in ("train", "validate") else f"{entry.phase}/{name}", []).append(
                        (entry.step, value)
                    )
        return [turned(self._line(window_of(name, prefixes), name, np.asarray(found, dtype=float))) for name, found in points.items()]

    def _line(self, window: str, name: str, points: Floats) -> Made:
        """Return a message that lengthens a line by points (count, 2), or begins its window."""
        new = window not in self._known
        self._known.add(window)
        steps, values = points.T
        opts = looks(title=window, xlabel="step", showlegend=True)
        values = np.where(np.isfinite(values), values, np.nan)
        return self._client.line(values, steps, win=window, name=name, opts=opts, update=None if new else "append")

    def shown(self, name: str, title: str, item: items.Item) -> Message:
        """Return a message that puts an item into a window of its name, in the place of what was there."""
        self._known.discard(name)
        return turned(self._window(name, item, looks(title=title)))

    def _window(self, name: str, item: items.Item, opts: dict[str, Any]) -> Made:
        client = self._client
        match item:
            case items.Text(text):
                return client.text(f'<pre style="white-space: pre-wrap">{html.escape(text)}</pre>', win=name, opts=opts)
            case items.Table(columns, rows):
                return client.text(table(columns, rows), win=name, opts=opts)
            case items.Histogram(values, bins):
                counts, edges, _ = binned(values, max(bins, 2))
                return client.bar(counts, (edges[:-1] + edges[1:]) / 2, win=name, opts=opts | {"ylabel": "values"})
            case items.Heatmap():
                return self._heatmap(name, item, opts)
            case items.Scatter(points, labels, titles):
                return self._scatter(name, points, labels, opts | dict(zip(("xlabel", "ylabel", "zlabel"), titles, strict=False)))
            case items.Embedding(vectors, labels):
                axes = {"xlabel": "first principal component", "ylabel": "second principal component"}
                return self._scatter(name, flattened(vectors), labels, opts | axes)
            case _:
                pixels = picture(item)
                assert pixels is not None
                height, width, _ = pixels.shape
                times = max(1, -(-SMALLEST // width))
                return client.image(
                    pixels.transpose(2, 0, 1), win=name, opts=opts | {"width": width * times, "height": height * times + BAR}
                )

    def _heatmap(self, name: str, item: items.Heatmap, opts: dict[str, Any]) -> Made:
        values = floats(item.values)
        rows, columns = distinct(item.row_names), distinct(item.column_names)
        opts["layoutopts"]["plotly"]["yaxis"] = {"autorange": "reversed", "title": item.row_title, "automargin": True}
        opts["layoutopts"]["plotly"]["xaxis"] = {"title": item.column_title, "automargin": True}
        named = {key: names for key, names in (("rownames", rows), ("columnnames", columns)) if names}
        finite = np.where(np.isfinite(values), values, np.nan)
        return self._client.heatmap(finite, win=name, opts=opts | named | {"colormap": "Viridis", "nancolor": MISSING})

    def _scatter(self, name: str, points: Tensor, labels: Tensor | Sequence[str] | None, opts: dict[str, Any]) -> Made:
        places = floats(points)
        keep = np.isfinite(places).all(axis=1)
        numbers, names = classes(labels, len(places))
        if not keep.any():
            return self._client.text("no point is finite", win=name, opts=opts)
        if labels is not None:
            opts |= {"legend": names}
        return self._client.scatter(places[keep], numbers[keep] + 1, win=name, opts=opts | {"markersize": 5, "markerborderwidth": 0})


def formatter(env: str) -> Client:
    """Return Visdom's client, which sends nothing, and returns what it would have sent.

    Raises:
        FitError: it is not installed.
    """
    try:
        with warnings.catch_warnings():  # which filters its client sets for everybody when it is imported
            visdom = import_module("visdom")
    except ImportError as error:
        raise FitError(f"Visdom is not installed ({error}); try: pip install 'fit-vis[visdom]'") from error
    client: Client = visdom.Visdom(env=env, send=False, offline=True, log_to_filename="nothing is logged", use_incoming_socket=False)
    return client


def turned(made: Made) -> Message:
    """Return what the client made in the order of its own log."""
    message, endpoint = made
    return endpoint, message


def window_of(name: str, prefixes: Sequence[str]) -> str:
    """Return the window of a value: that of training and of validation have the same."""
    base = name.removeprefix("epoch/")
    found = next((prefix for prefix in prefixes if base.startswith(prefix)), "")
    return base.removeprefix(found) or base


def looks(**more: Any) -> dict[str, Any]:
    """Return options of a window: colours that everybody can tell apart, no title inside of the window besides its own, and others."""
    return {"margintop": 30, "layoutopts": {"plotly": {"colorway": list(CATEGORIES), "title": None}}, **more}


def distinct(names: Sequence[str]) -> list[str]:
    """Return names of which none comes twice: plotly would take two of one name for one place."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    return list(names) if len(seen) == len(names) else [f"{number} {name}" for number, name in enumerate(names)]


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table in HTML."""
    style = 'style="padding: 2px 8px; border-bottom: 1px solid #ddd; text-align: left"'
    head = "".join(f"<th {style}>{html.escape(name)}</th>" for name in columns)
    cells = ("".join(f"<td {style}>{html.escape(str(value))}</td>" for value in plain(list(row))) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in cells)}</table>"

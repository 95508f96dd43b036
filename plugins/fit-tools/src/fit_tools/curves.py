"""The curves of runs, for a terminal and as a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fit_core.errors import FitError, listed
from fit_tools.best import names_of
from fit_tools.canvas import SEVERAL, Points, canvas, letters
from fit_tools.differing import PLUGINS, SEED, differing
from fit_tools.found import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (0, 0, 0))
"""Okabe and Ito 2008, without the yellow that is hard to see on white: they differ for every kind of colour vision."""
STYLES = ("-", "--", ":", "-.")
"""Of lines, when the colours come again."""
MARKERS = "osD^vPX"


@dataclass(frozen=True)
class Curve:
    """A value of a run over its epochs.

    Attributes:
        label: which run.
        points: epoch and value.
    """

    label: str
    points: Points


def curves_of(runs: Sequence[Found], name: str) -> list[Curve]:
    """Return the curves of a value; runs that have none are left out.

    Raises:
        FitError: there is none at all.
    """
    points = {str(run.folder): [(row["epoch"], row[name]) for row in run.rows if name in row] for run in runs}
    found = {folder: each for folder, each in points.items() if any(math.isfinite(y) for _, y in each)}
    if not found:
        names = [other for other in names_of(runs) if any(other in row for run in runs for row in run.rows)]
        raise FitError(f"there is no curve of {name!r}; the rows of these runs have: {listed(names)}")
    labels = labels_of([run for run in runs if str(run.folder) in found])
    return [Curve(labels[folder], each) for folder, each in found.items()]


def labels_of(runs: Sequence[Found]) -> dict[str, str]:
    """Return what tells runs apart, by their folders: where the folder lies below those of the others, and options of the script."""
    options = [name for name in differing(runs) if "." not in name and name not in (PLUGINS, SEED, "epochs")]
    common = os.path.commonpath([os.path.abspath(run.folder.parent) for run in runs])  # noqa: PTH100  # without following links
    labels = {}
    for run in runs:
        own = [f"{name}={run.options[name]}" for name in options if name in run.options]
        labels[str(run.folder)] = " ".join([os.path.relpath(run.folder, common), *own])
    return labels


def usual(runs: Sequence[Found]) -> str:
    """Return the value that is shown if nobody asks for another."""
    return "val_loss" if any("val_loss" in row for run in runs for row in run.rows) else "loss"


def drawn(name: str, curves: Sequence[Curve], width: int, height: int, log: bool = False) -> list[str]:
    """Return a drawing in characters, with colours for terminals that have some."""
    colours = (COLOURS[i % len(COLOURS)] for i in range(len(curves)))
    paint = {letter: colour if any(colour) else None for letter, colour in zip(letters(len(curves)), colours, strict=True)}

    def painted(line: str) -> str:
        label, bar, row = line.partition("|")
        return label + bar + "".join(click.style(each, fg=paint[each]) if each in paint else each for each in row)

    legend = [
        f"  {click.style(letter, fg=paint[letter])} {curve.label}" for letter, curve in zip(letters(len(curves)), curves, strict=True)
    ]
    lines = [painted(line) for line in canvas([curve.points for curve in curves], width, height, log).lines()]
    crossing = [f"  {SEVERAL} several"] if any(SEVERAL in line for line in lines) else []
    return [name, *lines, *legend, *crossing]


def picture(named: Sequence[tuple[str, Sequence[Curve]]], path: Path, log: bool = False) -> None:
    """Write a picture with one panel for each value.

    Args:
        named: curves by the name of the value.
        path: of the picture, whose suffix says the format: .png, .svg or .pdf.
        log: make the vertical axes logarithmic.

    Raises:
        FitError: matplotlib is missing, or the picture cannot be written.
    """
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise FitError(f"cannot write {path}: name a picture .png, .svg or .pdf")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise FitError('pictures need matplotlib: pip install "fit-tools[plot]"') from error
    labels = list(dict.fromkeys(curve.label for _, curves in named for curve in curves))
    below = 0.25 * math.ceil(len(labels) / per_row(labels)) + 0.2
    tall = 3.6 * len(named) + below
    figure = Figure(figsize=(8, tall), dpi=150, layout="constrained")
    places = figure.subplots(len(named), 1, squeeze=False)
    for (name, curves), (axes,) in zip(named, places, strict=True):
        draw(axes, name, curves, labels)
        axes.set_yscale("log" if log else "linear")
    lines = {line.get_label(): line for (axes,) in places for line in axes.get_lines()}
    figure.legend(
        [lines[label] for label in labels], labels, loc="outside lower center", ncols=per_row(labels), frameon=False, handlelength=3
    )
    try:
        figure.savefig(path)
    except OSError as error:
        raise FitError(f"cannot write {path}: {error.strerror}") from error


def per_row(labels: Sequence[str]) -> int:
    """Return how many labels fit beside each other under a picture."""
    return min(max(90 // (max(map(len, labels)) + 9), 1), len(labels))


def draw(axes: Axes, name: str, curves: Sequence[Curve], labels: Sequence[str]) -> None:
    """Draw one panel; a run has the same colour, line and marker in all of them."""
    from matplotlib.ticker import MaxNLocator

    for curve in curves:
        i = labels.index(curve.label)
        axes.plot(
            [x for x, _ in curve.points],
            [y for _, y in curve.points],
            color=[part / 255 for part in COLOURS[i % len(COLOURS)]],
            linestyle=STYLES[i // len(COLOURS) % len(STYLES)],
            marker=MARKERS[i % len(MARKERS)],
            markevery=max(len(curve.points) // 10, 1),
            markersize=4,
            linewidth=1.5,
            label=curve.label,
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel(name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)

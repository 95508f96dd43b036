"""Curves of the rows of a run: which go together, where the best is, and how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fit_vis.figures.style import colour, label, legend, new_figure

Row = Mapping[str, float]
NO_CURVES = ("epoch", "seconds")


@dataclass
class Panel:
    """Curves of one value: of training and of each validation set.

    Attributes:
        name: of the value.
        curves: by the prefix of their pass, "" for training: epochs and values.
        best: the prefix, epoch and value of the best one; None if it is not known which is.
    """

    name: str
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    best: tuple[str, float, float] | None = None


def panels(rows: Sequence[Row], prefixes: Sequence[str], higher_is_better: Mapping[str, bool | None]) -> list[Panel]:
    """Sort the values of rows into panels.

    Args:
        rows: with "epoch" and any other values.
        prefixes: of validation sets, such as "val_".
        higher_is_better: by name in the row; others have no best.

    Returns:
        One for each value: the loss first, learning rates last.
    """
    found: dict[str, Panel] = {}
    for row in rows:
        for key, value in row.items():
            if key in NO_CURVES:
                continue
            prefix = next((p for p in sorted(prefixes, key=len, reverse=True) if key.startswith(p)), "")
            name = key.removeprefix(prefix)
            epochs, values = found.setdefault(name, Panel(name)).curves.setdefault(prefix, ([], []))
            epochs.append(row["epoch"])
            values.append(value)
    for panel in found.values():
        panel.best = best_of(panel, higher_is_better)
    return sorted(found.values(), key=lambda panel: (is_rate(panel.name), panel.name != "loss"))


def best_of(panel: Panel, higher_is_better: Mapping[str, bool | None]) -> tuple[str, float, float] | None:
    """Return the best value: of the first validation set if there is one, of training otherwise; the earliest of equal ones."""
    prefix = next((p for p in panel.curves if p), "")
    higher = higher_is_better.get(prefix + panel.name)
    numbers = [(value, epoch) for epoch, value in zip(*panel.curves.get(prefix, ([], [])), strict=True) if math.isfinite(value)]
    if higher is None or not numbers:
        return None
    value, epoch = min(numbers, key=lambda pair: -pair[0] if higher else pair[0])
    return prefix, epoch, value


def is_rate(name: str) -> bool:
    """Tell a learning rate: `lr`, `d_lr`."""
    return name == "lr" or name.endswith("_lr")


def draw(found: Sequence[Panel]) -> Figure:
    """Draw panels side by side; the best values are marked by stars."""
    figure, axes = new_figure(max(len(found), 1))
    for panel, each in zip(found, axes, strict=False):
        draw_panel(each, panel)
    return figure


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw the curves of one value."""
    for i, prefix in enumerate(sorted(panel.curves)):
        epochs, values = panel.curves[prefix]
        name = prefix.removesuffix("_") or "train"
        lonely = "o" if len(epochs) < 30 else ""
        axes.plot(epochs, values, color=colour(i), marker=lonely, markersize=3, linewidth=1.6, label=None if is_rate(panel.name) else name)
        if panel.best is not None and panel.best[0] == prefix:
            _, epoch, value = panel.best
            axes.plot([epoch], [value], "*", color=colour(i), markersize=12, markeredgecolor="black", markeredgewidth=0.6)
            axes.lines[-1].set_label(f"best: {value:.4g} (epoch {epoch:.0f})")
    label(axes, "learning rate" if panel.name == "lr" else panel.name, "epoch", "")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    seen = [epoch for epochs, _ in panel.curves.values() for epoch in epochs]
    if max(seen) - min(seen) < 5:
        axes.set_xlim(min(seen) - 0.5, max(seen) + 0.5)
    if is_rate(panel.name):
        axes.set_ylim(bottom=0)
    else:
        legend(axes)

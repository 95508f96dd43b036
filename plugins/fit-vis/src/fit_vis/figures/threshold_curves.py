"""ROC and precision-recall curves of evaluations."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.axes import Axes
from torch import Tensor

from fit_core import FitError, State, hookimpl
from fit_core.items import Figure
from fit_vis.figures.style import GREY, Place, colour, dash, label, legend, new_figure, plain
from fit_vis.figures.thresholds import Curve, one_by_one, precision_recall, roc
from fit_vis.figures.words import class_name
from fit_vis.looking import picked, prefix_of, shown, tensor_or_error
from fit_vis.schedule import Schedule

if TYPE_CHECKING:
    from fit_core import Trainer

LIMIT = 2**26
"""Bytes of outputs that are kept of a pass; of a larger one the first samples count, and the title says so."""


class ThresholdCurves(ABC):
    """What the two have in common: outputs and targets of a pass are kept on the device, and looked at when it ends.

    Args:
        every: how often, of validations; other evaluations are always shown.
        classes: their names; none: numbers.
        most: how many curves are drawn at most: those of the smallest areas.
        output: which of several outputs to look at.
        target: likewise of the targets.
    """

    passive = True
    what: str

    def __init__(
        self,
        every: str = "1 epoch",
        classes: Sequence[str] = (),
        most: int = 10,
        output: int | str | None = None,
        target: int | str | None = None,
    ) -> None:
        if most < 1:
            raise FitError(f"most must be at least 1, not {most}")
        self.classes, self.most, self.output, self.target = list(classes), most, output, target
        self._schedule = Schedule(every)
        self._state: State | None = None
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._bytes = 0

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        self._schedule.begin(state)

    @hookimpl
    def on_eval_start(self, trainer: Trainer, state: State) -> None:
        looks = state.phase != "predict" and shown(trainer) and self._schedule.end(state)
        self._state, self._kept, self._bytes = state if looks else None, [], 0

    @hookimpl
    def on_eval_batch_end(self, state: State) -> None:
        if state is not self._state or self._bytes > LIMIT:
            return
        outputs = tensor_or_error(self.what, "output", picked(state.outputs, self.output))
        targets = tensor_or_error(self.what, "target", picked(state.targets, self.target))
        scores, truth = aligned(outputs.detach(), targets)
        if len(scores) != len(truth) or (truth.dim() == 2 and truth.shape != scores.shape):
            raise FitError(
                f"{self.what} cannot compare outputs {tuple(outputs.shape)} with targets {tuple(targets.shape)};"
                " it takes (batch, classes, ...) with (batch, ...), or both of one shape"
            )
        self._kept.append((scores.clone(), truth.clone()))
        self._bytes += outputs.nbytes

    @hookimpl
    def on_eval_end(self, trainer: Trainer, state: State) -> None:
        if state is self._state and self._kept and not state.interrupted:
            prefix = prefix_of(state)
            trainer.show(prefix + self.what.replace("-", "_"), lambda: self._figure(prefix, state))
        self._state, self._kept = None, []

    def _figure(self, prefix: str, state: State) -> Figure:
        outputs, targets = (torch.cat(each).cpu() for each in zip(*self._kept, strict=True))
        problems = one_by_one(outputs, targets)
        found = {key: self.curve(*problem) for key, problem in problems.items()}
        there = {key: curve for key, curve in found.items() if math.isfinite(curve.area)}
        if not there:
            raise FitError(f"{self.what} needs samples of both kinds; leave it out, or evaluate on other data")
        figure, (axes,) = new_figure(size=(5.0, 4.9))
        chosen = sorted(sorted(there, key=lambda key: there[key].area)[: self.most], key=lambda key: key or 0)
        for i, key in enumerate(chosen):
            area = f"{there[key].area:.3f}"
            self.draw(axes, there[key], f"{self.area} {area}" if key is None else f"{plain(class_name(self.classes, key), 24)} ({area})", i)
        mean = sum(curve.area for curve in there.values()) / len(there)
        notes = [prefix.removesuffix("_") or state.phase, f"epoch {state.epoch}" if state.epoch else ""]
        notes += [f"mean {self.area} {mean:.3f}" if len(there) > 1 else ""]
        notes += [f"{len(chosen)} worst of {len(there)}" if len(chosen) < len(there) else ""]
        notes += [f"first {len(outputs):,} samples" if self._bytes > LIMIT else ""]
        self.finish(axes, [curve.share for curve in there.values()], f"{self.title}: {', '.join(filter(None, notes))}")
        legend(axes, self.corner)
        return Figure(figure)

    title: str
    area: str
    corner: Place
    curve: Callable[[Tensor, Tensor], Curve]

    @abstractmethod
    def draw(self, axes: Axes, curve: Curve, name: str, index: int) -> None:
        """Draw one curve."""

    @abstractmethod
    def finish(self, axes: Axes, shares: list[float], title: str) -> None:
        """Name the axes, and draw what guessing would give."""


class RocCurve(ThresholdCurves):
    """Shows the receiver operating characteristic of each evaluation, with the area under it: `val_roc_curve`.

    Of two classes (or an event) it is one curve, of several one for each class against the rest, of several labels one for each.

    Args:
        every: how often, of validations; other evaluations are always shown.
        classes: their names; none: numbers.
        most: how many curves are drawn at most: those of the smallest areas.
        output: which of several outputs to look at.
        target: likewise of the targets.
    """

    what, title, area, corner = "roc-curve", "ROC", "area", "lower right"
    curve = staticmethod(roc)

    def draw(self, axes: Axes, curve: Curve, name: str, index: int) -> None:
        """Draw one curve."""
        axes.plot(curve.x, curve.y, color=colour(index), linestyle=dash(index), linewidth=1.6, label=name)

    def finish(self, axes: Axes, shares: list[float], title: str) -> None:
        """Name the axes, and draw what guessing would give."""
        del shares  # guessing is the same for any
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="guessing (0.500)")
        label(axes, title, "false positive rate", "true positive rate")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")


class PrecisionRecallCurve(ThresholdCurves):
    """Shows precision over recall of each evaluation, with the average precision: `val_precision_recall_curve`.

    Of two classes (or an event) it is one curve, of several one for each class against the rest, of several labels one for each.

    Args:
        every: how often, of validations; other evaluations are always shown.
        classes: their names; none: numbers.
        most: how many curves are drawn at most: those of the smallest areas.
        output: which of several outputs to look at.
        target: likewise of the targets.
    """

    what, title, area, corner = "precision-recall-curve", "Precision-recall", "AP", "lower left"
    curve = staticmethod(precision_recall)

    def draw(self, axes: Axes, curve: Curve, name: str, index: int) -> None:
        """Draw one curve; it is a step function."""
        x, y = torch.cat([torch.zeros(1), curve.x]), torch.cat([curve.y[:1], curve.y])
        axes.plot(x, y, color=colour(index), linestyle=dash(index), linewidth=1.6, drawstyle="steps-pre", label=name)

    def finish(self, axes: Axes, shares: list[float], title: str) -> None:
        """Name the axes, and draw what guessing would give."""
        if len(shares) == 1:
            axes.axhline(shares[0], color=GREY, linestyle=":", linewidth=1, label=f"guessing ({shares[0]:.3f})")
        label(axes, title, "recall", "precision")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")


def aligned(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Bring scores (batch, classes, ...) to (samples, classes), so that a pixel is a sample like others, and targets to the same order.

    Args:
        outputs: (batch,) or (batch, classes, ...).
        targets: (batch, ...) of classes, which become (samples,); or of the shape of the outputs, as which they stay.
    """
    alike = targets.dim() == outputs.dim()
    return flat(outputs), flat(targets) if alike else targets.flatten()


def flat(value: Tensor) -> Tensor:
    """Bring (batch, classes, ...) to (samples, classes)."""
    return value.movedim(1, -1).flatten(0, -2) if value.dim() > 2 else value

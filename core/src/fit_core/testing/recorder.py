"""Notes at every safe point what a checkpoint would hold, so that two runs can be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fit_core.hookspecs import hookimpl
from fit_core.state import State
from fit_core.testing.digests import digest, leaves
from fit_core.testing.outside import outside
from fit_core.testing.points import Point

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


class Recorder:
    """A plugin that hands every safe point of a run to a function, and can interrupt the run at one of them.

    Args:
        keep: takes each point, such as `list.append`.
        interrupt_at: the number of the safe point to interrupt the run at; 0 is the first.
        save_to: where to save a checkpoint when the run is interrupted.
    """

    name = "resume-recorder"
    passive = True

    def __init__(self, keep: Callable[[Point], object], interrupt_at: int | None = None, save_to: Path | None = None) -> None:
        self._keep = keep
        self._interrupt_at = interrupt_at
        self._save_to = save_to
        self._seen = 0
        self._batch: dict[str, str] = {}

    @hookimpl(tryfirst=True)
    def on_batch_start(self, state: State) -> None:
        self._batch = {"inputs": digest(state.inputs), "targets": digest(state.targets)}

    @hookimpl(trylast=True)
    def on_step_end(self, trainer: Trainer) -> None:
        self._interrupt(trainer)  # of a short window, too, after the last batch

    @hookimpl(trylast=True)
    def on_batch_end(self, trainer: Trainer) -> None:
        self._interrupt(trainer)

    @hookimpl(trylast=True)
    def on_epoch_end(self, trainer: Trainer) -> None:
        self._interrupt(trainer)

    def _interrupt(self, trainer: Trainer) -> None:
        if self._seen == self._interrupt_at:
            trainer.interrupt("the recorder")

    @hookimpl(trylast=True)
    def on_safe_point(self, trainer: Trainer, state: State) -> None:
        self._seen += 1
        batch, self._batch = self._batch, {}
        self._keep(
            Point(
                state.epoch,
                state.batch,
                state.step,
                trainer._progress.stage,
                state.interrupted,
                {"batch": batch, **leaves(trainer, without=self.name)},
                outside(trainer, without=self.name),
            )
        )
        if state.interrupted and self._save_to is not None:
            trainer.save(self._save_to)

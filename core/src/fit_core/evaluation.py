"""A pass over validation, test or prediction data, which leaves everything else as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from fit_core import stages
from fit_core.blame import Blamed
from fit_core.data import check_count, counted, fetched
from fit_core.meter import Meter
from fit_core.metrics import Row
from fit_core.modes import eval_mode, random_states_aside
from fit_core.position import begin_pass, length
from fit_core.state import Phase, State
from fit_core.update import evaluate_batch

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

NAMES = {"test": "test_data", "predict": "the data"}


class Abandoned(Exception):
    """Leads out of a validation when the run is interrupted."""


class Evaluation:
    """One pass.

    Args:
        trainer: whose model is evaluated.
        batches: the data.
        phase: what the pass is for.
        prefix: goes before the name of every value.
        collect: takes each batch in; None: loss and metrics do.
    """

    def __init__(
        self, trainer: Trainer, batches: Iterable[Any], phase: Phase, prefix: str, collect: Callable[[State], None] | None = None
    ) -> None:
        self.trainer = trainer
        self.batches = batches
        self.prefix = prefix
        self.name = f"{prefix}data" if phase == "validate" else NAMES[phase]
        self.progress = replace(
            trainer._progress,
            phase=phase,
            batch=0,
            batches=length(batches),
            stage="train",
            moment="between",
            skip_batch=False,
            streams={},
            place=None,
        )
        self.meter = Meter(trainer.metrics if phase != "predict" else ())
        self.collect = collect or self.take_in
        self.state = trainer._new_state(self.progress, self.meter)

    def run(self) -> Row:
        """Run the pass, and return its values with their prefix."""
        trainer, state, hooks = self.trainer, self.state, self.trainer.hooks
        with random_states_aside(state.device), trainer._entered(state, self.meter), Blamed(state):
            self.meter.begin(state)
            hooks.on_eval_start(trainer, state)
            with eval_mode(trainer.modules(state.model)), torch.no_grad():
                self.evaluate_batches()
            self.progress.interrupted = self.abandoned()
            row = self.named(self.meter.values())
            state.row = MappingProxyType(row)
            hooks.on_eval_end(trainer, state)
            row |= self.named(self.meter.recorded())
            self.meter.open = False
        if self.progress.interrupted:
            raise Abandoned
        return row

    def evaluate_batches(self) -> None:
        """Evaluate one batch after the other."""
        trainer, state, hooks, progress = self.trainer, self.state, self.trainer.hooks, self.progress
        source = counted(begin_pass(self.batches, progress.epoch), hooks.altered("iter_batches"))
        for batch in fetched(hooks.iter_batches(trainer, state, source), self.name, progress, self.abandoned):
            others = hooks.others
            progress.begin_batch()
            state.inputs, state.targets = (others.prepare_batch or stages.prepare_batch)(trainer, state, batch)
            del batch
            if others.on_eval_batch_start:
                others.on_eval_batch_start(trainer, state)
            if not progress.skip_batch:
                (others.eval_step or evaluate_batch)(trainer, state)
            progress.moment = "between"
            if not progress.skip_batch:
                self.collect(state)
            if others.on_eval_batch_end:
                others.on_eval_batch_end(trainer, state)
            state.clear_batch()
            if self.abandoned():
                return
        if not self.abandoned():  # workers may have died of the same signal
            check_count(progress, self.name, source)

    def abandoned(self) -> bool:
        """Whether this is a validation of a run that was interrupted; a run that goes on makes it anew."""
        return self.progress.phase == "validate" and self.trainer.interrupted()

    def take_in(self, state: State) -> None:
        """Take in loss, outputs and targets of a batch."""
        if state.loss is not None:
            self.meter.add_loss("loss", state, self.trainer.criterion_for(state).sums)
        if self.meter.watches:
            self.meter.add(state)

    def named(self, values: Row) -> Row:
        """Return values with the prefix of the pass."""
        return {self.prefix + name: value for name, value in values.items()}

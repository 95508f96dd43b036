"""The loop: a run, its epochs, the training pass of each.

What happens at each stage is in `defaults.py`; what is promised around one update is in `update.py`; a pass over
validation, test or prediction data is in `evaluation.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fit_core.cadence import Due
from fit_core.data import Fetched, begin_pass, check_count, counted, length
from fit_core.ending import ending
from fit_core.errors import TrainingError
from fit_core.evaluation import Evaluation
from fit_core.metrics import Meter, Row
from fit_core.modes import switch_to_train
from fit_core.update import finish_window, train_step

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


@dataclass(frozen=True)
class Length:
    """How long a call of `fit` goes on: so many epochs or so many steps, whichever ends first."""

    epochs: float = math.inf
    steps: int | None = None


class Fit:
    """One call of `Trainer.fit`.

    Args:
        trainer: whose model is trained.
        batches: the training data.
        validation: validation data by the prefix of its values in the row.
        length: when it is done.
        val_due: when to validate.
    """

    def __init__(
        self, trainer: Trainer, batches: Iterable[Any], validation: dict[str, Iterable[Any]], length: Length, val_due: Due
    ) -> None:
        self.trainer = trainer
        self.batches = batches
        self.validation = validation
        self.length = length
        self.val_due = val_due
        self.val_values: Row = {}
        self.last_step = math.inf
        self.before = 0
        self.progress = trainer._progress
        self.meter = Meter(trainer.metrics)
        self.state = trainer._new_state(self.progress, self.meter)
        self.rows: list[Row] = []

    def run(self) -> list[Row]:
        """Train, and return the rows of this call."""
        trainer, state, hooks = self.trainer, self.state, self.trainer.hooks
        trainer._begin_run()
        with trainer._entered(state, self.meter), ending(trainer, state, fit=True):
            trainer._prepare(state)
            trainer._build_updates(state, self.meter)
            self.size()
            hooks.on_fit_start(trainer, state)
            while not self.done():
                self.epoch()
            trainer._guard.check(wait=True)
        return self.rows

    def size(self) -> None:
        """Work out how long the run is, and bring the model into the mode for training."""
        progress, updates = self.progress, self.trainer.sequence
        progress.epochs = progress.epoch + self.length.epochs
        self.last_step = math.inf if self.length.steps is None else progress.step + self.length.steps
        updates.size(length(self.batches), self.length, self.trainer.remainder, progress.batch_count)
        progress.steps_total = updates.first.steps_total
        progress.validation = tuple(self.validation)
        switch_to_train(self.trainer.modules(self.state.model))

    def done(self) -> bool:
        """Whether nothing more is to be trained."""
        progress = self.progress
        return progress.stop_reason is not None or progress.epoch >= progress.epochs or progress.step >= self.last_step

    def epoch(self) -> None:
        """Train for one epoch, validate, and complete the row."""
        trainer, state, hooks = self.trainer, self.state, self.trainer.hooks
        began, steps = time.perf_counter(), self.progress.step
        self.progress.begin_epoch()
        trainer._control.end_epoch = False
        self.meter.begin()
        self.val_values = {}
        state.row = MappingProxyType({})
        hooks.on_epoch_start(trainer, state)
        if not self.train_pass():
            self.meter.open = False
            trainer.unfinished = {name: value for name, value in self.meter.values().items() if not math.isnan(value)}
            return
        if self.progress.step == steps and math.isinf(self.length.epochs) and self.length.steps is not None:
            raise TrainingError(f"no step was made in epoch {state.epoch}, so that steps={self.length.steps} would never be reached")
        if self.val_due.after_epoch(self.progress):
            self.validate()
        self.complete_row(began)
        hooks.on_epoch_end(trainer, state, state.row)
        hooks.on_safe_point(trainer, state)

    def train_pass(self) -> bool:
        """Train on every batch. Return whether the epoch is complete: False after a stop in mid-epoch."""
        trainer, state, hooks, progress = self.trainer, self.state, self.trainer.hooks, self.progress
        progress.batches = length(self.batches)
        hooks.on_train_epoch_start(trainer, state)
        if not self.pass_over():
            self.train_batches()
        complete = progress.stop_reason is None or progress.batch == progress.batches or progress.step >= self.last_step
        if complete:
            self.finish_windows()
        progress.training = False
        hooks.on_train_epoch_end(trainer, state)
        progress.position = "epoch" if complete else "batch"
        return complete

    def train_batches(self) -> None:
        """Train on one batch after the other until the data or the pass is over."""
        trainer, state, hooks, progress, meter = self.trainer, self.state, self.trainer.hooks, self.progress, self.meter
        source = counted(begin_pass(self.batches, progress.epoch), hooks.altered("iter_batches"))
        for batch in Fetched(hooks.iter_batches(trainer, state, source), "train_data", progress):
            progress.begin_batch()
            progress.batch_count += 1
            state.inputs, state.targets = hooks.prepare_batch(trainer, state, batch)
            del batch  # nothing of a batch outlives it
            hooks.on_batch_start(trainer, state)
            train_step(trainer, state)
            progress.moment = "between"
            if trainer._control.updates_run and not progress.skip_batch:
                meter.add(state)
                trainer._log_batch(state)
            hooks.on_batch_end(trainer, state)
            state.clear_batch()
            trainer._control.end_batch(state.updates.values())
            self.validate_if_due()
            hooks.on_safe_point(trainer, state)
            if self.pass_over():
                return
        check_count(progress, "train_data", source, self.before)
        self.before = progress.batch

    def finish_windows(self) -> None:
        """Step with windows that the end of the data left short."""
        trainer, state = self.trainer, self.state
        short = [update for update in state.updates.values() if update.window.batches]
        for update in short:
            finish_window(trainer, state, update)
        if short:
            self.validate_if_due()
            trainer.hooks.on_safe_point(trainer, state)

    def pass_over(self) -> bool:
        """Whether the training pass ends here, data or not."""
        progress = self.progress
        return self.trainer._control.end_epoch or progress.stop_reason is not None or progress.step >= self.last_step

    def validate_if_due(self) -> None:
        """Validate inside of an epoch, when a batch is done; what was found goes to the trackers at once."""
        if self.val_due.after_batch(self.progress) and self.progress.stop_reason is None:
            self.validate()
            self.trainer._log_validation(self.state, self.val_values)

    def validate(self) -> None:
        """Make a pass over every validation set; the row gets the values of the epoch's last one."""
        for prefix, batches in self.validation.items():
            self.val_values |= Evaluation(self.trainer, batches, "validate", prefix).run()

    def complete_row(self, began: float) -> None:
        """Make the row of the epoch; from here on it does not change."""
        trainer, state = self.trainer, self.state
        row: Row = {"epoch": state.epoch, **self.meter.values(), **self.val_values}
        row |= {name: float(rate) for name, rate in trainer.sequence.rates().items()}
        row["seconds"] = time.perf_counter() - began
        self.meter.open = False
        self.rows.append(row)
        trainer.history.append(dict(row))
        state.row = MappingProxyType(row)
        trainer._log_row(state)

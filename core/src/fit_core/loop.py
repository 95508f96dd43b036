"""The loop: a run, its epochs, the training pass of each.

A batch is trained on in `stepwise.py`, or in one piece in `ordinary.py`; what is promised around one update is in `update.py`; what
the core does at each stage is in `stages.py`; a pass over validation, test or prediction data is in `evaluation.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fit_core import stages
from fit_core.blame import Blamed
from fit_core.cadence import Due
from fit_core.call import Origin, begin_call
from fit_core.data import check_count, counted, fetched
from fit_core.ending import ending
from fit_core.errors import TrainingError
from fit_core.evaluation import Abandoned, Evaluation
from fit_core.meter import Meter
from fit_core.metrics import Row
from fit_core.modes import set_random_states
from fit_core.ordinary import Ordinary
from fit_core.position import begin_pass, length
from fit_core.stepwise import finish_windows, train_step

if TYPE_CHECKING:
    from fit_core.feeding import Feed
    from fit_core.trainer import Trainer

PAIRS = (tuple, list)


class Fit:
    """One call of `Trainer.fit`.

    Args:
        trainer: whose model is trained.
        feed: what it is trained and validated on, and how long.
        val_due: when to validate.
    """

    def __init__(self, trainer: Trainer, feed: Feed, val_due: Due) -> None:
        self.trainer, self.source = trainer, feed.source
        self.batches, self.validation = feed.batches, feed.validation
        self.length, self.origin = feed.length, Origin()
        self.val_due, self.val_values = val_due, Row()
        self.last_step, self.began = math.inf, 0.0
        self.has_begun = False
        self.before = self.steps_before = 0
        self.random: Mapping[str, Any] | None = None
        self.progress = trainer._progress
        self.meter = Meter(trainer.metrics)
        self.state = trainer._new_state(self.progress, self.meter)

    def run(self, call: Mapping[str, Any] | None = None) -> list[Row]:
        """Train, and return the rows of this call.

        Args:
            call: what an interrupted one left, which goes on here.
        """
        trainer, state, hooks, progress = self.trainer, self.state, self.trainer.hooks, self.progress
        trainer._begin_run(self)
        try:
            with trainer._entered(state, self.meter), ending(trainer, state, fit=True), Blamed(state):
                trainer._prepare(state)
                trainer._build_updates(state, self.meter)
                begin_call(self, call)
                progress.whole = call is None
                hooks.on_fit_start(trainer, state)
                self.has_begun, progress.whole = True, False
                self.go_on()
                while not self.done():
                    self.epoch()
                trainer._guard.check(wait=True)
                progress.whole = True
        finally:
            trainer._interruption = None
        return [dict(row) for row in trainer.history[self.origin.rows :]]

    def done(self) -> bool:
        """Whether nothing more is to be trained."""
        progress = self.progress
        enough = progress.epoch >= progress.epochs or progress.step >= self.last_step
        return progress.stop_reason is not None or (progress.stage == "ended" and enough)

    def epoch(self) -> None:
        """Train for one epoch, validate, and complete the row; of one that was interrupted, what is left of it."""
        trainer, state, hooks, progress = self.trainer, self.state, self.trainer.hooks, self.progress
        if progress.stage == "ended":
            self.begin_epoch()
        else:
            progress.begin_again(self.steps_before)
        state.row = MappingProxyType({})
        hooks.on_epoch_start(trainer, state)
        if progress.stage != "train":
            self.go_on()
        elif not self.train_pass():
            self.leave()
            return
        if progress.step == self.steps_before and math.isinf(self.length.epochs) and self.length.steps is not None:
            raise TrainingError(f"no step was made in epoch {state.epoch}, so that steps={self.length.steps} would never be reached")
        if self.val_due.after_epoch(progress) and not self.validate():
            self.safe_point()
            self.leave()
            return
        self.complete_row()
        hooks.on_epoch_end(trainer, state, state.row)
        progress.stage = "ended"
        self.safe_point()

    def begin_epoch(self) -> None:
        """Begin an epoch, of which nothing is measured yet."""
        self.began, self.steps_before = time.perf_counter(), self.progress.step
        self.random = None
        self.progress.begin_epoch()
        self.trainer._control.end_epoch = False
        self.meter.begin(self.state)
        self.val_values = {}

    def leave(self) -> None:
        """Leave an epoch that a stop or an interruption cut short."""
        self.meter.open = False
        self.trainer.unfinished = {name: value for name, value in self.meter.values().items() if not math.isnan(value)}

    def train_pass(self) -> bool:
        """Train on every batch. Return whether the epoch is complete: False after a stop in mid-epoch."""
        trainer, state, hooks, progress = self.trainer, self.state, self.trainer.hooks, self.progress
        progress.batches = length(self.batches)
        hooks.on_train_epoch_start(trainer, state)
        self.go_on()
        if progress.batch:
            self.validate_if_due()  # what was abandoned when the run was interrupted
        if progress.stop_reason is not None:  # asked for before the first batch
            self.safe_point()
        elif not self.pass_over():
            self.train_batches()
        over = progress.stop_reason is None or progress.batch == progress.batches or progress.step >= self.last_step
        if over and not progress.interrupted and finish_windows(trainer, state):
            self.validate_if_due()
            self.safe_point()
        complete = over and not progress.interrupted
        if complete:
            progress.stage = "evaluate"
        progress.training = False
        hooks.on_train_epoch_end(trainer, state)
        return complete

    def train_batches(self) -> None:
        """Train on one batch after the other until the data or the pass is over."""
        trainer, state, hooks, progress, meter = self.trainer, self.state, self.trainer.hooks, self.progress, self.meter
        control, ordinary = trainer._control, Ordinary(trainer, state, meter)
        logs, validates, last_step = trainer._logs, self.val_due.in_batches, self.last_step
        source = counted(begin_pass(self.batches, progress.epoch, progress.batch), hooks.altered("iter_batches"), progress.batch)
        batches = fetched(hooks.iter_batches(trainer, state, source), "train_data", progress, trainer.interrupted)
        self.go_on()
        for batch in batches:
            others = hooks.others
            progress.batch, progress.batch_count = progress.batch + 1, progress.batch_count + 1
            progress.moment, progress.skip_batch = "batch", False
            if progress.streams:
                progress.streams.clear()
            is_pair = type(batch) in PAIRS and len(batch) == 2 and type(batch[0]) is type(batch[1]) is Tensor  # nearly always
            if is_pair and others.prepare_batch is None:
                state.inputs, state.targets = batch[0].to(state.device), batch[1].to(state.device)
            else:
                state.inputs, state.targets = (others.prepare_batch or stages.prepare_batch)(trainer, state, batch)
            del batch  # nothing of a batch outlives it
            if others.on_batch_start:
                others.on_batch_start(trainer, state)
            if ordinary.update.is_ordinary and not hooks.replaces_updates:
                ordinary.train()
            else:
                train_step(trainer, state)
            progress.moment = "between"
            if control.updates_run and not progress.skip_batch:
                if meter.watches:
                    meter.add(state)
                if logs:
                    trainer._log_batch(state)
            if others.on_batch_end:
                others.on_batch_end(trainer, state)
            state.clear_batch()
            if control.asked or control.losses:
                control.end_batch(state.updates.values())
            if validates:
                self.validate_if_due()
            if others.on_safe_point or trainer._interruption:
                self.safe_point()
            if control.end_epoch or progress.stop_reason is not None or progress.step >= last_step:
                return
        if trainer.interrupted():  # workers may have died of the same signal
            self.safe_point()
        else:
            check_count(progress, "train_data", source, self.before)
            self.before = progress.batch

    def safe_point(self) -> None:
        """Take an interruption in, and let everyone save: all is between two batches."""
        progress = self.progress
        if self.trainer._interruption and progress.stop_reason is None:
            progress.stop_reason, progress.interrupted = self.trainer._interruption, True
        progress.whole = True
        self.trainer.hooks.on_safe_point(self.trainer, self.state)
        progress.whole = False

    def pass_over(self) -> bool:
        """Whether the training pass ends here, data or not."""
        progress = self.progress
        return self.trainer._control.end_epoch or progress.stop_reason is not None or progress.step >= self.last_step

    def validate_if_due(self) -> None:
        """Validate inside of an epoch, when a batch is done; what was found goes to the trackers at once."""
        if self.val_due.after_batch(self.progress) and self.progress.stop_reason is None and self.validate():
            self.trainer._log_validation(self.state, self.val_values)

    def validate(self) -> bool:
        """Make a pass over every validation set; the row gets the values of the last one. Return False if it is still due: abandoned."""
        values: Row = {}
        try:
            for prefix, batches in self.validation.items():
                values |= Evaluation(self.trainer, batches, "validate", prefix).run()
        except Abandoned:
            return False
        self.val_values |= values
        self.val_due.advance(self.progress)
        return True

    def complete_row(self) -> None:
        """Make the row of the epoch; from here on it does not change."""
        trainer, state = self.trainer, self.state
        row: Row = {"epoch": state.epoch, **self.meter.values(), **self.val_values}
        row |= {name: float(rate) for name, rate in trainer.sequence.rates().items()}
        row["seconds"] = time.perf_counter() - self.began
        self.meter.open = False
        trainer.history.append(row)
        state.row = MappingProxyType(row)
        trainer._log_row(state)

    def go_on(self) -> None:
        """Set the random states of a call that was interrupted: last, so that nothing draws from them before the next batch."""
        if self.random is not None:
            set_random_states(self.random["states"], self.state.device)
            self.progress.streams, self.progress.place = dict(self.random["streams"]), None

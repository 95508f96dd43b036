"""The loop: a run, its epochs, their passes over data.

What happens at each stage is in `defaults.py`; what is promised around one update is in `update.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from fit_core.data import length
from fit_core.errors import FitError
from fit_core.metrics import Meter
from fit_core.modes import eval_mode, random_states_aside, switch_to_train
from fit_core.state import Phase, Progress, State
from fit_core.update import train_step

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

Row = dict[str, float]


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
    """

    def __init__(self, trainer: Trainer, batches: Iterable[Any], validation: dict[str, Iterable[Any]], length: Length) -> None:
        self.trainer = trainer
        self.batches = batches
        self.validation = validation
        self.length = length
        self.last_step = math.inf
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
            trainer._build_updates(state)
            self.size()
            hooks.on_fit_start(trainer, state)
            while not self.done():
                self.epoch()
            trainer._guard.check(wait=True)
        return self.rows

    def size(self) -> None:
        """Work out how long the run is, and bring the model into the mode for training."""
        progress, batches = self.progress, length(self.batches)
        progress.epochs = progress.epoch + self.length.epochs
        self.last_step = math.inf if self.length.steps is None else progress.step + self.length.steps
        estimate = self.last_step
        if batches is not None:
            estimate = min(estimate, progress.step + batches * self.length.epochs)
        progress.steps_total = None if math.isinf(estimate) else int(estimate)
        switch_to_train(self.trainer.modules(self.state.model))

    def done(self) -> bool:
        """Whether nothing more is to be trained."""
        progress = self.progress
        return progress.stop_reason is not None or progress.epoch >= progress.epochs or progress.step >= self.last_step

    def epoch(self) -> None:
        """Train for one epoch, validate, and complete the row."""
        trainer, state, hooks = self.trainer, self.state, self.trainer.hooks
        began = time.perf_counter()
        self.progress.begin_epoch()
        self.meter.begin(trainer.criterion.sums)
        state.row = MappingProxyType({})
        hooks.on_epoch_start(trainer, state)
        if not self.train_pass():
            trainer.unfinished = self.meter.values()
            return
        values: Row = {}
        for prefix, batches in self.validation.items():
            values |= Evaluation(trainer, batches, "validate", prefix).run()
        self.complete_row(values, began)
        hooks.on_epoch_end(trainer, state, state.row)
        hooks.on_safe_point(trainer, state)

    def train_pass(self) -> bool:
        """Train on every batch. Return whether the epoch is complete: False after a stop in mid-epoch."""
        trainer, state, hooks, progress = self.trainer, self.state, self.trainer.hooks, self.progress
        progress.batches = length(self.batches)
        trainer._control.end_epoch = False
        hooks.on_train_epoch_start(trainer, state)
        if not self.pass_over():
            self.train_batches()
        complete = progress.stop_reason is None or progress.batch == progress.batches or progress.step >= self.last_step
        hooks.on_train_epoch_end(trainer, state)
        progress.position = "epoch" if complete else "batch"
        return complete

    def train_batches(self) -> None:
        """Train on one batch after the other until the data or the pass is over."""
        trainer, state, hooks, progress, meter = self.trainer, self.state, self.trainer.hooks, self.progress, self.meter
        for batch in hooks.iter_batches(trainer, state, self.batches):
            progress.begin_batch()
            progress.batch_count += 1
            state.inputs, state.targets = hooks.prepare_batch(trainer, state, batch)
            del batch  # nothing of a batch outlives it
            hooks.on_batch_start(trainer, state)
            train_step(trainer, state)
            progress.moment = "between"
            if not progress.skip_batch:
                meter.add(state)
                trainer._log_batch(state)
            hooks.on_batch_end(trainer, state)
            state.clear_batch()
            hooks.on_safe_point(trainer, state)
            if self.pass_over():
                return
        check_count(trainer, progress, "train_data")

    def pass_over(self) -> bool:
        """Whether the training pass ends here, data or not."""
        progress = self.progress
        return self.trainer._control.end_epoch or progress.stop_reason is not None or progress.step >= self.last_step

    def complete_row(self, values: Row, began: float) -> None:
        """Make the row of the epoch; from here on it does not change."""
        trainer, state = self.trainer, self.state
        row: Row = {"epoch": state.epoch, **self.meter.values(), **values}
        row |= {name: float(rate) for name, rate in trainer._rates().items()}
        row["seconds"] = time.perf_counter() - began
        self.meter.open = False
        self.rows.append(row)
        trainer.history.append(dict(row))
        state.row = MappingProxyType(row)
        trainer._log_row(state)


class Evaluation:
    """One pass over validation, test or prediction data, which leaves everything else as it was.

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
        self.progress = replace(
            trainer._progress, phase=phase, batch=0, batches=length(batches), position="batch", moment="between", skip_batch=False
        )
        self.meter = Meter(trainer.metrics if phase != "predict" else ())
        self.collect = collect or self.meter.add
        self.state = trainer._new_state(self.progress, self.meter)

    def run(self) -> Row:
        """Run the pass, and return its values with their prefix."""
        trainer, state, hooks = self.trainer, self.state, self.trainer.hooks
        with random_states_aside(state.device), trainer._entered(state, self.meter):
            self.meter.begin(trainer.criterion.sums)
            hooks.on_eval_start(trainer, state)
            with eval_mode(trainer.modules(state.model)), torch.no_grad():
                self.evaluate_batches()
            row = self.named(self.meter.values())
            state.row = MappingProxyType(row)
            hooks.on_eval_end(trainer, state)
            row |= self.named(self.meter.recorded())
            self.meter.open = False
        return row

    def evaluate_batches(self) -> None:
        """Evaluate one batch after the other."""
        trainer, state, hooks, progress = self.trainer, self.state, self.trainer.hooks, self.progress
        for batch in hooks.iter_batches(trainer, state, self.batches):
            progress.begin_batch()
            state.inputs, state.targets = hooks.prepare_batch(trainer, state, batch)
            del batch
            hooks.on_eval_batch_start(trainer, state)
            if not progress.skip_batch:
                hooks.eval_step(trainer, state)
            progress.moment = "between"
            if not progress.skip_batch:
                self.collect(state)
            hooks.on_eval_batch_end(trainer, state)
            state.clear_batch()
        check_count(trainer, progress, {"validate": "val_data", "test": "test_data"}.get(progress.phase, "the data"))

    def named(self, values: Row) -> Row:
        """Return values with the prefix of the pass."""
        return {self.prefix + name: value for name, value in values.items()}


def check_count(trainer: Trainer, progress: Progress, name: str) -> None:
    """Refuse a pass that saw fewer batches than it should have. A plugin that acts in `iter_batches` may end it early.

    Raises:
        FitError: it saw none, or fewer than `len` of the data said.
    """
    if progress.batch == 0:
        when = f" in epoch {progress.epoch}" if progress.epoch else ""
        raise FitError(f"{name} gave no batch{when}; a generator can be read only once: pass a DataLoader or a list of batches")
    if progress.batches is not None and progress.batch < progress.batches and not trainer.hooks.altered("iter_batches"):
        raise FitError(
            f"{name} gave {progress.batch} batches, but its length is {progress.batches}; "
            "mend its __len__, or look for a StopIteration raised in its dataset"
        )


@contextmanager
def ending(trainer: Trainer, state: State, fit: bool) -> Iterator[None]:
    """Tell every plugin how a call ends; nothing raised there hides what was raised first."""
    hooks = trainer.hooks
    try:
        yield
    except BaseException as error:
        raised = [*flushed(trainer, state), *hooks.on_exception(trainer, state, error)]
        raised += hooks.on_fit_end(trainer, state) if fit else []
        mention(error, [*raised, *flushed(trainer, state)])
        raise
    raised = flushed(trainer, state)
    raised += hooks.on_fit_end(trainer, state) if fit else []
    raised += flushed(trainer, state)
    if raised:
        mention(raised[0], raised[1:])
        raise raised[0]


def flushed(trainer: Trainer, state: State) -> list[BaseException]:
    """Send what was logged to the trackers; return what that raised."""
    try:
        trainer._flush(state)
    except BaseException as error:
        return [error]
    return []


def mention(error: BaseException, others: Iterable[BaseException]) -> None:
    """Note on an exception what else was raised while it was on its way."""
    for other in others:
        if other is error:
            continue
        notes = "; ".join(getattr(other, "__notes__", ()))
        error.add_note(f"and while ending: {type(other).__name__}: {other} ({notes})")

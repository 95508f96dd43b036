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
        self.progress = trainer._progress
        self.meter = Meter(trainer.metrics, trainer.criterion.sums)
        self.state = trainer._new_state(self.progress, self.meter)
        self.rows: list[Row] = []

    def run(self) -> list[Row]:
        """Train, and return the rows of this call."""
        trainer, state, hooks = self.trainer, self.state, self.trainer.hooks
        with trainer._entered(state, self.meter), ending(trainer, state, fit=True):
            trainer._prepare(state)
            trainer._build_updates(state)
            self.begin()
            hooks.on_fit_start(trainer, state)
            while not self.done():
                self.epoch()
            trainer._finish_reading(state)
        return self.rows

    def begin(self) -> None:
        """Size the run, and clear what an earlier one left behind."""
        progress, batches = self.progress, length(self.batches)
        progress.stop_reason = None
        self.trainer.unfinished = None
        progress.epochs = progress.epoch + self.length.epochs
        self.last_step = math.inf if self.length.steps is None else progress.step + self.length.steps
        estimate = self.last_step
        if batches is not None:
            estimate = min(estimate, progress.step + batches * self.length.epochs)
        progress.steps_total = None if math.isinf(estimate) else int(estimate)
        switch_to_train(self.trainer.modules())
        for update in self.state.updates.values():
            for optimizer in update.optimizers:
                optimizer.zero_grad()

    def done(self) -> bool:
        """Whether nothing more is to be trained."""
        progress = self.progress
        return progress.stop_reason is not None or progress.epoch >= progress.epochs or progress.step >= self.last_step

    def epoch(self) -> None:
        """Train for one epoch, validate, and complete the row."""
        trainer, state, hooks = self.trainer, self.state, self.trainer.hooks
        began = time.perf_counter()
        self.progress.epoch += 1
        self.meter.reset()
        state.row = MappingProxyType({})
        hooks.on_epoch_start(trainer, state)
        if not self.train_pass():
            trainer.unfinished = self.meter.values()
            return
        values: Row = {}
        for prefix, batches in self.validation.items():
            values |= evaluation(trainer, batches, "validate", prefix)
        self.complete_row(values, began)
        hooks.on_epoch_end(trainer, state, state.row)
        hooks.on_safe_point(trainer, state)

    def train_pass(self) -> bool:
        """Train on every batch. Return whether the epoch is complete: False after a stop in mid-epoch."""
        trainer, state, hooks, control = self.trainer, self.state, self.trainer.hooks, self.trainer._control
        progress, meter = self.progress, self.meter
        progress.batch, progress.batches, progress.position = 0, length(self.batches), "batch"
        control.end_epoch = False
        hooks.on_train_epoch_start(trainer, state)
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
            if control.end_epoch or progress.stop_reason is not None or progress.step >= self.last_step:
                break
        else:
            check_count(progress, "train_data")
        stopped = progress.stop_reason is not None and progress.batch != progress.batches
        hooks.on_train_epoch_end(trainer, state)
        progress.position = "batch" if stopped else "epoch"
        return not stopped

    def complete_row(self, values: Row, began: float) -> None:
        """Make the row of the epoch; from here on it does not change."""
        trainer, state = self.trainer, self.state
        row: Row = {"epoch": state.epoch, **self.meter.values(), **values}
        row |= {name: float(rate) for name, rate in trainer._rates().items()}
        row["seconds"] = time.perf_counter() - began
        self.rows.append(row)
        trainer.history.append(row)
        state.row = MappingProxyType(row)
        trainer._log_row(state)


def evaluation(trainer: Trainer, batches: Iterable[Any], phase: Phase, prefix: str, collect: Callable[[State], None] | None = None) -> Row:
    """Run one pass over validation, test or prediction data, and leave everything else as it was.

    Args:
        trainer: whose model is evaluated.
        batches: the data.
        phase: what the pass is for.
        prefix: goes before the name of every value.
        collect: takes each batch in; None: loss and metrics do.

    Returns:
        The values of the pass, with their prefix.
    """
    hooks = trainer.hooks
    progress = replace(trainer._progress, phase=phase, batch=0, batches=length(batches), moment="between", skip_batch=False)
    meter = Meter(trainer.metrics if phase != "predict" else (), trainer.criterion.sums)
    collect = collect or meter.add
    state = trainer._new_state(progress, meter)
    with random_states_aside(state.device), trainer._entered(state, meter):
        hooks.on_eval_start(trainer, state)
        with eval_mode(trainer.modules(state.model)), torch.no_grad():
            for batch in hooks.iter_batches(trainer, state, batches):
                progress.begin_batch()
                state.inputs, state.targets = hooks.prepare_batch(trainer, state, batch)
                del batch
                hooks.on_eval_batch_start(trainer, state)
                if not progress.skip_batch:
                    hooks.eval_step(trainer, state)
                progress.moment = "between"
                if not progress.skip_batch:
                    collect(state)
                hooks.on_eval_batch_end(trainer, state)
                state.clear_batch()
        check_count(progress, {"validate": "val_data", "test": "test_data", "predict": "the data"}[phase])
        state.row = MappingProxyType(named(meter, prefix))
        hooks.on_eval_end(trainer, state)
        return named(meter, prefix)


def named(meter: Meter, prefix: str) -> Row:
    """Return the values of a pass with their prefix."""
    return {prefix + name: value for name, value in meter.values().items()}


def check_count(progress: Progress, name: str) -> None:
    """Refuse a pass that saw fewer batches than it should have.

    Raises:
        FitError: it saw none, or fewer than `len` of the data said.
    """
    if progress.batch == 0:
        when = f" in epoch {progress.epoch}" if progress.epoch else ""
        raise FitError(f"{name} gave no batch{when}; a generator can be read only once: pass a DataLoader or a list of batches")
    if progress.batches is not None and progress.batch < progress.batches:
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
        raised = hooks.on_exception(trainer, state, error)
        raised += hooks.on_fit_end(trainer, state) if fit else []
        mention(error, raised)
        raise
    raised = hooks.on_fit_end(trainer, state) if fit else []
    if raised:
        mention(raised[0], raised[1:])
        raise raised[0]


def mention(error: BaseException, others: Iterable[BaseException]) -> None:
    """Note on an exception what else was raised while it was on its way."""
    for other in others:
        notes = "; ".join(getattr(other, "__notes__", ()))
        error.add_note(f"and while ending: {type(other).__name__}: {other} ({notes})")

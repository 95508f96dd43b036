"""A batch step by step: the updates that are due on it, each from its first stage to the end of its step.

`ordinary.py` has the same in one piece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fit_core.closures import step_with_closure
from fit_core.errors import FitError
from fit_core.hookspecs import hookimpl
from fit_core.update import active, backward, compute_loss, forget_gradients, forward, step

if TYPE_CHECKING:
    from fit_core.state import State
    from fit_core.trainer import Trainer
    from fit_core.updates import Update


def train_step(trainer: Trainer, state: State) -> None:
    """Train on the batch in `state`, unless it is to be skipped."""
    control, progress = trainer._control, state._progress
    control.updates_run = 0
    if progress.skip_batch:
        return
    (trainer.hooks.others.train_step or run_updates)(trainer, state)
    if control.updates_run or progress.skip_batch:
        return
    if any(update.due(progress.batch_count) for update in state.updates.values()):
        raise FitError("train_step ran no update; call trainer.run_update(update) for one at least, or trainer.skip_batch(reason)")


@hookimpl(trylast=True, specname="train_step")
def run_updates(trainer: Trainer, state: State) -> bool:
    """Run each update that is due on the batch: the default of the stage `train_step`."""
    batch_count, is_forward_made = state._progress.batch_count, False
    for update in state.updates.values():
        if batch_count % update.every == 0:
            if update.shares_forward and not is_forward_made:
                forward(trainer, state)
                is_forward_made = True
            run_update(trainer, state, update)
    return True


def run_update(trainer: Trainer, state: State, update: Update) -> None:
    """Run one update on the batch in `state`."""
    control, progress, window = trainer._control, state._progress, update.window
    if progress.skip_batch:
        return
    progress.moment = "update" if control.updates_run else "batch"
    control.updates_run += 1
    control.came_to_step = False
    window.skip = window.skip or control.skip_step
    window.sums = (update.criterion or trainer.criterion).sums
    state.update = update
    state.weight = None
    run = trainer.hooks.others.run_update or run_stages
    try:
        if len(state.updates) == 1:
            run(trainer, state)
        else:
            with trainer.sequence.only(update):
                run(trainer, state)
    except BaseException:
        update.begin_window()  # whoever catches it goes on without half a gradient
        raise
    finally:
        state.update = None
    if not progress.skip_batch and state.loss is not None:
        meter = trainer._passes[-1][1]
        for name in update.loss_names:
            kept = meter.add_loss(name, state, window.sums)
            if trainer._logs:
                control.losses[name] = kept
    if not control.came_to_step and not progress.skip_batch:
        raise FitError(f"run_update of update {update.name!r} never came to trainer.maybe_step()")


@hookimpl(trylast=True, specname="run_update")
def run_stages(trainer: Trainer, state: State) -> bool:
    """Run an update's stages one after the other: the default of the stage `run_update`."""
    update = state.update
    assert update is not None
    if not update.needs_closure:  # else the optimizer evaluates the batch, in its step
        if not update.shares_forward:
            forward(trainer, state)
        compute_loss(trainer, state)
        backward(trainer, state)
    maybe_step(trainer, state)
    return True


def maybe_step(trainer: Trainer, state: State) -> None:
    """Enter the batch into the window, and step if it is time to."""
    update = state.update or active(state)
    if trainer._control.came_to_step:
        raise FitError(f"run_update of update {update.name!r} came to trainer.maybe_step() twice; a batch enters the window once")
    trainer._control.came_to_step = True
    if state._progress.skip_batch:
        return
    if update.needs_closure:
        step_with_closure(trainer, state, update)
        return
    update.window.add(state)
    others = trainer.hooks.others
    full = update.window.batches >= update.window.accumulate
    if others.should_step(trainer, state) if others.should_step else full:
        step(trainer, state, update)
        return
    factor = update.window.stay_open(state)
    if factor is not None:
        update.multiply_gradients(factor)


def finish_windows(trainer: Trainer, state: State) -> bool:
    """Step with windows that the end of the data left short. Return whether there was one."""
    short = [update for update in state.updates.values() if update.window.batches]
    for update in short:
        finish_window(trainer, state, update)
    return bool(short)


def finish_window(trainer: Trainer, state: State, update: Update) -> None:
    """Step with a window that the end of the data left short, or drop it."""
    state.update = update
    state._progress.moment = "backward"
    try:
        if trainer.remainder == "step":
            step(trainer, state, update)
        else:
            forget_gradients(trainer, state, update)
    except BaseException:
        update.begin_window()
        raise
    finally:
        state.update = None
        state._progress.moment = "between"

"""From forward to zero_grad: what the core promises around the stages of one update.

The stages themselves are in `stages.py`, or in a plugin that replaces them. Here is what holds whoever implements
them: the window is scaled, nothing that is not finite gets through, a step is counted once, notices come in order.

All of this runs in every batch, so that it calls the plan only for what a plugin does: `hooks.others` has None for a notice
that nobody hears, and for a stage in which nobody but the core acts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fit_core import stages
from fit_core.closures import Abandoned, Snapshot
from fit_core.errors import FitError
from fit_core.guard import forget_flags
from fit_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from fit_core.state import State
    from fit_core.trainer import Trainer
    from fit_core.updates import Update


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


@hookimpl(trylast=True, specname="eval_step")
def evaluate_batch(trainer: Trainer, state: State) -> bool:
    """Compute outputs and, but for a prediction, the loss: the default of the stage `eval_step`."""
    forward(trainer, state)
    if state.phase != "predict":
        compute_loss(trainer, state)
    return True


def forward(trainer: Trainer, state: State) -> None:
    """Fill `state.outputs`."""
    if state._progress.skip_batch:
        return
    others = trainer.hooks.others
    state.outputs = (others.forward or stages.forward)(trainer, state)
    if others.on_forward_end:
        others.on_forward_end(trainer, state)


def compute_loss(trainer: Trainer, state: State) -> None:
    """Fill `state.loss` and `state.weight`."""
    if state._progress.skip_batch:
        return
    others = trainer.hooks.others
    state.loss = (others.compute_loss or stages.compute_loss)(trainer, state)
    if others.on_loss_end:
        others.on_loss_end(trainer, state)


def backward(trainer: Trainer, state: State) -> None:
    """Add the gradients of `state.loss`, scaled for the window."""
    if state._progress.skip_batch:
        return
    others, window = trainer.hooks.others, (state.update or active(state)).window
    scaled = window.scale(state) if window.batches or window.accumulate > 1 else state.loss
    state._progress.moment = "backward"
    (others.backward or stages.backward)(trainer, state, scaled)
    if others.on_backward_end:
        others.on_backward_end(trainer, state)


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


def step(trainer: Trainer, state: State, update: Update) -> None:
    """Use the gradients of the window: one update of the parameters, or a skipped one."""
    ratio = None if update.window.nominal is None else update.window.correction()
    if ratio is not None:
        update.multiply_gradients(ratio)
    if admitted(trainer, state, update):
        (trainer.hooks.others.optimizer_step or stages.optimizer_step)(trainer, state)
        count_step(trainer, state, update)
    forget_gradients(trainer, state, update)


def admitted(trainer: Trainer, state: State, update: Update) -> bool:
    """Finish the gradients, and tell whether a step is made with them: `on_step_start` has been heard if so."""
    window, others = update.window, trainer.hooks.others
    if window.skip or (others.finish_gradients and not others.finish_gradients(trainer, state)):
        return False
    if window.skip:  # whoever finishes gradients may ask for it too
        return False
    if trainer._guard.policy != "off" and not trainer._guard.admits(state, update, trainer.losses):
        return False
    state._progress.moment = "step"
    if others.on_step_start:
        others.on_step_start(trainer, state)
    rate = update.optimizers[0].param_groups[0]["lr"]
    update.lr = rate if isinstance(rate, float) else update.next_lr
    return True


def count_step(trainer: Trainer, state: State, update: Update) -> None:
    """Count a step that was made, and tell everyone."""
    if update.told:
        forget_flags(update)
    update.steps += 1
    if update.is_first:
        state._progress.step += 1
    others = trainer.hooks.others
    if others.on_step_end:
        others.on_step_end(trainer, state)


def forget_gradients(trainer: Trainer, state: State, update: Update) -> None:
    """Clear gradients after a step or a skipped one, and begin a new window."""
    (trainer.hooks.others.zero_grad or stages.zero_grad)(trainer, state)
    update.window.clear()


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


def step_with_closure(trainer: Trainer, state: State, update: Update) -> None:
    """Let an optimizer such as LBFGS evaluate the batch as often as it likes within one step.

    What is reported is its first evaluation. A step that is skipped, or fails, leaves parameters and optimizer as they were.
    """
    first: list[Any] = []
    asked = update.window.skip

    def closure() -> Tensor:
        with torch.enable_grad():
            update.begin_window()
            update.window.skip = asked
            state._progress.moment = "update" if first else "batch"
            forward(trainer, state)
            compute_loss(trainer, state)
            backward(trainer, state)
        if state._progress.skip_batch:
            raise Abandoned
        first[:] = first or [state.outputs, state.loss, state.weight]
        update.window.add(state)
        if not trainer.hooks.should_step(trainer, state):
            raise FitError(
                f"update {update.name!r} steps on every batch, since its optimizer evaluates it itself; should_step must be True"
            )
        if not admitted(trainer, state, update):
            raise Abandoned
        return state.loss.detach()

    before = Snapshot(update)
    update.closure = closure
    try:
        trainer.hooks.optimizer_step(trainer, state)
    except BaseException as error:
        before.restore()
        if not isinstance(error, Abandoned):
            raise
    else:
        state.outputs, state.loss, state.weight = first
        count_step(trainer, state, update)
    finally:
        update.closure = None
    forget_gradients(trainer, state, update)


def active(state: State) -> Update:
    """Return the update at work."""
    if state.update is None:
        raise FitError("there is no update at work: call this inside run_update")
    return state.update

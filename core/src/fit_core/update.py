"""From forward to zero_grad: what the core promises around the stages of one update.

The stages themselves are in `defaults.py`, or in a plugin that replaces them. Here is what holds whoever implements
them: the window is scaled, nothing that is not finite gets through, a step is counted once, notices come in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fit_core.closures import Abandoned, Snapshot
from fit_core.errors import FitError
from fit_core.guard import forget_flags

if TYPE_CHECKING:
    from fit_core.state import State
    from fit_core.trainer import Trainer
    from fit_core.updates import Update


def train_step(trainer: Trainer, state: State) -> None:
    """Train on the batch in `state`, unless it is to be skipped."""
    control, progress = trainer._control, state._progress
    if progress.skip_batch:
        return
    control.updates_run = 0
    trainer.hooks.train_step(trainer, state)
    if control.updates_run or progress.skip_batch:
        return
    if any(update.due(progress.batch_count) for update in state.updates.values()):
        raise FitError("train_step ran no update; call trainer.run_update(update) for one at least, or trainer.skip_batch(reason)")


def run_update(trainer: Trainer, state: State, update: Update) -> None:
    """Run one update on the batch in `state`."""
    control, progress = trainer._control, state._progress
    if progress.skip_batch:
        return
    progress.moment = "update" if control.updates_run else "batch"
    control.updates_run += 1
    control.came_to_step = False
    update.window.skip = update.window.skip or control.skip_step
    state.update = update
    state.weight = None
    update.window.sums = trainer.criterion_for(state).sums
    try:
        if len(state.updates) == 1:
            trainer.hooks.run_update(trainer, state)
        else:
            with trainer.sequence.only(update):
                trainer.hooks.run_update(trainer, state)
    except BaseException:
        update.begin_window()  # whoever catches it goes on without half a gradient
        raise
    finally:
        state.update = None
    if not progress.skip_batch:
        note_loss(trainer, state, update)
    if not control.came_to_step and not progress.skip_batch:
        raise FitError(f"run_update of update {update.name!r} never came to trainer.maybe_step()")


def note_loss(trainer: Trainer, state: State, update: Update) -> None:
    """Take the loss of an update into the row: as `loss` that of the first, and under its name if there are several."""
    if state.loss is None:
        return
    names = ["loss"] if update is trainer.sequence.first else []
    if len(state.updates) > 1:
        names.append(f"{update.name}_loss")
    for name in names:
        trainer._passes[-1][1].add_loss(name, state, update.window.sums)
        if trainer._logs:
            trainer._control.losses[name] = state.loss.detach()


def forward(trainer: Trainer, state: State) -> None:
    """Fill `state.outputs`."""
    if not state._progress.skip_batch:
        state.outputs = trainer.hooks.forward(trainer, state)
        trainer.hooks.on_forward_end(trainer, state)


def compute_loss(trainer: Trainer, state: State) -> None:
    """Fill `state.loss` and `state.weight`."""
    if not state._progress.skip_batch:
        state.loss = trainer.hooks.compute_loss(trainer, state)
        trainer.hooks.on_loss_end(trainer, state)


def backward(trainer: Trainer, state: State) -> None:
    """Add the gradients of `state.loss`, scaled for the window."""
    if not state._progress.skip_batch:
        scaled = active(state).window.scale(state)
        state._progress.moment = "backward"
        trainer.hooks.backward(trainer, state, scaled)
        trainer.hooks.on_backward_end(trainer, state)


def maybe_step(trainer: Trainer, state: State) -> None:
    """Enter the batch into the window, and step if it is time to."""
    update = active(state)
    if trainer._control.came_to_step:
        raise FitError(f"run_update of update {update.name!r} came to trainer.maybe_step() twice; a batch enters the window once")
    trainer._control.came_to_step = True
    if state._progress.skip_batch:
        return
    if update.needs_closure:
        step_with_closure(trainer, state, update)
        return
    update.window.add(state)
    if trainer.hooks.should_step(trainer, state):
        step(trainer, state, update)
        return
    factor = update.window.stay_open(state)
    if factor is not None:
        update.multiply_gradients(factor)


def step(trainer: Trainer, state: State, update: Update) -> None:
    """Use the gradients of the window: one update of the parameters, or a skipped one."""
    ratio = update.window.correction()
    if ratio is not None:
        update.multiply_gradients(ratio)
    if admitted(trainer, state, update):
        trainer.hooks.optimizer_step(trainer, state)
        count_step(trainer, state, update)
    forget_gradients(trainer, state, update)


def admitted(trainer: Trainer, state: State, update: Update) -> bool:
    """Finish the gradients, and tell whether a step is made with them: `on_step_start` has been heard if so."""
    good = not update.window.skip and trainer.hooks.finish_gradients(trainer, state)
    if not good or update.window.skip:  # whoever finishes gradients may ask for it too
        return False
    if not trainer._guard.admits(state, update, trainer.losses):
        return False
    state._progress.moment = "step"
    trainer.hooks.on_step_start(trainer, state)
    update.lr = update.next_lr
    return True


def count_step(trainer: Trainer, state: State, update: Update) -> None:
    """Count a step that was made, and tell everyone."""
    forget_flags(update)
    update.steps += 1
    if update is trainer.sequence.first:
        state._progress.step += 1
    trainer.hooks.on_step_end(trainer, state)


def forget_gradients(trainer: Trainer, state: State, update: Update) -> None:
    """Clear gradients after a step or a skipped one, and begin a new window."""
    trainer.hooks.zero_grad(trainer, state)
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

"""From forward to zero_grad: what the core promises around the stages of one update.

The stages themselves are in `defaults.py`, or in a plugin that replaces them. Here is what holds whoever implements
them: the window is scaled, nothing that is not finite gets through, a step is counted once, notices come in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fit_core.errors import FitError

if TYPE_CHECKING:
    from fit_core.optimizers import Update
    from fit_core.state import State
    from fit_core.trainer import Trainer


def train_step(trainer: Trainer, state: State) -> None:
    """Train on the batch in `state`, unless it is to be skipped."""
    control, progress = trainer._control, state._progress
    if progress.skip_batch:
        return
    control.updates_run = 0
    trainer.hooks.train_step(trainer, state)
    if not control.updates_run and not progress.skip_batch:
        raise FitError("train_step ran no update; call trainer.run_update(update) for one at least, or trainer.skip_batch(reason)")


def run_update(trainer: Trainer, state: State, update: Update) -> None:
    """Run one update on the batch in `state`."""
    control, progress = trainer._control, state._progress
    if progress.skip_batch:
        return
    progress.moment = "update" if control.updates_run else "batch"
    control.updates_run += 1
    control.came_to_step = False
    state.update = update
    try:
        trainer.hooks.run_update(trainer, state)
    except BaseException:
        update.zero_grad()  # whoever catches it goes on without half a gradient
        control.skip_step = False
        raise
    finally:
        state.update = None
    if not control.came_to_step:
        raise FitError(f"run_update of update {update.name!r} never came to trainer.maybe_step()")


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
        scaled = active(state).window.scale(state.loss)
        state._progress.moment = "backward"
        trainer.hooks.backward(trainer, state, scaled)
        trainer.hooks.on_backward_end(trainer, state)


def maybe_step(trainer: Trainer, state: State) -> None:
    """Enter the batch into the window, and step if it is time to."""
    update = active(state)
    if trainer._control.came_to_step:
        raise FitError(f"run_update of update {update.name!r} came to trainer.maybe_step() twice; a batch enters the window once")
    trainer._control.came_to_step = True
    if not state._progress.skip_batch:
        update.window.add()
        if trainer.hooks.should_step(trainer, state):
            step(trainer, state, update)


def step(trainer: Trainer, state: State, update: Update) -> None:
    """Use the gradients of the window: one update of the parameters, or a skipped one."""
    hooks, control = trainer.hooks, trainer._control
    good = not control.skip_step and hooks.finish_gradients(trainer, state)
    if good and not control.skip_step and trainer._guard.admits(state, update):
        state._progress.moment = "step"
        hooks.on_step_start(trainer, state)
        update.lr = update.next_lr
        hooks.optimizer_step(trainer, state)
        update.steps += 1
        if update is trainer._first_update:
            state._progress.step += 1
        hooks.on_step_end(trainer, state)
    control.skip_step = False
    hooks.zero_grad(trainer, state)
    update.window.clear()


def active(state: State) -> Update:
    """Return the update at work."""
    if state.update is None:
        raise FitError("there is no update at work: call this inside run_update")
    return state.update

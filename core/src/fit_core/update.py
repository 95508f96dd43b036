"""From forward to zero_grad: what the core promises around the stages of one update. `stepwise.py` puts them in their order.

The stages themselves are in `stages.py`, or in a plugin that replaces them. Here is what holds whoever implements
them: the window is scaled, nothing that is not finite gets through, a step is counted once, notices come in order.

All of this runs in every batch, so that it calls the plan only for what a plugin does: `hooks.others` has None for a notice
that nobody hears, and for a stage in which nobody but the core acts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fit_core import stages
from fit_core.errors import FitError
from fit_core.guard import forget_flags
from fit_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from fit_core.state import State
    from fit_core.trainer import Trainer
    from fit_core.updates import Update


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
    if trainer._guard.policy != "off" and not trainer._guard.admits(state, update, trainer):
        return False
    state._progress.moment = "step"
    if others.on_step_start:
        others.on_step_start(trainer, state)
    if update.norm.is_wanted:
        update.norm.forget()
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


def active(state: State) -> Update:
    """Return the update at work."""
    if state.update is None:
        raise FitError("there is no update at work: call this inside run_update")
    return state.update

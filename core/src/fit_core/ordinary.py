"""An ordinary batch in one piece: there is one update, without a closure, and nobody replaces `train_step` or `run_update`.

It does what `run_updates` in `stepwise.py` does with its building blocks, which is where to read how an update works. Here are the
same lines one after the other, with the core's own stages in place: two dozen calls would be most of what fit adds to a step. A
test compares the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from fit_core import stages
from fit_core.blame import blame, by_default, is_blamed
from fit_core.guard import forget_flags
from fit_core.optimizers import clear_gradients
from fit_core.stepwise import maybe_step

if TYPE_CHECKING:
    from fit_core.state import State
    from fit_core.trainer import Trainer
    from fit_core.updates import Update


def train_ordinarily(trainer: Trainer, state: State, update: Update) -> None:
    """Train on the batch in `state`, if the update is due on it."""
    progress, control, others, window, guard = state._progress, trainer._control, trainer.hooks.others, update.window, trainer._guard
    if progress.skip_batch or progress.batch_count % update.every:
        control.updates_run = 0
        return
    control.updates_run = 1
    control.came_to_step = True
    criterion = update.criterion or trainer.criterion
    window.skip, window.sums = window.skip or control.skip_step, criterion.sums
    is_alone = window.accumulate == 1 and not window.batches and not others.should_step  # in its window
    state.update, state.weight = update, None
    at_work = "forward"
    try:
        model, inputs = state.model, state.inputs
        if others.forward:
            state.outputs = others.forward(trainer, state)
        elif model is trainer._without_state and isinstance(inputs, Tensor):
            state.outputs = model(inputs)
        else:
            state.outputs = trainer.call_model(state)
        del inputs
        if state.outputs is None:
            state.outputs = stages.no_outputs(trainer)
        if others.on_forward_end:
            others.on_forward_end(trainer, state)
        if progress.skip_batch:
            return

        at_work = "compute_loss"
        state.loss = others.compute_loss(trainer, state) if others.compute_loss else criterion(state)
        if not isinstance(state.loss, Tensor) or state.loss.numel() != 1:
            raise trainer.hooks.refusal("compute_loss", state.loss)
        if others.on_loss_end:
            others.on_loss_end(trainer, state)
        if progress.skip_batch:
            return

        at_work = progress.moment = "backward"
        loss = state.loss if is_alone else window.scale(state)
        if others.backward:
            others.backward(trainer, state, loss)
        else:
            loss.backward()
        del loss
        if others.on_backward_end:
            others.on_backward_end(trainer, state)

        at_work = "run_update"
        if not is_alone:
            control.came_to_step = False
            maybe_step(trainer, state)
        else:
            window.batches = 1
            good = not window.skip and (others.finish_gradients is None or others.finish_gradients(trainer, state))
            if good and not window.skip and (guard.policy == "off" or guard.admits(state, update, trainer.losses)):
                progress.moment = "step"
                if others.on_step_start:
                    others.on_step_start(trainer, state)
                rate = update.optimizers[0].param_groups[0]["lr"]
                update.lr = rate if isinstance(rate, float) else update.next_lr
                at_work = "optimizer_step"
                if others.optimizer_step:
                    others.optimizer_step(trainer, state)
                else:
                    for optimizer in update.optimizers:
                        optimizer.step()
                if update.told:
                    forget_flags(update)
                update.steps += 1
                progress.step += 1
                if others.on_step_end:
                    others.on_step_end(trainer, state)

            at_work = "zero_grad"
            if others.zero_grad:
                others.zero_grad(trainer, state)
            else:
                clear_gradients(update.optimizers)
            window.batches, window.skip = 0, False
    except BaseException as error:
        if not is_blamed(error):
            stages.note_values(at_work, error, state)
        update.begin_window()  # whoever catches it goes on without half a gradient
        raise blame(error, by_default(at_work), state)
    finally:
        state.update = None
    kept = trainer._passes[-1][1].add_loss("loss", state, window.sums)
    if trainer._logs:
        control.losses["loss"] = kept

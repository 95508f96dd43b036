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
from fit_core.optimizers import clear_gradients, step
from fit_core.stepwise import maybe_step

if TYPE_CHECKING:
    from fit_core.mean import WeightedMean
    from fit_core.meter import Meter
    from fit_core.state import State
    from fit_core.trainer import Trainer


class Ordinary:
    """Trains on the batches of a pass, one at a time, as long as they are ordinary ones.

    Args:
        trainer: what trains.
        state: of the pass.
        meter: of the pass.
    """

    __slots__ = ("control", "guard", "hooks", "mean", "meter", "state", "trainer", "update")

    def __init__(self, trainer: Trainer, state: State, meter: Meter) -> None:
        self.trainer, self.state, self.meter = trainer, state, meter
        self.hooks, self.control, self.guard = trainer.hooks, trainer._control, trainer._guard
        self.update = trainer.sequence.first
        self.mean: WeightedMean | None = None  # of the losses, from the first one on

    def train(self) -> None:
        """Train on the batch in the state, if the update is due on it."""
        trainer, state, update, control, guard = self.trainer, self.state, self.update, self.control, self.guard
        progress, others, window = state._progress, self.hooks.others, update.window
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
                raise self.hooks.refusal("compute_loss", state.loss)
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
                if good and not window.skip and (guard.policy == "off" or guard.admits(state, update, trainer)):
                    progress.moment = "step"
                    if others.on_step_start:
                        others.on_step_start(trainer, state)
                    if update.norm.is_wanted:
                        update.norm.forget()
                    rate = update.optimizers[0].param_groups[0]["lr"]
                    update.lr = rate if isinstance(rate, float) else update.next_lr
                    at_work = "optimizer_step"
                    if others.optimizer_step:
                        others.optimizer_step(trainer, state)
                    else:
                        for optimizer in update.optimizers:
                            step(optimizer)
                    if update.told:
                        forget_flags(update)
                    update.steps += 1
                    progress.step += 1
                    if others.on_step_end:
                        others.on_step_end(trainer, state)

                at_work = "zero_grad"
                if others.zero_grad:
                    others.zero_grad(trainer, state)
                elif update.has_own_zero_grad:
                    update.zero_grad()
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
        if self.meter.weighing or state.weight is None:
            kept = self.meter.add_loss("loss", state, window.sums)
        else:
            self.mean = self.mean or self.meter.mean_of("loss", window.sums)
            kept = self.mean.add_loss(state.loss, state.weight, state.weight is state._counted)
        if trainer._logs:
            control.losses["loss"] = kept

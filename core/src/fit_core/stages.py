"""What the core does within a batch when no plugin does it otherwise: the defaults of the stages that have nothing inside.

The core calls them by itself where nobody acts in a stage (`hooks.others` says so), and through the plan where somebody
does. They are part of the plugin in `defaults.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from fit_core.batch import describe, describe_types, move, split
from fit_core.hookspecs import hookimpl
from fit_core.optimizers import clear_gradients, step

if TYPE_CHECKING:
    from fit_core.state import State
    from fit_core.trainer import Trainer


@hookimpl(trylast=True)
def prepare_batch(trainer: Trainer, state: State, batch: Any) -> tuple[Any, Any]:
    inputs, targets = split(batch)
    return move(inputs, state.device), move(targets, state.device)


@hookimpl(trylast=True)
def forward(trainer: Trainer, state: State) -> Any:
    try:
        outputs = trainer.call_model(state)
    except Exception as error:
        note_values("forward", error, state)
        raise
    return no_outputs(trainer) if outputs is None else outputs


@hookimpl(trylast=True)
def compute_loss(trainer: Trainer, state: State) -> Tensor:
    try:
        loss = trainer.criterion_for(state)(state)
    except Exception as error:
        note_values("compute_loss", error, state)
        raise
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return loss
    raise trainer.hooks.refusal("compute_loss", loss)


def no_outputs(trainer: Trainer) -> Any:
    """Return what stands for the outputs of a model that returned None: it may leave everything in `state`.

    Raises:
        FitError: there is a loss function, which needs some.
    """
    if trainer.loss_fn is None:
        return ()
    raise trainer.hooks.refusal("forward", None)


def note_values(stage: str, error: BaseException, state: State) -> None:
    """Add a note that says with what a stage was at work when torch or the user's code failed."""
    if stage == "forward" and isinstance(error, (RuntimeError, TypeError)):
        error.add_note(f"the model was called with {describe(state.inputs)}; its parameters are {describe_types(state.model)}")
    if stage == "compute_loss" and isinstance(error, (RuntimeError, TypeError, ValueError, IndexError)):
        missing = "; the batch has no targets: data must give (inputs, targets)" if state.targets is None else ""
        error.add_note(f"the loss was computed from outputs {describe(state.outputs)} and targets {describe(state.targets)}{missing}")


@hookimpl(trylast=True)
def backward(trainer: Trainer, state: State, loss: Tensor) -> bool:
    loss.backward()
    return True


@hookimpl(trylast=True)
def should_step(state: State) -> bool:
    assert state.update is not None
    return state.update.window.full


@hookimpl(trylast=True)
def finish_gradients() -> bool:
    return True


@hookimpl(trylast=True)
def optimizer_step(trainer: Trainer, state: State) -> bool:
    update = state.update
    assert update is not None
    if update.closure:
        update.optimizer.step(update.closure)
        return True
    for optimizer in update.optimizers:
        step(optimizer)
    return True


@hookimpl(trylast=True)
def zero_grad(trainer: Trainer, state: State) -> bool:
    update = state.update
    assert update is not None
    if update.has_own_zero_grad:
        update.zero_grad()
    else:
        clear_gradients(update.optimizers)
    return True

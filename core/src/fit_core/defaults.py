"""What the core does at every stage when no plugin does it otherwise.

This module is a plugin like any other. It is registered last, so that the core is asked last and has no privilege.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fit_core import update as stepping
from fit_core.batch import describe, describe_types, move, split
from fit_core.hookspecs import hookimpl
from fit_core.state import State

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


@hookimpl(trylast=True)
def prepare_model(trainer: Trainer) -> nn.Module:
    return trainer.model


@hookimpl(trylast=True)
def param_groups(trainer: Trainer, state: State) -> list[Any]:
    if state.update is not None and state.update.given_params is not None:
        return state.update.given_params
    trained = [p for module in trainer.modules(state.model) for p in module.parameters() if p.requires_grad]
    return list({id(p): p for p in trained}.values())  # a loss module may hold the model too


@hookimpl(trylast=True)
def iter_batches(data: Any) -> Iterator[Any]:
    return iter(data)


@hookimpl(trylast=True)
def prepare_batch(state: State, batch: Any) -> tuple[Any, Any]:
    inputs, targets = split(batch)
    return move(inputs, state.device), move(targets, state.device)


@hookimpl(trylast=True)
def train_step(trainer: Trainer, state: State) -> bool:
    due = [update for update in state.updates.values() if update.due(state.batch_count)]
    if due and trainer.shared_forward:
        stepping.forward(trainer, state)
    for update in due:
        stepping.run_update(trainer, state, update)
    return True


@hookimpl(trylast=True)
def run_update(trainer: Trainer, state: State) -> bool:
    assert state.update is not None
    if not state.update.needs_closure:  # else the optimizer evaluates the batch, in its step
        if not trainer.shared_forward:
            stepping.forward(trainer, state)
        stepping.compute_loss(trainer, state)
        stepping.backward(trainer, state)
    stepping.maybe_step(trainer, state)
    return True


@hookimpl(trylast=True)
def forward(trainer: Trainer, state: State) -> Any:
    try:
        outputs = trainer.call_model(state)
    except (RuntimeError, TypeError) as error:
        error.add_note(f"the model was called with {describe(state.inputs)}; its parameters are {describe_types(state.model)}")
        raise
    return () if outputs is None and trainer.loss_fn is None else outputs  # a model may leave everything in `state`


@hookimpl(trylast=True)
def compute_loss(trainer: Trainer, state: State) -> Tensor:
    try:
        return trainer.criterion_for(state)(state)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        missing = "; the batch has no targets: data must give (inputs, targets)" if state.targets is None else ""
        error.add_note(f"the loss was computed from outputs {describe(state.outputs)} and targets {describe(state.targets)}{missing}")
        raise


@hookimpl(trylast=True)
def backward(loss: Tensor) -> bool:
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
def optimizer_step(state: State) -> bool:
    assert state.update is not None
    if state.update.closure is not None:
        state.update.optimizer.step(state.update.closure)
        return True
    for optimizer in state.update.optimizers:
        optimizer.step()
    return True


@hookimpl(trylast=True)
def zero_grad(state: State) -> bool:
    assert state.update is not None
    for optimizer in state.update.optimizers:
        optimizer.zero_grad()
    return True


@hookimpl(trylast=True)
def eval_step(trainer: Trainer, state: State) -> bool:
    stepping.forward(trainer, state)
    if state.phase != "predict":
        stepping.compute_loss(trainer, state)
    return True


@hookimpl(trylast=True)
def export_model(trainer: Trainer) -> nn.Module:
    return trainer.model

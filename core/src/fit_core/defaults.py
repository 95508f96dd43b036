"""What the core does at every stage when no plugin does it otherwise.

This module is a plugin like any other. It is registered last, so that the core is asked last and has no privilege.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from fit_core.hookspecs import hookimpl
from fit_core.stages import backward, compute_loss, finish_gradients, forward, optimizer_step, prepare_batch, should_step, zero_grad
from fit_core.state import State
from fit_core.stepwise import run_stages, run_updates
from fit_core.update import evaluate_batch

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

__all__ = [
    "backward",
    "compute_loss",
    "evaluate_batch",
    "export_model",
    "finish_gradients",
    "forward",
    "iter_batches",
    "optimizer_step",
    "param_groups",
    "prepare_batch",
    "prepare_model",
    "run_stages",
    "run_updates",
    "should_step",
    "zero_grad",
]


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
def export_model(trainer: Trainer) -> nn.Module:
    return trainer.model

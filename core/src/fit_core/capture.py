"""The whole state of a trainer as plain values and tensors, and back.

What is captured: the counters and rows, every update with its optimizers, the plugins by name, the call of `fit` that is going
on (where it is, what it has measured, gradients of open windows, random states), and the tensors of the modules, which go
into files of their own.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from fit_core.errors import FitError, listed
from fit_core.metric_list import directions_of
from fit_core.modes import random_states
from fit_core.streams import Streams

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

PARTS = ("core", "call", "plugins")


def capture(trainer: Trainer) -> dict[str, Any]:
    """Return the state of a trainer but for the tensors of its modules; values that are still in use, to be written at once.

    Raises:
        FitError: a batch is at work, or a run has failed in the midst of one.
    """
    progress = trainer._progress
    if not progress.whole:
        where = trainer._passes[0][0].where() if trainer._passes else "after a run that failed in the midst of a batch"
        raise FitError(f"the state cannot be saved {where}: save in the hook on_safe_point, or the weights alone")
    trainer._flush(trainer.current_state())  # what trackers have heard is part of their state
    return {
        "core": {
            "epoch": progress.epoch,
            "batch_count": progress.batch_count,
            "step": progress.step,
            "seed": trainer.seed,
            "streams": trainer._streams.seed,
            "history": trainer.history,
            "random": _random(trainer),
            "updates": {name: update.state_dict() for name, update in trainer.updates.items()},
        },
        "call": trainer.call_state(),
        "plugins": {**trainer._absent, **{member.name: member.state_dict() for member in trainer.members}},
    }


def _random(trainer: Trainer) -> dict[str, Any] | None:
    """Return the random states; None if the first `fit` is still to set them by the seed."""
    if trainer.seed is not None and not trainer._seeded:
        return None
    return {"states": random_states(trainer.current_state().device), "streams": dict(trainer._progress.streams)}


def restore(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Give a trainer whose optimizers are built the state that `capture` returned; a call of `fit` waits to be resumed.

    Raises:
        FitError: updates or optimizers differ.
    """
    core, progress = state["core"], trainer._progress
    saved, updates = core["updates"], trainer.updates
    if saved and updates and saved.keys() != updates.keys():
        raise FitError(f"the state was saved with the updates {listed(saved)}, and the trainer has {listed(updates)}")
    for name, update in updates.items():
        if name in saved:
            update.load_state_dict(saved[name])
    progress.begin_run()
    progress.whole = True
    progress.epoch, progress.batch_count, progress.step = core["epoch"], core["batch_count"], core["step"]
    trainer._random, trainer._seeded = core["random"], core["random"] is not None
    trainer.history[:] = [dict(row) for row in core["history"]]
    trainer._streams = Streams(core["streams"])
    trainer._call = state["call"]
    trainer.checkpoints.forget()
    present = {member.name: member for member in trainer.members}
    for name, own in state["plugins"].items():
        if name in present:
            present[name].load_state_dict(own)
    trainer._absent = {name: own for name, own in state["plugins"].items() if name not in present}


def facts(trainer: Trainer, batches: int | None) -> dict[str, Any]:
    """Return what must be the same for a resumed run to be equal to one that was never interrupted.

    Plugins that say `passive = True` change nothing in training, and may come and go.

    Args:
        trainer: as it was built.
        batches: of a training pass; None if unknown.
    """
    active = [member for member in trainer.members if not getattr(member.plugin, "passive", False)]
    plugins = {member.name: {key: str(value) for key, value in member.options.items()} for member in active}
    return {
        "seed": trainer.seed,
        "batches of an epoch": batches,
        "accumulate": trainer.accumulate,
        "remainder": trainer.remainder,
        "finite": trainer._guard.policy,
        "metrics": [f"{type(metric).__name__} {' '.join(directions_of(metric)) or metric.name}" for metric in trainer.metrics],
        "optimizers": {update.name: ", ".join(map(_described, update.optimizers)) for update in trainer.updates.values()},
        "plugins": plugins,
        "torch": torch.__version__,
    }


def _described(optimizer: Optimizer) -> str:
    """Return the class of an optimizer, its rate, and those options that are not as by default."""
    usual = {name: parameter.default for name, parameter in inspect.signature(type(optimizer)).parameters.items()}
    options = {name: value for name, value in optimizer.defaults.items() if name == "lr" or usual.get(name) != value}
    said = [f"{name}={value}" for name, value in options.items() if isinstance(value, (bool, int, float, tuple))]
    return f"{type(optimizer).__name__}({', '.join(said)})"


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in what facts differ, one line each."""
    said = []
    for name, value in now.items():
        before = saved.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            kind = name.removesuffix("s")
            said += [f"{kind} {key!r} is new" for key in value if key not in before]
            said += [f"{kind} {key!r} is gone" for key in before if key not in value]
            said += [f"{kind} {key!r} was {before[key]}, now {value[key]}" for key in value if key in before and before[key] != value[key]]
        elif before != value:
            said.append(f"{name} was {before}, now {value}")
    return said

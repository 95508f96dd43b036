"""One call of `fit`: how long it is, where it began, and what it takes to go on with it in another process."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fit_core.modes import flags_of, set_flags, switch_to_train
from fit_core.position import length, load_state, state_of

if TYPE_CHECKING:
    from fit_core.loop import Fit
    from fit_core.trainer import Trainer


@dataclass(frozen=True)
class Length:
    """How long a call of `fit` goes on: so many epochs or so many steps, whichever ends first."""

    epochs: float = math.inf
    steps: int | None = None

    def exceeds(self, other: Length) -> bool:
        """Tell whether it is longer than another in epochs or steps."""
        steps = [math.inf if each.steps is None else each.steps for each in (self, other)]
        return self.epochs > other.epochs or steps[0] > steps[1]


@dataclass(frozen=True)
class Origin:
    """The counters when a call of `fit` began: its length is counted from there, however often it is interrupted."""

    epoch: int = 0
    step: int = 0
    batch_count: int = 0
    rows: int = 0
    updates: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, trainer: Trainer) -> Origin:
        """Return the counters of a trainer now."""
        progress = trainer._progress
        steps = {update.name: update.steps for update in trainer.sequence}
        return cls(progress.epoch, progress.step, progress.batch_count, len(trainer.history), steps)


def save_call(fit: Fit) -> dict[str, Any]:
    """Return what it takes to go on with a call of `fit` from here."""
    trainer, progress = fit.trainer, fit.progress
    within = progress.stage != "ended"
    return {
        "length": asdict(fit.length),
        "origin": asdict(fit.origin),
        "stopped": None if progress.interrupted else progress.stop_reason,
        "position": {"epoch": progress.epoch, "batch": progress.batch, "step": progress.step, "stage": progress.stage},
        "batches": length(fit.batches),
        "end_epoch": trainer._control.end_epoch,
        "steps_before": fit.steps_before,
        "batches_before": fit.before,
        "seconds": time.perf_counter() - fit.began if within else 0.0,
        "meter": fit.meter.state_dict() if within else None,
        "val_values": dict(fit.val_values),
        "val_due": fit.val_due.state_dict(),
        "open": {name: update.open_state() for name, update in fit.state.updates.items()},
        "flags": flags_of(trainer.named_modules()),
        "data": state_of(fit.batches, progress.batch),
    }


def begin_call(fit: Fit, call: Mapping[str, Any] | None = None) -> None:
    """Work out how long a call of `fit` is, and bring the model into the mode for training; or take an interrupted call up."""
    trainer, progress = fit.trainer, fit.progress
    fit.origin = Origin.of(trainer)
    switch_to_train(trainer.modules(fit.state.model))
    if call is not None:
        load_call(fit, call)
    progress.epochs = fit.origin.epoch + fit.length.epochs
    fit.last_step = math.inf if fit.length.steps is None else fit.origin.step + fit.length.steps
    trainer.sequence.size(length(fit.batches), fit.length, trainer.remainder, fit.origin)
    progress.steps_total = trainer.sequence.first.steps_total
    progress.validation = tuple(fit.validation)


def load_call(fit: Fit, call: Mapping[str, Any]) -> None:
    """Take up what `save_call` returned; the counters of the trainer are restored already."""
    trainer, progress = fit.trainer, fit.progress
    fit.origin = Origin(**call["origin"])
    progress.batch, progress.stage = call["position"]["batch"], call["position"]["stage"]
    progress.resumed = True
    progress.training = progress.stage == "train"
    trainer._control.end_epoch = call["end_epoch"]
    fit.steps_before, fit.before = call["steps_before"], call["batches_before"]
    fit.began = time.perf_counter() - call["seconds"]
    if call["meter"] is not None:
        fit.meter.begin(fit.state)
        fit.meter.load_state_dict(call["meter"])
    fit.val_values = dict(call["val_values"])
    fit.val_due.load_state_dict(call["val_due"])
    for name, update in fit.state.updates.items():
        if name in call["open"]:
            update.load_open_state(call["open"][name])
    set_flags(trainer.named_modules(), call["flags"])
    load_state(fit.batches, call["data"], complete=progress.stage != "train")
    if call["stopped"] is not None and not fit.length.exceeds(Length(**call["length"])):
        progress.stop_reason = call["stopped"]


def is_finished(call: Mapping[str, Any], length: Length) -> bool:
    """Tell whether a call of `fit` has nothing left to do.

    Args:
        call: what `save_call` returned.
        length: how long it is now said to be.
    """
    origin, position = Origin(**call["origin"]), call["position"]
    if call["stopped"] is not None and not length.exceeds(Length(**call["length"])):
        return True
    steps = math.inf if length.steps is None else origin.step + length.steps
    ended: bool = position["stage"] == "ended"
    return ended and (position["epoch"] >= origin.epoch + length.epochs or position["step"] >= steps)

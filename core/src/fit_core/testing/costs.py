"""Checks of what a plugin costs in every step."""

from __future__ import annotations

import copy
import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fit_core.hookspecs import hookimpl
from fit_core.state import State
from fit_core.testing.kit import tiny_batches
from fit_core.testing.subject import CheckFailed, Left, Subject, said


def calls_per_step(subject: Subject) -> None:
    """A step makes no more Python calls late in a run than early on."""
    early, late = _calls_at(subject, step=4), _calls_at(subject, step=60)
    if late > early + 10:
        raise CheckFailed(f"step 4 made {early} Python calls, step 60 made {late}: keep what is done per step bounded")


def _calls_at(subject: Subject, step: int) -> int:
    """Return the calls of a step and those after it, of the one with the fewest: in some of them garbage is collected."""
    counts: list[int] = []

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        counts[-1] += event == "call"

    @hookimpl(specname="on_safe_point")
    def watch(state: State) -> None:
        looked_at = state.position == "batch" and step - 1 <= state.batch_count < step + 2
        counts.extend([0] * looked_at)
        sys.setprofile(profile if looked_at else None)

    try:
        with subject.trainer(watch, batches=64) as trainer:
            trainer.fit(epochs=1)
    finally:
        sys.setprofile(None)
    return min(counts, default=0)  # a plugin may have ended the run before


class _Reads(TorchDispatchMode):
    """Counts `.item()`, `float(tensor)` and `bool(tensor)`: on an accelerator each waits for the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def no_waits(subject: Subject) -> None:
    """A batch reads nothing from the device: not in training, where the meta device has nothing to read, nor in evaluation."""

    @hookimpl(specname="on_safe_point")
    def leave(state: State) -> None:
        if state.batch == 3:
            raise Left

    model = copy.deepcopy(subject.make().get("model", subject.settings.get("model", torch.nn.Linear(4, 3)))).to("meta")
    try:
        with subject.trainer(leave, model=model) as trainer:
            trainer.fit(epochs=1)
    except Left:
        pass
    except Exception as error:
        raise CheckFailed(f"a training batch reads from the device: {said(error)}; use trainer.record or log") from error
    plain, own = _reads_per_evaluated_batch(subject, with_plugin=False), _reads_per_evaluated_batch(subject, with_plugin=True)
    if own > plain:
        raise CheckFailed(f"an evaluated batch reads {own - plain:g} times from the device: keep tensors as they are")


def _reads_per_evaluated_batch(subject: Subject, with_plugin: bool) -> float:
    with subject.trainer(with_plugin=with_plugin) as trainer:
        counts: list[int] = []
        for batches in (2, 6):
            with _Reads() as reads:
                trainer.evaluate(tiny_batches(batches))
            counts.append(reads.count)
    return (counts[1] - counts[0]) / 4

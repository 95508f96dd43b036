"""One contestant, one workload, in a process of its own: python -m peers.child fit set_up 1.0 prints what was measured, as JSON."""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from peers.tasks import MAKERS, Train

WARM_UP = 0.1
"""The part of a workload that is trained first: it is not measured, and its steps are counted."""


def measure(contestant: str, workload: str, share: float) -> dict[str, float]:
    """Train, and return what was measured.

    Steps are counted in the part that is not measured: optimizers call who counts, and that takes its time.

    Returns: `wall` and `processor`, seconds per step; `peak`, of memory (MiB); `steps`; `loss`, to which they led.
    """
    prepare = getattr(import_module(f"peers.{contestant}"), workload)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        warm_up(contestant, prepare, MAKERS[workload](WARM_UP * share, Path(first)))
        task = MAKERS[workload](share, Path(second))
        train = prepare(task)
        began, worked = time.perf_counter(), time.process_time()
        model = train()
        seconds, work = time.perf_counter() - began, time.process_time() - worked
        if workload == "set_up":
            look(Path(second), task.epochs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"wall": seconds / task.steps, "processor": work / task.steps, "peak": peak, "steps": task.steps, "loss": task.loss_of(model)}


def warm_up(contestant: str, prepare: Callable[[Any], Train], task: Any) -> None:
    """Train on a task, and see that all of its steps are made."""
    with counted() as done:
        model = prepare(task)()
    steps = len(done) if model.steps is None else model.steps
    if steps != task.steps:
        raise SystemExit(f"{contestant} made {steps} steps of {task.steps}")


@contextmanager
def counted() -> Iterator[list[None]]:
    """Give a list that grows with every step of an optimizer of torch."""
    done: list[None] = []
    handle = register_optimizer_step_post_hook(lambda *_: done.append(None))
    try:
        yield done
    finally:
        handle.remove()


def look(folder: Path, epochs: int) -> None:
    """See that the training set-up has left a CSV with a row per epoch, and a checkpoint."""
    lines = [len(file.read_text().splitlines()) for file in folder.rglob("*.csv")]
    if not lines or max(lines) <= epochs or not any("best" in file.name for file in folder.rglob("*")):
        raise SystemExit(f"{folder} has no CSV with a row per epoch, or no best checkpoint: {list(folder.rglob('*'))}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(sys.argv[1], sys.argv[2], float(sys.argv[3]))))

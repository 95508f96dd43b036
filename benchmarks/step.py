"""What fit adds to a training step, and what each of its duties costs: python benchmarks/step.py.

A tiny model (MLP 32-64-64-4, batch 32, SGD with momentum) over batches that are ready, so that everything fit does shows. Each line is a
ratio to the bare loop (forward, loss, backward, step, zero_grad), and what that is in microseconds per step.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import ratio, report
from listeners import Hears, Idle, Tracker
from torch import nn
from torch.nn.utils import clip_grad_norm_

from fit_core import Trainer

STEPS = 3000
LOSS = nn.CrossEntropyLoss()
OPTIMIZER = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
GENERATOR = torch.Generator().manual_seed(0)
BATCHES = [(torch.randn(32, 32, generator=GENERATOR), torch.randint(0, 4, (32,), generator=GENERATOR)) for _ in range(STEPS)]


def network() -> nn.Module:
    """Return a new model."""
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))


def bare(clip: bool = False) -> float:
    """Run the bare loop: forward, loss, backward, step, zero_grad; clip the gradients or not."""
    model = network()
    params = list(model.parameters())
    optimizer = OPTIMIZER(params)
    began = time.perf_counter()
    for inputs, targets in BATCHES:
        LOSS(model(inputs), targets).backward()
        if clip:
            clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began


def bare_accumulating() -> float:
    """Run the bare loop with a step every four batches."""
    model = network()
    optimizer = OPTIMIZER(model.parameters())
    began = time.perf_counter()
    for i, (inputs, targets) in enumerate(BATCHES, 1):
        (LOSS(model(inputs), targets) / 4).backward()
        if i % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
    return time.perf_counter() - began


def with_fit(**settings: Any) -> float:
    """Run the same with fit."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(network(), LOSS, OPTIMIZER, quiet=True, run_dir=Path(folder), **settings)
        began = time.perf_counter()
        trainer.fit(BATCHES, epochs=1)
        return time.perf_counter() - began


DUTIES: dict[str, dict[str, Any]] = {
    "finite='off': counters, the mean of the loss with its terms, batches to the device": {"finite": "off"},
    "the default: and the finite guard": {},
    "and 20 plugins that hear no step": {"plugins": [Idle(i) for i in range(20)]},
    "and a plugin that hears one hook of each step": {"plugins": [Hears()]},
    "and losses and rates for a tracker": {"plugins": [Tracker()]},
    "and a schedule per step": {"plugins": ["lr"]},
    "and accuracy": {"metrics": ["accuracy"]},
    "and accuracy, logging, schedulers": {"metrics": ["accuracy"], "plugins": ["logging", "schedulers"]},
}

if __name__ == "__main__":
    step = statistics.median(bare() for _ in range(5)) / STEPS * 1e6

    def told(ours: Callable[[], float], plain: Callable[[], float]) -> str:
        """Measure, and say it as a ratio and in microseconds."""
        found = ratio(ours, plain)
        return f"{found:.2f} ({(found - 1) * step:+.0f} us)"

    rows = {name: told(partial(with_fit, **settings), bare) for name, settings in DUTIES.items()}
    rows["clipping, to the bare loop that clips"] = told(partial(with_fit, plugins=["clip"]), partial(bare, clip=True))
    rows["accumulate=4, to the bare loop that accumulates"] = told(partial(with_fit, accumulate=4), bare_accumulating)
    rows["accumulate=4, to fit without"] = f"{ratio(partial(with_fit, accumulate=4), with_fit):.2f}"
    report(__file__, __doc__, "ratio", rows)

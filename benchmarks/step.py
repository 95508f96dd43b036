"""What fit adds to a training step, as a ratio to the bare loop: python benchmarks/step.py.

A tiny model (MLP 32-64-64-4, batch 32, SGD with momentum) over batches that are ready, so that everything fit does shows.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import ratio, report
from torch import nn

from fit_core import Trainer, hookimpl

STEPS = 1000
LOSS = nn.CrossEntropyLoss()
OPTIMIZER = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
GENERATOR = torch.Generator().manual_seed(0)
BATCHES = [(torch.randn(32, 32, generator=GENERATOR), torch.randint(0, 4, (32,), generator=GENERATOR)) for _ in range(STEPS)]


def network() -> nn.Module:
    """Return a new model."""
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))


def bare() -> float:
    """Run the bare loop: forward, loss, backward, step, zero_grad."""
    model = network()
    optimizer = OPTIMIZER(model.parameters())
    began = time.perf_counter()
    for inputs, targets in BATCHES:
        LOSS(model(inputs), targets).backward()
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


class Idle:
    """Hears no hook within a step."""

    def __init__(self, number: int) -> None:
        self.name = f"idle-{number}"

    @hookimpl
    def on_epoch_end(self) -> None:
        """Do nothing."""


ROWS: dict[str, dict[str, Any]] = {
    "no plugins, finite='off'": {"finite": "off"},
    "no plugins": {},
    "20 plugins that hear no step": {"plugins": [Idle(i) for i in range(20)]},
    "accuracy": {"metrics": ["accuracy"]},
    "accuracy, logging, schedulers": {"metrics": ["accuracy"], "plugins": ["logging", "schedulers"]},
}

if __name__ == "__main__":
    ratios = {name: ratio(partial(with_fit, **settings), bare) for name, settings in ROWS.items()}
    ratios["accumulate=4, to the bare loop that accumulates"] = ratio(partial(with_fit, accumulate=4), bare_accumulating)
    ratios["accumulate=4, to fit without"] = ratio(partial(with_fit, accumulate=4), with_fit)
    report(__file__, __doc__, "ratio", ratios)

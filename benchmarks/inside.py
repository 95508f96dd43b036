"""What looking into the network costs, as a ratio to the same run without: python benchmarks/inside.py.

A CNN (16 and 32 channels, batch norm) on pictures (1, 16, 16), batch 32: an epoch of 100 batches and a validation of 10. The sink takes
what it is given and drops it: the times, of the processor, are those of the producers. What a real sink adds depends on where it sends.
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

GENERATOR = torch.Generator().manual_seed(0)
LOSS = nn.CrossEntropyLoss()
OPTIMIZER = partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return so many batches."""
    return [(torch.randn(32, 1, 16, 16, generator=GENERATOR), torch.randint(0, 10, (32,), generator=GENERATOR)) for _ in range(count)]


TRAIN, VAL = batches(100), batches(10)


class Sink:
    """Takes everything, and drops it."""

    @hookimpl
    def on_show(self, item: Any) -> None:
        """Drop an item."""

    @hookimpl
    def on_log(self, entries: list[Any]) -> None:
        """Drop numbers."""


def network() -> nn.Module:
    """Return a new model."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 10),
    )  # fmt: skip


def run(*plugins: Any, sink: bool = True) -> float:
    """Return the seconds of one epoch with its validation."""
    sinks = [Sink()] if sink else []
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(network(), LOSS, OPTIMIZER, plugins=[*sinks, *plugins], quiet=True, run_dir=Path(folder))
        began = time.process_time()
        trainer.fit(TRAIN, VAL, epochs=1)
        return time.process_time() - began


ROWS = (
    "activations",
    "activations:every=10 steps",
    "activations:every=1 step",
    "activations:every=10 steps,histograms=true",
    "gradients",
    "gradients:every=10 steps",
    "gradients:every=1 step",
    "filters",
    "feature-maps",
    "class-appearance",
    "saliency",
    "embedding",
    "train-batch:every=10 steps",
    "curves",
    "roc-curve",
    "worst-samples",
    "model-summary",
)
TOGETHER = ["activations", "gradients", "filters", "feature-maps", "saliency", "embedding"]

if __name__ == "__main__":
    ratios = {name: ratio(partial(run, name), run, pairs=7) for name in ROWS}
    ratios["all inside the network but class-appearance"] = ratio(partial(run, *TOGETHER), run, pairs=7)
    ratios["the same, and nobody looks"] = ratio(partial(run, *TOGETHER, sink=False), partial(run, sink=False), pairs=7)
    report(__file__, __doc__, "ratio", ratios)

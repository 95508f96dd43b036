"""What plugins of fit-device cost or give on the CPU, as a ratio to the plain run: python benchmarks/device.py.

A small network of convolutions (16, 32, 32 channels on images of 32 x 32, batch 32, SGD with momentum), on one thread. What is below 1 is
faster. Compiling takes place before, and is told in seconds.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from harness import ratio, report
from torch import nn

from fit_core import Trainer

STEPS = 8
GENERATOR = torch.Generator().manual_seed(0)
BATCHES = [(torch.randn(32, 3, 32, 32, generator=GENERATOR), torch.randint(0, 4, (32,), generator=GENERATOR)) for _ in range(STEPS)]


class Network(nn.Module):
    """Convolutions with batch norm, then a mean over the image."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 16, 32, 32]
        blocks = [nn.Sequential(nn.Conv2d(a, b, 3), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairwise(widths)]
        self.body, self.head = nn.Sequential(*blocks), nn.Linear(32, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 4) of images (batch, 3, 32, 32)."""
        return self.head(self.body(images).mean((2, 3)))


def run(*plugins: Any) -> float:
    """Train for one epoch with some plugins; return its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        optimizer = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
        trainer = Trainer(Network(), nn.CrossEntropyLoss(), optimizer, plugins=plugins, quiet=True, run_dir=Path(folder))
        began = time.perf_counter()
        trainer.fit(BATCHES, epochs=1)
        return time.perf_counter() - began


ROWS: dict[str, list[str]] = {
    "device (nothing to do on the CPU)": ["device"],
    "channels-last": ["channels-last"],
    "mixed-precision (bf16)": ["mixed-precision"],
    "activation-checkpointing of the body": ["activation-checkpointing:modules=body.*"],
    "compile": ["compile"],
    "compile, channels-last": ["compile", "channels-last"],
}

if __name__ == "__main__":
    seconds = run("compile") - run("compile")
    print(f"compiling took {seconds:.1f} s (less where torch has cached it), a plain epoch of {STEPS} steps {run():.2f} s")
    report(__file__, __doc__, "ratio", {name: ratio(partial(run, *plugins), run, pairs=7) for name, plugins in ROWS.items()})

"""What logging costs per step, in microseconds more than without: python benchmarks/logs.py.

The model is tiny (a linear layer, batch 8), so that everything shows. The terminal is a real one (a pseudo terminal that is read from).
"""

from __future__ import annotations

import io
import os
import pty
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import interleaved, report
from listeners import Hears, Tracker
from torch import nn

from fit_core import State, Trainer, hookimpl

STEPS = 3000
GENERATOR = torch.Generator().manual_seed(0)
BATCHES = [(torch.randn(8, 16, generator=GENERATOR), torch.randint(0, 4, (8,), generator=GENERATOR)) for _ in range(STEPS)]


class Logs:
    """Logs one number at each step."""

    @hookimpl
    def on_step_end(self, trainer: Trainer, state: State) -> None:
        """Log the loss once more."""
        trainer.log({"again": state.loss})


def run(*plugins: Any, quiet: bool = True) -> float:
    """Train for an epoch, and return its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            nn.Linear(16, 4), nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1), plugins=plugins, quiet=quiet, run_dir=Path(folder)
        )
        began = time.perf_counter()
        trainer.fit(BATCHES, epochs=1)
        return time.perf_counter() - began


def on(file: Any, *plugins: Any) -> float:
    """Train with standard output going to a file."""
    before, sys.stdout = sys.stdout, file
    try:
        return run(*plugins, quiet=False)
    finally:
        sys.stdout = before


def terminal() -> Any:
    """Return a terminal that somebody reads."""
    main, side = pty.openpty()

    def read() -> None:
        while os.read(main, 65536):
            pass

    threading.Thread(target=read, daemon=True).start()
    return os.fdopen(side, "w")


def main() -> None:
    """Measure each kind of logging."""
    os.environ.setdefault("TERM", "xterm")
    shown = terminal()
    rows: dict[str, tuple[Any, Any]] = {
        "losses and rates, to a tracker": (partial(run, Tracker()), run),
        "one number more at each step": (partial(run, Tracker(), Logs()), partial(run, Tracker(), Hears())),
        "step-log": (partial(run, "step-log"), run),
        "csv and jsonl": (partial(run, "csv", "jsonl"), run),
        "progress, in a pipe": (lambda: on(io.StringIO(), "progress"), run),
        "progress, on a terminal": (lambda: on(shown, "progress"), run),
    }
    told = {}
    for name, (ours, plain) in rows.items():
        more, less = interleaved([ours, plain], rounds=9)
        told[name] = f"{(more - less) / STEPS * 1e6:.1f} (a step without: {less / STEPS * 1e6:.0f})"
    report(__file__, __doc__, "microseconds per step", told)


if __name__ == "__main__":
    main()

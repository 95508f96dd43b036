"""What never losing a run costs, as ratios: python benchmarks/resume.py.

A checkpoint every 100 steps against none; going on late in an epoch against early; data whose order is a function of a seed
against a plain `DataLoader`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import ratio, report
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from fit_core import State, Trainer, hookimpl
from fit_core.arrays import ArrayBatches
from fit_core.seeded import SeededLoader

LOSS = nn.CrossEntropyLoss()
GENERATOR = torch.Generator().manual_seed(0)
INPUTS, TARGETS = torch.randn(32_000, 64, generator=GENERATOR), torch.randint(0, 4, (32_000,), generator=GENERATOR)


class Samples(Dataset[Any]):
    """Samples that cost something to make: about 50 microseconds each."""

    def __len__(self) -> int:
        return len(INPUTS)

    def __getitem__(self, index: int) -> Any:
        inputs = INPUTS[index]
        for _ in range(8):
            inputs = inputs + torch.randn(64) * 0.01
        return inputs, TARGETS[index]


def network(width: int) -> nn.Module:
    """Return a new model."""
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))


def trained(width: int, batch_size: int, steps: int, plugins: list[str]) -> float:
    """Train for some steps, and return the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        optimizer = partial(torch.optim.Adam, lr=1e-3)
        trainer = Trainer(network(width), LOSS, optimizer, quiet=True, seed=1, run_dir=Path(folder), plugins=plugins)
        began = time.perf_counter()
        trainer.fit((INPUTS, TARGETS), steps=steps, batch_size=batch_size)
        return time.perf_counter() - began


class LeaveAt:
    """Saves and interrupts the run at a batch; a resumed one after its first batch."""

    def __init__(self, batch: int, folder: Path) -> None:
        self.batch = batch
        self.folder = folder

    @hookimpl
    def on_batch_end(self, trainer: Trainer, state: State) -> None:
        if state.resumed or state.batch == self.batch:
            trainer.interrupt("measured")

    @hookimpl
    def on_safe_point(self, trainer: Trainer, state: State) -> None:
        if state.stop_reason and not state.resumed:
            trainer.save(self.folder)


def resumed(folder: Path) -> float:
    """Go on from a checkpoint for one batch, and return the seconds."""
    began = time.perf_counter()
    started(1, folder).fit(DataLoader(Samples(), batch_size=32, shuffle=True), epochs=1, resume=folder)
    return time.perf_counter() - began


def started(batch: int, folder: Path) -> Trainer:
    """Return a trainer that leaves at a batch."""
    return Trainer(network(64), LOSS, partial(torch.optim.Adam, lr=1e-3), quiet=True, seed=1, plugins=[("leave", LeaveAt(batch, folder))])


def read(batches: Iterable[Any]) -> float:
    """Read all of some data, and return the seconds."""
    began = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - began


def plain(dataset: Dataset[Any], workers: int) -> DataLoader[Any]:
    """Return a plain loader."""
    return DataLoader(dataset, batch_size=32, shuffle=True, num_workers=workers)


def seeded(dataset: Dataset[Any], workers: int) -> SeededLoader:
    """Return the same under a seed."""
    return SeededLoader(plain(dataset, workers), seed=1)


def read_of(make: Callable[..., Iterable[Any]], *arguments: Any) -> float:
    """Make a loader, read all of it, and return the seconds."""
    return read(make(*arguments))


if __name__ == "__main__":
    rows = {}
    for name, width, batch_size, steps in (
        ("a step of 0.3 ms, 9 k parameters", 64, 32, 1000),
        ("a step of 10 ms, 1 M parameters", 1000, 128, 400),
    ):
        small = partial(trained, width, batch_size, steps)
        saving = partial(small, ["checkpoint:every=100 steps,monitor=loss"])
        rows[f"a checkpoint every 100 steps, to none: {name}"] = ratio(saving, partial(small, []), pairs=7)
    with tempfile.TemporaryDirectory() as name:
        for batch in (10, 990):
            started(batch, Path(name) / str(batch)).fit(DataLoader(Samples(), batch_size=32, shuffle=True), epochs=1)
        late, early = partial(resumed, Path(name) / "990"), partial(resumed, Path(name) / "10")
        rows["going on after batch 990 of 1000, to after batch 10"] = ratio(late, early, pairs=15)
    arrays = TensorDataset(INPUTS, TARGETS)
    rows["arrays under a seed, to DataLoader(TensorDataset)"] = ratio(
        lambda: read(ArrayBatches((INPUTS, TARGETS), 32, True, 1)), lambda: read(plain(arrays, 0)), pairs=5
    )
    rows["TensorDataset, seeded loader, to the plain one"] = ratio(lambda: read(seeded(arrays, 0)), lambda: read(plain(arrays, 0)), pairs=7)
    for workers in (0, 2):
        rows[f"samples of 50 us, {workers} workers, seeded loader, to the plain one"] = ratio(
            partial(read_of, seeded, Samples(), workers), partial(read_of, plain, Samples(), workers), pairs=5
        )
    report(__file__, __doc__, "ratio", rows)

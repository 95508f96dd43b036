"""What an epoch over data in memory costs, as a ratio to plain loops: python benchmarks/in_memory.py.

Fashion-MNIST as float32 (60,000 of 784 numbers), an MLP 784-128-10, batch 128, SGD with momentum, one thread. Plain is the loop over a
shuffled `DataLoader(TensorDataset(x, y))`; sliced, the loop over a list of batches made beforehand.
"""

from __future__ import annotations

import gzip
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import report
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fit_core import Trainer

FOLDER = Path("/usr/share/datasets/fashion-mnist")
BATCH = 128
LOSS = nn.CrossEntropyLoss()
OPTIMIZER = partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def data(folder: Path = FOLDER) -> tuple[Tensor, Tensor]:
    """Return pictures, scaled to 0 and 1, and classes; random ones where Debian's package dataset-fashion-mnist is missing."""
    if not folder.exists():
        generator = torch.Generator().manual_seed(0)
        return torch.rand(60_000, 784, generator=generator), torch.randint(0, 10, (60_000,), generator=generator)
    images, labels = (gzip.decompress((folder / f"train-{name}-ubyte.gz").read_bytes()) for name in ("images-idx3", "labels-idx1"))
    x = torch.frombuffer(bytearray(images), dtype=torch.uint8, offset=16).view(-1, 784).float().div_(255)
    return x, torch.frombuffer(bytearray(labels), dtype=torch.uint8, offset=8).long()


X, Y = data()
SLICED = [(X[start : start + BATCH], Y[start : start + BATCH]) for start in range(0, len(X), BATCH)]


class Network(nn.Sequential):
    """An MLP that takes pictures, or halves of them by name."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, a: Tensor, b: Tensor | None = None) -> Tensor:
        """Return logits, (batch, 10), of (batch, 784) or of its two halves."""
        return super().forward(a if b is None else torch.cat([a, b], 1))


def network() -> nn.Module:
    """Return a new model."""
    torch.manual_seed(0)
    return Network()


def plain(batches: Iterable[Any], epochs: int = 1) -> float:
    """Return the seconds of an epoch of the plain loop."""
    model = network()
    optimizer = OPTIMIZER(model.parameters())
    began = time.perf_counter()
    for _ in range(epochs):
        for inputs, targets in batches:
            LOSS(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
    return (time.perf_counter() - began) / epochs


def evaluation(source: Any, batch_size: int | None = None) -> float:
    """Return the seconds of a pass of fit's evaluation."""
    trainer = Trainer(network(), LOSS, quiet=True)
    began = time.perf_counter()
    trainer.evaluate(source, batch_size=batch_size)
    return time.perf_counter() - began


def with_fit(source: Any, seed: int | None = None, batch_size: int | None = BATCH) -> float:
    """Return the seconds of an epoch of fit."""
    trainer = Trainer(network(), LOSS, OPTIMIZER, quiet=True, seed=seed)
    began = time.perf_counter()
    trainer.fit(source, epochs=1, batch_size=batch_size)
    return time.perf_counter() - began


def loader() -> DataLoader[Any]:
    """Return the plain way to shuffle tensors."""
    return DataLoader(TensorDataset(X, Y), batch_size=BATCH, shuffle=True)


ROWS: dict[str, Callable[[], float]] = {
    "(x, y)": partial(with_fit, (X, Y)),
    "(x, y), seed": partial(with_fit, (X, Y), seed=1),
    "({'a': x, 'b': x}, y) of halves, seed": partial(with_fit, ({"a": X[:, :392].contiguous(), "b": X[:, 392:].contiguous()}, Y), seed=1),
    "TensorDataset(x, y), seed": partial(with_fit, TensorDataset(X, Y), seed=1),
    "the DataLoader, seed": partial(with_fit, loader(), seed=1, batch_size=None),
    "the sliced batches": partial(with_fit, SLICED, batch_size=None),
}
PLAIN: dict[str, Callable[[], float]] = {"plain": partial(plain, loader()), "sliced": partial(plain, SLICED)}


def main(rounds: int = 9) -> None:
    """Let all take turns, and report the medians of the ratios of each round."""
    runs = PLAIN | ROWS
    found = [{name: run() for name, run in runs.items()} for _ in range(rounds + 1)][1:]
    ratios = {
        f"{name}, to {base}": statistics.median(seconds[name] / seconds[base] for seconds in found)
        for base in PLAIN
        for name in (*ROWS, *(other for other in PLAIN if other != base))
    }
    report(__file__, __doc__, "ratio", ratios)


if __name__ == "__main__":
    main()

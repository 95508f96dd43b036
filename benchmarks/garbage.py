"""What keeping garbage collection out of the step gains, as a ratio to the run without the plugin gc: python benchmarks/garbage.py.

A tiny model (MLP 32-64-4, batch 32), 3 epochs of 1000 batches, from the first batch on. The small heap is torch's; the large one has
a million lists beside, as a data set of Python objects makes them. Cycles: every batch makes 200 objects that refer to each other.
Growing: every batch leaves 200 objects alive. The longest batch is where a collection shows.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import report
from torch import nn

from fit_core import Trainer, hookimpl

LOSS = nn.CrossEntropyLoss()
OPTIMIZER = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
GENERATOR = torch.Generator().manual_seed(0)
BATCHES = [(torch.randn(32, 32, generator=GENERATOR), torch.randint(0, 4, (32,), generator=GENERATOR)) for _ in range(1000)]


class Watch:
    """Makes objects in every batch, and notes when batches end.

    Args:
        make: is called in every batch; what it returns stays alive until the run ends.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.kept: list[Any] = []
        self.times: list[float] = []

    @hookimpl
    def on_batch_start(self) -> None:
        """Make objects."""
        self.kept.append(self.make())

    @hookimpl(trylast=True)
    def on_safe_point(self) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def nothing() -> None:
    """Make nothing."""


def cycles() -> None:
    """Make objects that only a collection can free."""
    for _ in range(100):
        one: list[Any] = []
        one.append([one])


def lasting() -> list[Any]:
    """Make objects that stay."""
    return [[number] for number in range(200)]


def run(plugins: list[Any], make: Callable[[], Any]) -> tuple[float, float, float]:
    """Return the seconds from the first batch on, of the longest batch, and of what comes before."""
    gc.collect()
    watch = Watch(make)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
    trainer = Trainer(model, LOSS, OPTIMIZER, plugins=[watch, *plugins], quiet=True)
    began = time.perf_counter()
    trainer.fit(BATCHES, epochs=3)
    longest = max(later - earlier for earlier, later in itertools.pairwise(watch.times))
    return time.perf_counter() - watch.times[0], longest, watch.times[0] - began


def compared(make: Callable[[], Any], pairs: int = 7) -> str:
    """Return the ratio of seconds with the plugin to seconds without, and the longest batches, as medians."""
    run([], make)
    found = [(run(["gc"], make), run([], make)) for _ in range(pairs)]
    ratio = statistics.median(ours[0] / plain[0] for ours, plain in found)
    longest = [1000 * statistics.median(pair[which][1] for pair in found) for which in (0, 1)]
    start = 1000 * statistics.median(ours[2] - plain[2] for ours, plain in found)
    return f"{ratio:.2f}; longest batch {longest[0]:.1f} ms, {longest[1]:.1f} without; start {start:.0f} ms more"


def main() -> None:
    """Measure with a small heap, then with a large one."""
    rows: dict[str, float | str] = {}
    heap: list[list[int]] = []
    for size in (0, 1_000_000):
        heap += [[number] for number in range(size)]
        for name, make in {"nothing": nothing, "cycles": cycles, "growing": lasting}.items():
            rows[f"{'large' if size else 'small'} heap, {name}"] = compared(make)
    report(__file__, __doc__, "ratio", rows)


if __name__ == "__main__":
    main()

"""How the cost of a step grows, as a ratio to the plain loop: python benchmarks/scaling.py.

A tiny model (MLP 32-64-4, batch 32, SGD with momentum) over 500 batches that are ready. Idle plugins hear only `on_epoch_end`; the others
hear one hook of every step and do nothing. For parameter groups the model has 50 small layers more, and the plain loop the same groups.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from harness import ratio, report
from listeners import Hears, Idle
from torch import Tensor, nn

from fit_core import Trainer

LOSS = nn.CrossEntropyLoss()
SGD = partial(torch.optim.SGD, lr=0.01, momentum=0.9)
GENERATOR = torch.Generator().manual_seed(0)
BATCHES = [(torch.randn(32, 32, generator=GENERATOR), torch.randint(0, 4, (32,), generator=GENERATOR)) for _ in range(500)]


def correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Tell which outputs are right, (batch,)."""
    return outputs.argmax(1) == targets


def small() -> nn.Module:
    """Return the tiny model."""
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))


def deep() -> nn.Module:
    """Return a model with 104 parameters."""
    return nn.Sequential(nn.Linear(32, 8), *(nn.Linear(8, 8) for _ in range(50)), nn.Linear(8, 4))


def grouped(parameters: Any, groups: int) -> torch.optim.Optimizer:
    """Return an optimizer whose parameters are dealt to so many groups."""
    listed = list(parameters)
    return SGD([{"params": listed[first::groups]} for first in range(groups)])


def plain(model: Callable[[], nn.Module] = small, optimizer: Callable[..., Any] = SGD) -> float:
    """Return the seconds of the plain loop."""
    network = model()
    made = optimizer(network.parameters())
    began = time.perf_counter()
    for inputs, targets in BATCHES:
        LOSS(network(inputs), targets).backward()
        made.step()
        made.zero_grad()
    return time.perf_counter() - began


def with_fit(model: Callable[[], nn.Module] = small, optimizer: Callable[..., Any] = SGD, **settings: Any) -> float:
    """Return the seconds of the same with fit."""
    trainer = Trainer(model(), LOSS, optimizer, quiet=True, **settings)
    began = time.perf_counter()
    trainer.fit(BATCHES, epochs=1)
    return time.perf_counter() - began


def main() -> None:
    """Measure each size against the plain loop."""
    rows: dict[str, float | str] = {}
    for count in (0, 1, 10, 100):
        rows[f"{count} idle plugins"] = ratio(partial(with_fit, plugins=[Idle(i) for i in range(count)]), plain)
    for count in (1, 10, 100):
        rows[f"{count} plugins that hear every step"] = ratio(partial(with_fit, plugins=[Hears(i) for i in range(count)]), plain)
    for count in (0, 1, 2, 4, 8):
        metrics = [(f"m{i}", correct) for i in range(count)]
        rows[f"{count} metrics"] = ratio(partial(with_fit, metrics=metrics), plain)
    for count in (1, 10, 100):
        optimizer = partial(grouped, groups=count)
        rows[f"{count} parameter groups"] = ratio(partial(with_fit, deep, optimizer), partial(plain, deep, optimizer))
    report(__file__, __doc__, "ratio", rows)


if __name__ == "__main__":
    main()

"""A sink that keeps what it is shown, and small runs on pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fit_core import Trainer, hookimpl


class Sink:
    """Keeps items and numbers."""

    name = "sink"
    passive = True

    def __init__(self) -> None:
        self.items: list[tuple[str, Any]] = []
        self.numbers: dict[str, list[tuple[int, float]]] = {}

    @hookimpl
    def on_show(self, name: str, item: Any) -> None:
        self.items.append((name, item))

    @hookimpl
    def on_log(self, entries: list[Any]) -> None:
        for entry in entries:
            for name, value in entry.values.items():
                self.numbers.setdefault(name, []).append((entry.step, value))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.items]

    def of(self, name: str) -> list[Any]:
        return [item for found, item in self.items if found == name]


def network() -> nn.Module:
    """Return a small CNN with everything that is easily disturbed: batch norm and dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Flatten(), nn.Linear(64, 3)
        )


def pictures(count: int, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return batches of 8 pictures (1, 4, 4), brighter in a row that is their class."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for _ in range(count):
        targets = torch.randint(0, 3, (8,), generator=generator)
        inputs = torch.rand(8, 1, 4, 4, generator=generator) / 2
        inputs[torch.arange(8), 0, targets] += 0.5
        batches.append((inputs, targets))
    return batches


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def settings() -> Callable[[], dict[str, Any]]:
    """What `check_plugin` must make anew for each run: its samples have four numbers, which are pictures of four pixels here."""

    def made() -> dict[str, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = [nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)]
        return {"model": nn.Sequential(*layers), "plugins": [Sink()]}

    return made


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Trainer]]:
    made: list[Trainer] = []

    def build(*plugins: Any, **changes: Any) -> Trainer:
        how: dict[str, Any] = {
            "model": network(),
            "loss_fn": nn.CrossEntropyLoss(),
            "optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
            "train_data": pictures(4),
            "val_data": pictures(2, seed=1),
            "test_data": pictures(2, seed=2),
            "run_dir": tmp_path,
            "quiet": True,
        }
        made.append(Trainer(plugins=plugins, **how | changes))
        return made[-1]

    yield build
    for trainer in made:
        trainer.close()

"""Every pair of plugins that change training, in both orders, with windows and two updates: trains, and resumes to the bit.

All pairs in `nox -s full` (FIT_PAIRS=all); else each plugin with some others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fit_core import Trainer, Update, Updates
from fit_core.testing import check_resume

SPECS: dict[str, str] = {
    "lr": "schedule=cosine,warmup=0.2",
    "scheduled-value": "of=weight_decay,base=1,start=0.01,end=0.1",
    "plateau": "monitor=loss,patience=1",
    "lr-finder": "steps=20,apply=true,update=body",
    "early-stopping": "monitor=loss,patience=2",
    "stop-at": "monitor=loss,target=-1000",
    "stop-after": "time=1 h",
    "clip": "norm=0.5",
    "weight-decay": "rate=0.01",
    "decay-groups": "decay=0.05",
    "ema": "decay=0.9,use=false",
    "swa": "start=1",
    "init": "",
    "freeze": "params=body.0.*,until=1 epoch",
    "layer-lr": "decay=0.5",
    "grad-noise": "",
    "grad-centralization": "",
    "placement": "device=cpu",
    "prefetch": "",
    "autocast": "",
    "gc": "",
    "grad-scaler": "",
    "compile": "backend=eager",
    "channels-last": "",
    "activation-checkpointing": "modules=body.3",
    "precision": "",
    "deterministic": "",
    "memory-summary": "",
}
"""Plugins of fit-schedulers, fit-optim and fit-device, with options that let them act in a short run; of two averages one is evaluated."""
SHIFTS = (1, 7)
"""How far down the list the partners of each plugin are, if not all are tried."""


def chosen() -> list[tuple[str, str]]:
    names = sorted(SPECS)
    if os.environ.get("FIT_PAIRS") == "all":
        return list(combinations(names, 2))
    return [(name, names[(i + shift) % len(names)]) for i, name in enumerate(names) for shift in SHIFTS]


class Net(nn.Module):
    """Two parts, each trained by an update of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Dropout(0.2), nn.Flatten())
        self.head = nn.Linear(4 * 2 * 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def data(samples: int) -> tuple[Tensor, Tensor]:
    return torch.randn(samples, 1, 6, 6, generator=torch.Generator().manual_seed(1)), torch.arange(samples) % 3


def trainer_with(*plugins: str) -> Trainer:
    torch.manual_seed(0)
    model = Net()
    adam = partial(torch.optim.AdamW, lr=0.01)
    updates = Updates([Update("body", adam, model.body.parameters()), Update("head", adam, model.head.parameters(), every=2)])
    return Trainer(
        model, nn.CrossEntropyLoss(), updates, metrics=["accuracy"], plugins=plugins, train_data=data(40), val_data=data(16),
        accumulate=2, seed=5, quiet=True,
    )  # fmt: skip


def spec(name: str) -> str:
    return f"{name}:{SPECS[name]}" if SPECS[name] else name


@pytest.mark.parametrize("order", [1, -1], ids=["as listed", "the other way round"])
@pytest.mark.parametrize("pair", chosen(), ids=" ".join)
def test_a_pair_trains_and_resumes(pair: tuple[str, str], order: int) -> None:
    make: Callable[..., Any] = partial(trainer_with, *map(spec, pair[::order]))
    check_resume(make, epochs=2, at=[1, 3], batch_size=8)


def test_one_run_with_all_of_them() -> None:
    trainer = trainer_with(*map(spec, SPECS))
    before = [p.detach().clone() for p in trainer.model.parameters()]
    rows = trainer.fit(epochs=2, batch_size=8)
    assert len(rows) == 2
    changed = [not torch.equal(mine, old) for mine, old in zip(trainer.model.parameters(), before, strict=True)]
    assert all(changed)
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())

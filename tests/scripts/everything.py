"""A run with everything that a resumed one must go on with, which tells from outside where it is.

What happens is appended to the file `trace`, a letter for each event. `STOP_AT="V3"` stops the process (SIGSTOP) at its third
event of this kind, so that it can be killed there.
"""

import os
import random
import signal
import sys
import time
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from fit_core import State, Trainer, Update, Updates, hookimpl

WORKERS = int(os.environ.get("WORKERS", "0"))
STOP_KIND, STOP_COUNT = os.environ.get("STOP_AT", "-0")[0], int(os.environ.get("STOP_AT", "-0")[1:])
SEEN = {"count": 0}


def tell(event: str) -> None:
    """Append a letter to the trace; stop if it is time to."""
    descriptor = os.open("trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, event.encode())
    os.close(descriptor)
    if event == STOP_KIND:
        SEEN["count"] += 1
        if SEEN["count"] == STOP_COUNT:
            os.kill(os.getpid(), signal.SIGSTOP)


def listen(event: str, arguments: tuple[Any, ...]) -> None:
    """Be an audit hook: hear of every rename, which is how a checkpoint and a pointer become visible."""
    if event == "os.rename" and "checkpoints" in str(arguments[1]) and ".gone" not in str(arguments[1]):
        tell("P" if str(arguments[1]).endswith(("last", "best")) else "R")


sys.addaudithook(listen)


CHANGING = [
    "scheduled-value:of=momentum,schedule=[linear 20 % end=0.5, cosine end=0.9],update=body",
    "plateau:monitor=val_loss,patience=1",
    "lr-finder:steps=20,apply=true,update=body",
    "clip:norm=2",
    "weight-decay:rate=0.001",
    "ema:decay=0.9",
    "swa:start=2,use=false",
    "init:weights=xavier-uniform",
    "freeze:params=body.0.*,until=2 epochs",
    "grad-noise:eta=0.01",
    "grad-centralization",
    "device",
    "mixed-precision",
    "activation-checkpointing:modules=body.3",
    "deterministic",
]
"""Plugins that change training, all at once; `compile` is not among them since it takes seconds to import."""


class Noisy(Dataset[tuple[torch.Tensor, int]]):
    """Samples that are augmented by three kinds of random numbers."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        time.sleep(0.0005)
        noise = 0.1 * torch.randn(4) + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return torch.tensor([index % 3, index % 5, index / 60, 1.0]) + noise, index % 3


def collate(samples: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix the samples of a batch, by random numbers of three kinds."""
    inputs = torch.stack([sample[0] for sample in samples])
    share = 0.1 * (torch.rand(1) + random.random() + np.random.rand()).float()
    return inputs * (1 - share) + inputs[torch.randperm(len(samples))] * share, torch.tensor([sample[1] for sample in samples])


class Net(nn.Module):
    """A body and a head, trained in turns."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(16, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.head(self.body(inputs))
        return outputs


class Trace:
    """Tells where the run is."""

    passive = True

    @hookimpl
    def on_batch_start(self) -> None:
        tell("b")

    @hookimpl
    def on_backward_end(self) -> None:
        time.sleep(0.01)  # most of the time a kill meets a batch

    @hookimpl
    def on_batch_end(self) -> None:
        tell("e")

    @hookimpl
    def on_eval_batch_end(self) -> None:
        tell("V")

    @hookimpl
    def on_epoch_end(self) -> None:
        tell("E")

    @hookimpl(trylast=True)
    def on_safe_point(self, state: State) -> None:
        tell("S" if state.position == "epoch" else "s")


def margin(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return by how much the right class leads, for each sample."""
    right = outputs.gather(1, targets[:, None])[:, 0]
    return right - outputs.masked_fill(nn.functional.one_hot(targets, 3).bool(), -torch.inf).amax(1)


def build_trainer(epochs: int = 6) -> Trainer:
    """Build it."""
    model = Net()
    updates = Updates(
        [
            Update("body", torch.optim.SGD(model.body.parameters(), lr=0.1, momentum=0.9), accumulate=3),
            Update("head", partial(torch.optim.AdamW, lr=0.02), model.head.parameters(), every=2),
        ]
    )
    load = partial(DataLoader, Noisy(), batch_size=8, collate_fn=collate, num_workers=WORKERS)
    return Trainer(
        model,
        nn.CrossEntropyLoss(),
        updates,
        metrics=["accuracy", margin],
        plugins=["lr:warmup=0.2", "early-stopping:patience=50", *CHANGING, Trace()],
        train_data=load(shuffle=True),
        val_data=load(),
        epochs=epochs,
    )

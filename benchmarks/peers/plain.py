"""The plain loop: what everybody is compared with. `set_up` is what a careful programmer writes without a trainer."""

from __future__ import annotations

import csv
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from peers.tasks import CLIP, LOSS, LR, PATIENCE, Batch, InMemory, Network, SetUp, Step, Train, sgd


def step(task: Step) -> Train:
    """Forward, loss, backward, step, zero_grad."""
    model = task.network()
    optimizer = sgd(model.parameters())

    def train() -> Network:
        for inputs, targets in task.batches:
            LOSS(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        return model

    return train


def in_memory(task: InMemory) -> Train:
    """Likewise, with torch's loader over a dataset of tensors."""
    model = task.network()
    optimizer = sgd(model.parameters())
    loader = DataLoader(TensorDataset(task.inputs, task.targets), batch_size=task.batch_size, shuffle=True)

    def train() -> Network:
        for _ in range(task.epochs):
            for inputs, targets in loader:
                LOSS(model(inputs), targets).backward()
                optimizer.step()
                optimizer.zero_grad()
        return model

    return train


def set_up(task: SetUp) -> Train:
    """Write by hand: means over the epoch, schedule, clipping, validation, best checkpoint, early stopping, a CSV of epochs."""
    model = task.network()
    parameters = list(model.parameters())
    optimizer = sgd(parameters)

    def train() -> Network:
        best, misses, done = float("inf"), 0, 0
        for epoch in range(1, task.epochs + 1):
            model.train()
            losses, correct, count = torch.zeros(()), torch.zeros((), dtype=torch.long), 0
            for inputs, targets in task.train:
                rate = LR * task.factor(done)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                outputs = model(inputs)
                loss = LOSS(outputs, targets)
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, CLIP)
                optimizer.step()
                optimizer.zero_grad()
                done += 1
                size = len(targets)
                losses.add_(loss.detach(), alpha=size)
                correct += (outputs.argmax(1) == targets).sum()
                count += size
            row = {"epoch": epoch, "loss": losses.item() / count, "accuracy": correct.item() / count, **validate(model, task.val)}
            append(task.folder / "history.csv", row)
            if row["val_loss"] < best:
                best, misses = row["val_loss"], 0
                save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), **row}, task.folder / "best.pt")
            else:
                misses += 1
                if misses >= PATIENCE:
                    break
        return model

    return train


@torch.no_grad()
def validate(model: nn.Module, batches: list[Batch]) -> dict[str, float]:
    """Return mean loss and accuracy, read from the device once."""
    model.eval()
    losses, correct, count = torch.zeros(()), torch.zeros((), dtype=torch.long), 0
    for inputs, targets in batches:
        outputs = model(inputs)
        size = len(targets)
        losses.add_(LOSS(outputs, targets), alpha=size)
        correct += (outputs.argmax(1) == targets).sum()
        count += size
    return {"val_loss": losses.item() / count, "val_accuracy": correct.item() / count}


def append(path: Path, row: dict[str, float]) -> None:
    """Add a row to a CSV file, and a head to a new one."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)


def save(state: dict[str, Tensor | float | dict], path: Path) -> None:
    """Write a checkpoint that is never half there."""
    fresh = path.with_suffix(".tmp")
    torch.save(state, fresh)
    fresh.replace(path)

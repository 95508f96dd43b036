"""accelerate: a plain loop whose objects are prepared, as in its quick tour; what it does not bring is plain.py's."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from peers.plain import append
from peers.tasks import CLIP, LOSS, PATIENCE, Batch, InMemory, Network, SetUp, Step, Train, sgd


def step(task: Step) -> Train:
    """Train on a list of batches, which it leaves as it is."""
    return bare(task.network(), task.batches, epochs=1)


def in_memory(task: InMemory) -> Train:
    """Train on a loader, which it wraps."""
    loader = DataLoader(TensorDataset(task.inputs, task.targets), batch_size=task.batch_size, shuffle=True)
    return bare(task.network(), loader, task.epochs)


def bare(model: nn.Module, data: Iterable[Batch], epochs: int) -> Train:
    """Return the loop of the quick tour."""
    accelerator = Accelerator(cpu=True)
    model, optimizer, batches = accelerator.prepare(model, sgd(model.parameters()), data)

    def train() -> Network:
        for _ in range(epochs):
            for inputs, targets in batches:
                optimizer.zero_grad()
                accelerator.backward(LOSS(model(inputs), targets))
                optimizer.step()
        return accelerator.unwrap_model(model)

    return train


def set_up(task: SetUp) -> Train:
    """Write by hand what accelerate leaves to the user, with its own clipping, scheduler, gathering and saving."""
    accelerator = Accelerator(cpu=True)
    network = task.network()
    optimizer = sgd(network.parameters())
    scheduler = LambdaLR(optimizer, task.factor)
    model, optimizer, batches, val, scheduler = accelerator.prepare(network, optimizer, task.train, task.val, scheduler)

    def train() -> Network:
        best, misses = float("inf"), 0
        for epoch in range(1, task.epochs + 1):
            model.train()
            losses, correct, count = torch.zeros(()), torch.zeros((), dtype=torch.long), 0
            for inputs, targets in batches:
                optimizer.zero_grad()
                outputs = model(inputs)
                loss = LOSS(outputs, targets)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), CLIP)
                optimizer.step()
                scheduler.step()
                losses.add_(loss.detach(), alpha=len(targets))
                correct += (outputs.argmax(1) == targets).sum()
                count += len(targets)
            row = {"epoch": epoch, "loss": losses.item() / count, "accuracy": correct.item() / count, **validate(accelerator, model, val)}
            append(task.folder / "history.csv", row)
            if row["val_loss"] < best:
                best, misses = row["val_loss"], 0
                accelerator.save_state(task.folder / "best")
            else:
                misses += 1
                if misses >= PATIENCE:
                    break
        return accelerator.unwrap_model(model)

    return train


@torch.no_grad()
def validate(accelerator: Accelerator, model: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
    """Return mean loss and accuracy, over what all processes have seen."""
    model.eval()
    losses, correct, count = torch.zeros(()), torch.zeros((), dtype=torch.long), 0
    for inputs, targets in batches:
        outputs, targets = accelerator.gather_for_metrics((model(inputs), targets))
        losses.add_(LOSS(outputs, targets), alpha=len(targets))
        correct += (outputs.argmax(1) == targets).sum()
        count += len(targets)
    return {"val_loss": losses.item() / count, "val_accuracy": correct.item() / count}

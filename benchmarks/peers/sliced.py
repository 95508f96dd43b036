"""The plain loop over batches that were cut beforehand, and are never shuffled: what data in memory costs at least."""

from __future__ import annotations

from peers.tasks import LOSS, InMemory, Network, Train, sgd


def in_memory(task: InMemory) -> Train:
    """Forward, loss, backward, step, zero_grad."""
    model = task.network()
    optimizer = sgd(model.parameters())
    batches = list(zip(task.inputs.split(task.batch_size), task.targets.split(task.batch_size), strict=True))

    def train() -> Network:
        for _ in range(task.epochs):
            for inputs, targets in batches:
                LOSS(model(inputs), targets).backward()
                optimizer.step()
                optimizer.zero_grad()
        return model

    return train

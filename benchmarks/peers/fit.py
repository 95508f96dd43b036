"""fit, as its documentation shows it."""

from __future__ import annotations

from fit_core import Trainer
from peers.tasks import CLIP, LOSS, PATIENCE, WARMUP, InMemory, Network, SetUp, Step, Train, sgd


def step(task: Step) -> Train:
    """Train on a list of batches, without plugins."""
    trainer = Trainer(task.network(), LOSS, sgd, quiet=True)

    def train() -> Network:
        trainer.fit(task.batches, epochs=1)
        return trainer.model

    return train


def in_memory(task: InMemory) -> Train:
    """Train on the tensors themselves, without plugins."""
    trainer = Trainer(task.network(), LOSS, sgd, quiet=True)

    def train() -> Network:
        trainer.fit((task.inputs, task.targets), epochs=task.epochs, batch_size=task.batch_size)
        return trainer.model

    return train


def set_up(task: SetUp) -> Train:
    """Train with a metric and five plugins."""
    plugins = [f"lr:warmup={WARMUP}", f"clip:norm={CLIP}", "checkpoint", f"early-stopping:patience={PATIENCE}", "csv"]
    trainer = Trainer(task.network(), LOSS, sgd, metrics=["accuracy"], plugins=plugins, run_dir=task.folder, quiet=True)

    def train() -> Network:
        trainer.fit(task.train, task.val, epochs=task.epochs)
        return trainer.model

    return train

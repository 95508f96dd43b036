"""poutyne: a model with its optimizer and its loss, and callbacks."""

from __future__ import annotations

from typing import Any

from poutyne import ClipNorm, CSVLogger, EarlyStopping, Model, ModelCheckpoint, OptimizerPolicy, Phase, cosinespace, linspace
from torch import nn

from peers.tasks import CLIP, LOSS, LR, PATIENCE, InMemory, Network, SetUp, Step, Train, sgd


def model_of(network: nn.Module, **settings: Any) -> Model:
    """Return poutyne's model."""
    return Model(network, sgd(network.parameters()), LOSS, device="cpu", **settings)


def step(task: Step) -> Train:
    """Train on a list of batches."""
    model = model_of(task.network())

    def train() -> Network:
        model.fit_generator(task.batches, epochs=1, verbose=False)
        return model.network

    return train


def in_memory(task: InMemory) -> Train:
    """Train on the tensors themselves, which it puts into torch's loader."""
    model = model_of(task.network())

    def train() -> Network:
        model.fit(task.inputs, task.targets, epochs=task.epochs, batch_size=task.batch_size, verbose=False)
        return model.network

    return train


def set_up(task: SetUp) -> Train:
    """Train with its accuracy and its callbacks."""
    model = model_of(task.network(), batch_metrics=["accuracy"])
    rise = Phase(lr=linspace(LR / (task.warmup + 1), LR, task.warmup + 1))
    fall = Phase(lr=cosinespace(LR, 0, task.steps - task.warmup))
    callbacks = [
        OptimizerPolicy([rise, fall]),
        ClipNorm(model.network.parameters(), CLIP),
        ModelCheckpoint(str(task.folder / "best.ckpt"), monitor="val_loss", save_best_only=True),
        EarlyStopping(monitor="val_loss", patience=PATIENCE),
        CSVLogger(str(task.folder / "history.csv")),
    ]

    def train() -> Network:
        model.fit_generator(task.train, task.val, epochs=task.epochs, callbacks=callbacks, verbose=False)
        return model.network

    return train

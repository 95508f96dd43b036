"""Keras 3 on torch: its own layers and optimizer, which begin with the weights that all begin with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

os.environ["KERAS_BACKEND"] = "torch"

import keras

from peers.tasks import CLIP, LR, MOMENTUM, PATIENCE, Batch, InMemory, Network, SetUp, Step, Train


def endless(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Generate batches, pass after pass: cheaper than its `PyDataset`."""
    while True:
        yield from batches


def model_of(network: Network, optimizer: keras.optimizers.Optimizer | None = None, **settings: Any) -> keras.Model:
    """Return a model of Keras' layers with the weights of a network."""
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    layers = [keras.layers.Dense(layer.out_features, activation="relu") for layer in linear[:-1]]
    model = keras.Sequential([keras.Input((linear[0].in_features,)), *layers, keras.layers.Dense(linear[-1].out_features)])
    model.set_weights([array for layer in linear for array in (layer.weight.detach().numpy().T, layer.bias.detach().numpy())])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(LR, momentum=MOMENTUM), loss, **settings)
    return model


def network_of(model: keras.Model, network: Network) -> Network:
    """Return the network with the weights of the model."""
    for layer, of in zip((layer for layer in network if isinstance(layer, nn.Linear)), model.layers, strict=True):
        kernel, bias = (torch.as_tensor(np.array(array)) for array in of.get_weights())
        layer.load_state_dict({"weight": kernel.T, "bias": bias})
    network.steps = int(model.optimizer.iterations)
    return network


def step(task: Step) -> Train:
    """Train on a list of batches."""
    model = model_of(task.network())

    def train() -> Network:
        model.fit(endless(task.batches), steps_per_epoch=task.steps, epochs=1, shuffle=False, verbose=0)
        return network_of(model, task.network())

    return train


def in_memory(task: InMemory) -> Train:
    """Train on arrays."""
    model, inputs, targets = model_of(task.network()), task.inputs.numpy(), task.targets.numpy()

    def train() -> Network:
        model.fit(inputs, targets, epochs=task.epochs, batch_size=task.batch_size, verbose=0)
        return network_of(model, task.network())

    return train


def set_up(task: SetUp) -> Train:
    """Train with its metric, its schedule, its clipping and its callbacks."""
    rate = keras.optimizers.schedules.CosineDecay(0.0, task.steps - task.warmup, warmup_target=LR, warmup_steps=task.warmup)
    optimizer = keras.optimizers.SGD(rate, momentum=MOMENTUM, global_clipnorm=CLIP)
    model = model_of(task.network(), optimizer, metrics=["accuracy"])
    callbacks = [
        keras.callbacks.ModelCheckpoint(task.folder / "best.keras", monitor="val_loss", save_best_only=True),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=PATIENCE),
        keras.callbacks.CSVLogger(str(task.folder / "history.csv")),
    ]
    length = {"epochs": task.epochs, "steps_per_epoch": len(task.train), "validation_steps": len(task.val)}

    def train() -> Network:
        data = {"x": endless(task.train), "validation_data": endless(task.val)}
        model.fit(**data, **length, callbacks=callbacks, shuffle=False, verbose=0)
        return network_of(model, task.network())

    return train

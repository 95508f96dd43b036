"""What `fit` is fed with: batches to train on, sets to validate on, as long and as often as was asked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from fit_core.arrays import is_array
from fit_core.batch import needs_inputs
from fit_core.call import Length
from fit_core.data import Limited, NoData, VirtualEpochs, as_batches, makes_batches
from fit_core.errors import FitError, did_you_mean, whole
from fit_core.position import length

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

Limits = int | Mapping[str, int] | None
LIMITED = ("train", "validate")


class Feed(NamedTuple):
    """What one call of `fit` is fed with.

    Attributes:
        source: the training data as it was given, and the size of its batches.
        batches: to train on.
        validation: sets to validate on, by the prefix of their values.
        length: when it is done.
    """

    source: tuple[Any, int | None]
    batches: Iterable[Any]
    validation: dict[str, Iterable[Any]]
    length: Length


def feed(
    trainer: Trainer,
    train_data: Any = None,
    val_data: Any = None,
    epochs: float | None = None,
    steps: int | None = None,
    steps_per_epoch: int | None = None,
    limits: Limits = None,
    batch_size: int | None = None,
) -> Feed:
    """Return what a call of `fit` with these arguments is fed with.

    Raises:
        FitError: no length or no data was given, or the data is not what it should be.
    """
    train_data = trainer.train_data if train_data is None else train_data
    val_data = trainer.val_data if val_data is None else val_data
    epochs = trainer.epochs if epochs is None and steps is None else epochs
    if epochs is None and steps is None:
        raise FitError("how long to train? pass fit(..., epochs=10) or fit(..., steps=1000)")
    endless = epochs is None or epochs == math.inf
    how_long = Length(math.inf if endless else whole("epochs", epochs), None if steps is None else whole("steps", steps))
    found = training(trainer, train_data, batch_size, steps, steps_per_epoch, limits)
    sets = validation(trainer, val_data, batch_size, limits)
    check_together(train_data, val_data, batch_size)
    return Feed((train_data, batch_size), found, sets, how_long)


def training(
    trainer: Trainer, data: Any, batch_size: int | None, steps: int | None, steps_per_epoch: int | None, limits: Limits
) -> Iterable[Any]:
    """Return the batches to train on.

    Args:
        trainer: whose model decides whether it can go without data.
        data: anything sensible; None for a model that needs no inputs.
        batch_size: for datasets and arrays.
        steps: how long the run is, if it is said in steps.
        steps_per_epoch: batches that make an epoch.
        limits: batches of each phase at most.

    Raises:
        FitError: there is no data, or it is not what it should be.
    """
    if data is None and needs_inputs(trainer.model):
        raise FitError("there is no training data: pass fit(train_data, ...) or Trainer(train_data=...)")
    if data is None and steps is None and steps_per_epoch is None:
        raise FitError(
            "how long is an epoch without data? pass fit(steps=1000) or fit(epochs=10, steps_per_epoch=100), "
            "or, for fit train, Trainer(train_data=[None] * 100)"
        )
    found = NoData() if data is None else batches(trainer, data, batch_size, "train_data", shuffle=True)
    if steps_per_epoch is not None:
        found = VirtualEpochs(found, whole("steps_per_epoch", steps_per_epoch), "train_data", trainer._progress.epoch)
    return limited(found, limits, "train")


def validation(trainer: Trainer, data: Any, batch_size: int | None, limits: Limits) -> dict[str, Iterable[Any]]:
    """Return the sets to validate on, by the prefix of their values in the row.

    Args:
        trainer: whose model decides about types.
        data: anything sensible, or a dict of several sets, or None.
        batch_size: for datasets and arrays.
        limits: batches of each phase at most.
    """
    return {
        prefix: limited(batches(trainer, one, batch_size, f"{prefix}data"), limits, "validate") for prefix, one in several(data).items()
    }


def several(data: Any) -> dict[str, Any]:
    """Return validation data by prefix: one set, or a dict of them; a dict of nothing but arrays is one."""
    if data is None:
        return {}
    if isinstance(data, dict) and not all(map(is_array, data.values())):
        return {f"val_{name}_": one for name, one in data.items()}
    return {"val_": data}


def batches(trainer: Trainer, data: Any, batch_size: int | None, name: str, shuffle: bool = False) -> Iterable[Any]:
    """Return the batches of data, as the model wants them."""
    floating = next((p.dtype for p in trainer.model.parameters() if p.is_floating_point()), torch.get_default_dtype())
    return as_batches(data, batch_size, shuffle, name, floating, trainer.seed)


def lengths(trainer: Trainer) -> dict[str, int | None]:
    """Return how many batches a pass over each of the trainer's data has, by name; None if unknown."""
    named = {"train_data": trainer.train_data, **{f"{prefix}data": one for prefix, one in several(trainer.val_data).items()}}
    named |= {"test_data": trainer.test_data}
    return {name: length(batches(trainer, data, None, name)) for name, data in named.items() if data is not None}


def limited(found: Iterable[Any], limits: Limits, phase: str) -> Iterable[Any]:
    """Return the first batches of a phase, if it has a limit.

    Raises:
        FitError: there is no such phase, or a limit is below 1.
    """
    if isinstance(limits, Mapping):
        for name in limits:
            if name not in LIMITED:
                raise FitError(f"limit_batches has no phase {name!r} (phases: train, validate){did_you_mean(name, LIMITED)}")
    limit = limits.get(phase) if isinstance(limits, Mapping) else limits
    return found if limit is None else Limited(found, whole("limit_batches", limit))


def check_together(train_data: Any, val_data: Any, batch_size: int | None) -> None:
    """Look at training and validation data together.

    Raises:
        FitError: `batch_size` is given, and no data needs it.
    """
    if train_data is None:
        return
    if any(one is train_data for one in several(val_data).values()):
        warnings.warn("training and validation data are the same object: val_ values say nothing about new data", stacklevel=4)
    if batch_size is not None and all(map(makes_batches, [train_data, *several(val_data).values()])):
        raise FitError("batch_size does nothing here: the data makes its own batches")

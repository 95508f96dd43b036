"""Training that leaves nothing behind: some steps with one more plugin, and then everything is as it was, to the bit."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from fit_core.control import Control
from fit_core.errors import FitError
from fit_core.guard import Guard
from fit_core.log import LogBuffer
from fit_core.modes import random_states_aside
from fit_core.plan import Hooks
from fit_core.plugins import Member, register
from fit_core.position import owner_of_state
from fit_core.saving import Checkpoints

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

ENDLESS = 10**9
"""Batches of the only epoch of a rehearsal: it is left when it has served."""


def rehearse(trainer: Trainer, probe: Any, data: Any, batch_size: int | None, without: Sequence[Any]) -> None:
    """Train until a plugin stops it, and put everything back: weights, optimizers, plugins, random states, the place in the data.

    The other plugins take part, but for those that are passive; the model is in the mode for training. Nothing is validated, no
    epoch ends, and gradients that are not finite are not looked at.

    Args:
        trainer: with no batch at work.
        probe: a plugin, called last, that calls `trainer.stop` in some batch.
        data: training data, as for `fit`.
        batch_size: as for `fit`.
        without: plugins that take no part.

    Raises:
        FitError: something cannot be put back.
    """
    check_repeatable(data)
    with as_it_was(trainer, data):
        twin_of(trainer, probe, without).fit(data, epochs=1, steps_per_epoch=ENDLESS, batch_size=batch_size)


def check_repeatable(data: Any) -> None:
    """Refuse data that is used up by reading it."""
    if isinstance(data, Iterator):
        raise FitError("this data can be read only once, so nothing can be tried out on it; give a DataLoader or a Dataset")


def twin_of(trainer: Trainer, probe: Any, without: Sequence[Any]) -> Trainer:
    """Return a trainer of the same model, optimizers and plugins, with counters of its own and nobody who keeps records."""
    twin = copy.copy(trainer)
    quiet = [member for member in trainer.members if member.is_metric or getattr(member.plugin, "passive", False)]
    twin.members = [member for member in trainer.members if member not in quiet and all(member.plugin is not other for other in without)]
    twin.members.append(Member("probe", probe, "fit-core"))
    twin.hooks = Hooks(register(twin.members))
    twin._metrics, twin.is_rehearsal = [], True
    twin.val_data, twin.quiet, twin.history, twin.unfinished = None, True, [], None
    twin._progress = copy.copy(trainer._progress)
    twin._progress.phase, twin._progress.streams = "train", {}
    twin._passes, twin._log, twin._logs = [], LogBuffer(), False
    twin._control, twin._guard, twin.checkpoints = Control(), Guard("off"), Checkpoints(twin)
    twin._call = twin._interruption = twin._random = None
    return twin


@contextmanager
def as_it_was(trainer: Trainer, data: Any) -> Iterator[None]:
    """Put everything back afterwards that training changes.

    Raises:
        FitError: a parameter is not initialised yet, so that there is nothing to go back to.
    """
    members = {member.name: copy.deepcopy(member.state_dict()) for member in trainer.members}
    updates = {name: copy.deepcopy((update.state_dict(), update.open_state())) for name, update in trainer.updates.items()}
    counted = {name: (update.lr, update.steps_total) for name, update in trainer.updates.items()}
    with ExitStack() as stack:
        stack.enter_context(random_states_aside(trainer.current_state().device))
        stack.enter_context(places_kept(data))
        for module in trainer.modules():
            stack.enter_context(tensors_kept(module))
        try:
            yield
        finally:
            for name, (state, window) in updates.items():
                update = trainer.updates[name]
                update.load_state_dict(state)
                update.zero_grad()
                update.load_open_state(window)
                update.lr, update.steps_total = counted[name]
            for member in trainer.members:
                member.load_state_dict(members[member.name])


@contextmanager
def tensors_kept(root: nn.Module) -> Iterator[None]:
    """Put parameters, buffers, gradients and modes of a module back afterwards."""
    if any(map(is_lazy, root.parameters())):
        raise FitError("nothing can be tried out before lazy parameters are initialised: call the model on a batch first")
    kept = {value: value.detach().clone() for value in (*root.parameters(), *root.buffers())}
    needs = {p: (p.requires_grad, p.grad) for p in root.parameters()}
    modules = [(module, module.training, dict(module._buffers)) for module in root.modules()]
    try:
        yield
    finally:
        for module, training, buffers in modules:
            module.training = training
            module._buffers.update(buffers)
        with torch.no_grad():
            for value, before in kept.items():
                value.copy_(before)
        for p, (needed, gradient) in needs.items():
            p.requires_grad_(needed)
            p.grad = gradient


@contextmanager
def places_kept(data: Any) -> Iterator[None]:
    """Put the generators of a loader, and the place that data keeps of its own, back afterwards."""
    owner = owner_of_state(data)
    place = None if owner is None else copy.deepcopy(owner.state_dict())
    generators = {generator: generator.get_state() for generator in generators_of(data)}
    try:
        yield
    finally:
        if owner is not None:
            owner.load_state_dict(place)
        for generator, state in generators.items():
            generator.set_state(state)


def generators_of(data: Any) -> Iterable[torch.Generator]:
    """Return the generators that a loader and its samplers draw from."""
    if not isinstance(data, DataLoader):
        return []
    batch_sampler = data.batch_sampler
    parts = [data, data.sampler, batch_sampler, getattr(batch_sampler, "sampler", None)]
    found = [getattr(part, "generator", None) for part in parts]
    return [generator for generator in found if isinstance(generator, torch.Generator)]

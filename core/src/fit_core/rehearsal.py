"""Training that leaves nothing behind: some steps with one more plugin, and then everything is as it was, to the bit."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
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
    taking_part = participants(trainer, without)
    with random_states_aside(trainer.current_state().device):
        with as_it_was(trainer, taking_part, data):
            twin_of(trainer, taking_part, probe).fit(data, epochs=1, steps_per_epoch=ENDLESS, batch_size=batch_size)
        begin_again(trainer, begun(trainer, taking_part, without))


def check_repeatable(data: Any) -> None:
    """Refuse data that is used up by reading it."""
    if isinstance(data, Iterator):
        raise FitError("this data can be read only once, so nothing can be tried out on it; give a DataLoader or a Dataset")


def participants(trainer: Trainer, without: Sequence[Any]) -> list[Member]:
    """Return the plugins that take part: all but those that keep records, and some others."""
    active = [member for member in trainer.members if not member.is_passive]
    return [member for member in active if all(member.plugin is not other for other in without)]


def twin_of(trainer: Trainer, members: Sequence[Member], probe: Any) -> Trainer:
    """Return a trainer of the same model and optimizers, with counters of its own."""
    twin = copy.copy(trainer)
    twin.members = [*members, Member("probe", probe, "fit-core")]
    twin.hooks = Hooks(register(twin.members))
    twin._metrics, twin.is_rehearsal = [], True
    twin.val_data, twin.quiet, twin.history, twin.unfinished = None, True, [], None
    twin._progress = copy.copy(trainer._progress)
    twin._progress.phase, twin._progress.streams = "train", {}
    twin._passes, twin._log, twin._logs = [], LogBuffer(), False
    twin._control, twin._guard, twin.checkpoints = Control(), Guard("off"), Checkpoints(twin)
    twin._call = twin._interruption = twin._random = None
    return twin


def begun(trainer: Trainer, members: Sequence[Member], without: Sequence[Any]) -> list[Member]:
    """Return the plugins that have heard of the start of the run at work: in `on_fit_start` those before the plugin that rehearses."""
    if not trainer.is_fitting:
        return []
    if trainer.run_has_begun:
        return list(members)
    hearing = [actor.member.plugin for actor in trainer.hooks.plans["on_fit_start"].actors]
    asking = next((i for i, plugin in enumerate(hearing) if any(plugin is other for other in without)), 0)
    return [member for member in members if any(member.plugin is plugin for plugin in hearing[:asking])]


def begin_again(trainer: Trainer, members: Sequence[Member]) -> None:
    """Let plugins go on with the run that is at work: they have ended another one, and their states are loaded, as for a resumed run."""
    state = trainer.current_state()
    progress = state._progress
    resumed, progress.resumed = progress.resumed, True
    try:
        Hooks(register(members)).on_fit_start(trainer, state)
    finally:
        progress.resumed = resumed


@contextmanager
def as_it_was(trainer: Trainer, taking_part: Sequence[Member], data: Any) -> Iterator[None]:
    """Put everything back afterwards that training changes.

    Args:
        trainer: whose model and optimizers they are.
        taking_part: plugins.
        data: that is read.

    Raises:
        FitError: a parameter is not initialised yet, so that there is nothing to go back to.
    """
    states = [(member, copy.deepcopy(member.state_dict())) for member in taking_part]
    updates = {name: copy.deepcopy((update.state_dict(), update.open_state())) for name, update in trainer.updates.items()}
    counted = {name: (update.lr, update.steps_total) for name, update in trainer.updates.items()}
    optimizers = [optimizer for update in trainer.updates.values() for optimizer in update.optimizers]
    roots = [*trainer.modules(), trainer.current_state().model]
    with ExitStack() as stack:
        stack.enter_context(places_kept(data))
        stack.enter_context(tensors_kept(roots, [p for update in trainer.updates.values() for p in update.params]))
        stack.enter_context(attributes_kept(roots))
        stack.enter_context(groups_kept(optimizers))
        try:
            yield
        finally:
            for name, (state, window) in updates.items():
                update = trainer.updates[name]
                update.load_state_dict(state)
                update.begin_window()
                update.load_open_state(window)
                update.lr, update.steps_total = counted[name]
            for member, before in states:
                member.load_state_dict(before)


@contextmanager
def tensors_kept(roots: Iterable[nn.Module], others: Iterable[Tensor]) -> Iterator[None]:
    """Put the values of parameters and buffers back afterwards, and gradients.

    Args:
        roots: whose they are.
        others: parameters of nobody's.
    """
    params = dict.fromkeys([*(p for root in roots for p in root.parameters()), *others])
    if any(map(is_lazy, params)):
        raise FitError("nothing can be tried out before lazy parameters are initialised: call the model on a batch first")
    buffers = [value for root in roots for value in root.buffers() if not is_expanded(value)]
    kept = {value: value.detach().clone() for value in (*params, *buffers)}
    needs = {p: (p.requires_grad, p.grad) for p in params}
    try:
        yield
    finally:
        with torch.no_grad():
            for value, before in kept.items():
                value.copy_(before)
        for p, (needed, gradient) in needs.items():
            p.requires_grad_(needed)
            p.grad = gradient


def is_expanded(value: Tensor) -> bool:
    """Tell a tensor that nothing can be written into: several of its elements are one."""
    return any(stride == 0 and size > 1 for stride, size in zip(value.stride(), value.shape, strict=True))


@contextmanager
def attributes_kept(roots: Iterable[nn.Module]) -> Iterator[None]:
    """Put the attributes of modules back afterwards, and what is in their dicts: modes, buffers, hooks, counters of their own."""
    modules = dict.fromkeys(module for root in roots for module in root.modules())
    kept = {
        module: [(name, value, dict(value) if isinstance(value, dict) else None) for name, value in vars(module).items()]
        for module in modules
    }
    try:
        yield
    finally:
        for module, attributes in kept.items():
            vars(module).clear()
            for name, value, before in attributes:
                if before is not None:
                    value.clear()
                    value.update(before)
                vars(module)[name] = value


@contextmanager
def groups_kept(optimizers: Iterable[Optimizer]) -> Iterator[None]:
    """Leave the parameter groups of optimizers the dicts that they are, whatever is loaded: others may hold them."""
    kept = [(optimizer, list(optimizer.param_groups)) for optimizer in optimizers]
    try:
        yield
    finally:
        for optimizer, groups in kept:
            for group, loaded in zip(groups, optimizer.param_groups, strict=True):
                group.clear()
                group.update(loaded)
            optimizer.param_groups[:] = groups


@contextmanager
def places_kept(data: Any) -> Iterator[None]:
    """Put the generators of a loader, its workers, and the place that data keeps of its own, back afterwards."""
    owner = owner_of_state(data)
    place = None if owner is None else copy.deepcopy(owner.state_dict())
    generators = {generator: generator.get_state() for generator in generators_of(data)}
    workers = data._iterator if isinstance(data, DataLoader) else None
    if isinstance(data, DataLoader):
        data._iterator = None  # persistent workers may be in the midst of a pass, and have random states of their own
    try:
        yield
    finally:
        if isinstance(data, DataLoader):
            data._iterator = workers
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

"""Train and eval mode, frozen modules, random states: what a pass must leave as it found it."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

MARK = "_fit_frozen"


def freeze(module: nn.Module) -> nn.Module:
    """Stop training a module: no gradients, and its normalisation statistics stay still.

    Its parameters get `requires_grad=False`, the module goes into eval mode and stays there whenever fit switches the
    model to training.

    Returns:
        The module, so that `model.backbone = freeze(resnet)` works.
    """
    for p in module.parameters():
        p.requires_grad = False  # lazy ones refuse requires_grad_
    module.eval()
    setattr(module, MARK, True)
    return module


def switch_to_train(modules: Iterable[nn.Module]) -> None:
    """Bring every module whose root is in eval mode to training as a whole, but for what is frozen."""
    for root in modules:
        if not root.training and not getattr(root, MARK, False):
            root.train()
        for module in root.modules():
            if getattr(module, MARK, False):
                module.eval()


def flags_of(modules: Mapping[str, nn.Module]) -> dict[str, dict[str, list[str]]]:
    """Return which submodules of some modules are in eval mode, and which of their parameters get no gradient, by name."""
    return {
        name: {
            "eval": [child for child, module in root.named_modules() if not module.training],
            "still": [parameter for parameter, value in root.named_parameters() if not value.requires_grad],
        }
        for name, root in modules.items()
    }


def set_flags(modules: Mapping[str, nn.Module], flags: Mapping[str, Mapping[str, list[str]]]) -> None:
    """Put modules into the modes that `flags_of` returned."""
    for name, root in modules.items():
        if name in flags:
            still, in_eval = set(flags[name]["still"]), set(flags[name]["eval"])
            for child, module in root.named_modules():
                module.training = child not in in_eval
            for parameter, value in root.named_parameters():
                value.requires_grad_(parameter not in still)


@contextmanager
def eval_mode(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Bring modules to eval mode; put every `training` flag back afterwards, also after an exception."""
    modules = list(modules)
    found = [(module, module.training) for root in modules for module in root.modules()]
    was_training = [(root, root.training) for root in modules]
    for root, _ in was_training:
        root.eval()  # a module may do more than set a flag when it changes modes
    try:
        yield
    finally:
        for root, training in was_training:
            root.train(training)
        for module, training in found:
            module.training = training


@contextmanager
def random_states_aside(device: torch.device) -> Iterator[None]:
    """Put the random states of Python, numpy, torch and the device back afterwards."""
    before = random_states(device)
    try:
        yield
    finally:
        set_random_states(before, device)


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the random states of Python, numpy (if it is imported), torch and the device."""
    numpy: Any = sys.modules.get("numpy.random")
    return {
        "python": random.getstate(),
        "numpy": numpy.get_state() if numpy else None,
        "cpu": torch.get_rng_state(),
        "device": torch.get_device_module(device).get_rng_state(device) if _draws_itself(device) else None,
    }


def set_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Put random states back that `random_states` returned."""
    random.setstate(states["python"])
    if states["numpy"] is not None:
        import_module("numpy.random").set_state(states["numpy"])
    torch.set_rng_state(states["cpu"])
    if states["device"] is not None and _draws_itself(device):
        torch.get_device_module(device).set_rng_state(states["device"], device)


def _draws_itself(device: torch.device) -> bool:
    return device.type not in ("cpu", "meta")


def set_seed(seed: int) -> None:
    """Seed Python, numpy (if it is installed: what is imported later may draw from it) and torch on every device."""
    random.seed(seed)
    if find_spec("numpy"):
        import_module("numpy.random").seed(seed % 2**32)
    torch.manual_seed(seed)

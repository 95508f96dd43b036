"""Where a model is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim import Optimizer

from fit_core import FitError, hookimpl
from fit_core.errors import listed
from fit_device.placing import accelerators, best_for, bind, bound, follow, is_there, place, without_values

if TYPE_CHECKING:
    from fit_core import Trainer


class Placement:
    """Moves the model, and losses that are modules, to a device, once, before anything is built on them.

    Batches follow them. An optimizer that was made before holds the same parameters afterwards; what it has for them (momentum, say)
    moves along.

    Args:
        device: "auto" is the first accelerator there is (cuda, mps), else the CPU, and leaves a model alone that is on an
            accelerator or on the meta device already; or "cpu", "cuda", "cuda:1", "mps", "meta".
        modules: further modules to move, such as a teacher that a hook calls (from Python only).

    Raises:
        FitError: there is no such device, the model has no values to move (it is on the meta device), or `modules` are none.
    """

    def __init__(self, device: str = "auto", modules: Sequence[nn.Module] = ()) -> None:
        if not isinstance(modules, (list, tuple, nn.ModuleList)) or not all(isinstance(module, nn.Module) for module in modules):
            raise FitError(f"modules must be a list of modules, not {modules!r}")
        self.device = str(device)
        self.modules = modules

    @hookimpl(trylast=True)  # a model that another plugin puts in is moved too
    def on_setup(self, trainer: Trainer) -> None:
        wanted = self._wanted()
        device = best_for(trainer.model, accelerators()) if wanted is None else wanted
        others = [*trainer.losses().values(), *self.modules]
        if device is None:  # the model stays
            modules, device = others, next(trainer.model.parameters()).device
        else:
            modules = [trainer.model, *others]
        for module in modules:
            name = None if device.type == "meta" else without_values(module)
            if name is not None:
                raise FitError(
                    f"{name} of {type(module).__name__} is on the meta device, where it has no values to move to {device}; "
                    f"make the module on the CPU, or call its to_empty(device={str(device)!r}) and initialise it"
                )
        self._rebind(trainer, place(modules, device))

    def _wanted(self) -> torch.device | None:
        """Return the device that was asked for; None for "auto"."""
        if self.device == "auto":
            return None
        found = accelerators()
        there = listed(["auto", "cpu", "meta", *map(str, found)])
        try:
            device = torch.device(self.device)
        except RuntimeError:  # what torch raises for a word that is no device
            raise FitError(f"{self.device!r} is no device (there are: {there})") from None
        if not is_there(device, found):
            raise FitError(f"there is no device {self.device!r} here (there are: {there})")
        return device

    def _rebind(self, trainer: Trainer, replaced: dict[int, nn.Parameter]) -> None:
        for update in [] if trainer.optimizer is None else trainer.sequence:
            if update.given_params is not None:
                update.given_params = bound(update.given_params, replaced)
            for optimizer in update.given if isinstance(update.given, list) else [update.given]:
                if isinstance(optimizer, Optimizer):
                    bind(optimizer, replaced)
                    follow(optimizer)

"""Less memory for activations, for more work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from fit_core import FitError, hookimpl
from fit_core.errors import did_you_mean
from fit_device.patterns import callable_modules, outermost
from fit_device.recomputing import keep, recompute

if TYPE_CHECKING:
    from fit_core import Trainer


class ActivationCheckpointing:
    """Computes the activations of some modules again in the backward pass, instead of keeping them (Chen et al. 2016).

    Results are equal to the bit, dropout and batch norm included. Inside of a module that is chosen others are not chosen again.

    Args:
        modules: patterns of names, such as `layers.*`; by default every child of the model.

    Raises:
        FitError: there is no pattern, or one matches no module.
    """

    passive = True

    def __init__(self, modules: str | list[str] = "*") -> None:
        patterns = [modules] if isinstance(modules, str) else modules
        if not isinstance(patterns, (list, tuple)) or not patterns or not all(isinstance(one, str) and one for one in patterns):
            raise FitError(f"modules must be a pattern of names, or a list of some, not {modules!r}")
        self.patterns = list(patterns)
        self._chosen: list[nn.Module] = []

    @hookimpl(trylast=True)  # a model that another plugin puts in is meant too
    def on_setup(self, trainer: Trainer) -> None:
        there = callable_modules(trainer.model)
        for pattern in self.patterns:
            if not outermost(there, [pattern]):
                names = [*there, *(f"{name}.*" for name in there)]
                nearest = (
                    did_you_mean(pattern, names) or f" (there are {', '.join([*list(there)[:6], *['...'][: len(there) > 6]]) or 'none'})"
                )
                raise FitError(f"no module is called {pattern!r}{nearest}")
        self._chosen = list(outermost(there, self.patterns).values())
        for module in self._chosen:
            recompute(module)

    @hookimpl
    def on_teardown(self) -> None:
        for module in self._chosen:
            keep(module)
        self._chosen = []

"""Freezing on a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fit_core import Every, FitError, State, freeze, hookimpl
from fit_core.modes import MARK
from fit_optim.freezing import in_training, resting
from fit_optim.patterns import Patterns, matching, named_modules, named_parameters

if TYPE_CHECKING:
    from fit_core import Trainer

COUNTED = ("step", "epoch")
PARTS = ("held", "rested", "trained")


class Freeze:
    """Freezes parameters for a part of training, or all of it.

    They get no gradients, and no optimizer changes them. A module whose parameters are all frozen is in evaluation mode: its
    dropout is off, its statistics of batch norm stay still. What was frozen before stays so.

    Args:
        params: patterns of names, such as `backbone.*`.
        until: when to train them: "3 epochs" or "500 steps" from the beginning; none: never.
        after: when to begin, likewise; none: at once.

    Raises:
        FitError: a pattern matches no parameter, nothing is left to train, or a time is not in epochs or steps.
    """

    def __init__(self, params: Patterns, until: Every | None = None, after: Every | None = None) -> None:
        self.params = params
        self.until = _counted("until", until)
        self.after = _counted("after", after)
        if (
            self.until is not None
            and self.after is not None
            and self.until.unit == self.after.unit
            and self.until.length <= self.after.length
        ):
            raise FitError(f"until ({self.until}) must be later than after ({self.after})")
        self._held: list[str] = []
        self._rested: list[str] = []
        self._trained: list[str] = []
        self._loaded: dict[str, list[str]] | None = None

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        matching(trainer, self.params)  # a pattern without a match is told at once
        if self._loaded is not None:
            self._release(trainer)  # what this trainer has frozen since
            self._held, self._rested, self._trained = (list(self._loaded[part]) for part in PARTS)
            self._loaded = None
            self._rest(trainer)
        if not state.resumed:
            self._switch(trainer, state, epochs=state.epoch)

    @hookimpl
    def on_batch_start(self, trainer: Trainer, state: State) -> None:
        self._switch(trainer, state, epochs=state.epoch - 1)

    def _switch(self, trainer: Trainer, state: State, epochs: int) -> None:
        counts = {"epoch": epochs, "step": state.step}
        begun = self.after is None or counts[self.after.unit] >= self.after.length
        over = self.until is not None and counts[self.until.unit] >= self.until.length
        if begun and not over and not self._held:
            self._hold(trainer, state)
        elif self._held and (over or not begun):
            self._release(trainer)

    def _hold(self, trainer: Trainer, state: State) -> None:
        found = {name: p for name, p in matching(trainer, self.params).items() if p.requires_grad}
        self._held = list(found)
        for p in found.values():
            p.requires_grad = False  # lazy ones refuse requires_grad_
        for update in state.updates.values():
            if not any(p.requires_grad for p in update.params):
                raise FitError(f"freeze leaves nothing to train in update {update.name!r}; choose fewer parameters than {self.params!r}")
        modules = named_modules(trainer)
        self._rested = resting(modules, {id(p) for p in found.values()})
        self._trained = [name for rested in self._rested for name in in_training(modules, rested)]
        self._rest(trainer)

    def _rest(self, trainer: Trainer) -> None:
        params, modules = named_parameters(trainer), named_modules(trainer)
        for name in self._held:
            params[name].requires_grad = False
            params[name].grad = None  # of a window that is open
        for name in self._rested:
            freeze(modules[name])

    def _release(self, trainer: Trainer) -> None:
        params, modules = named_parameters(trainer), named_modules(trainer)
        for name in self._held:
            params[name].requires_grad = True
        for name in self._rested:
            setattr(modules[name], MARK, False)
        for name in self._trained:
            modules[name].training = True
        self._held, self._rested, self._trained = [], [], []

    def state_dict(self) -> dict[str, Any]:
        """Return what is frozen now, and what was in training mode before."""
        now = {"held": self._held, "rested": self._rested, "trained": self._trained}
        return {part: list(names) for part, names in (self._loaded or now).items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned, once the next `fit` begins."""
        self._loaded = {part: list(state[part]) for part in PARTS}


def _counted(name: str, interval: Every | None) -> Every | None:
    """Return when something happens, in steps or epochs."""
    found = None if interval is None else Every(interval)
    if found is not None and found.unit not in COUNTED:
        raise FitError(f"{name} must be in epochs or steps, such as '3 epochs', not {str(found)!r}")
    return found

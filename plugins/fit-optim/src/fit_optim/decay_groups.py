"""No weight decay on biases and norms."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from fit_core import FitError, State, hookimpl
from fit_optim.grouping import as_groups, split, undecayed
from fit_optim.patterns import Patterns, matching

if TYPE_CHECKING:
    from fit_core import Trainer


class DecayGroups:
    """Gives the optimizer two groups of parameters: biases, norms and other vectors go without weight decay.

    It needs an optimizer that fit makes, such as `partial(torch.optim.AdamW, lr=1e-3)`; ready ones are left alone.

    Args:
        decay: the weight decay of all others; none: the optimizer's own.
        without: patterns of names of further parameters to go without, such as `*.embedding.*`.

    Raises:
        FitError: every optimizer is ready, a number is out of range, or a pattern matches no parameter.
    """

    def __init__(self, decay: float | None = None, without: Patterns | None = None) -> None:
        if decay is not None and not decay >= 0:
            raise FitError(f"decay must be a number from 0 on, not {decay}")
        self.decay = decay
        self.without = without
        self._asked = False

    @hookimpl(wrapper=True)
    def param_groups(self, trainer: Trainer) -> Generator[None, list[Any], list[Any]]:
        groups = yield
        self._asked = True
        spared = {id(p) for p in matching(trainer, self.without or []).values()}.union(*map(undecayed, trainer.modules()))
        parts = split(as_groups(groups), lambda p: id(p) in spared)
        for is_spared, group in parts:
            if is_spared:
                group["weight_decay"] = 0.0
            elif self.decay is not None:
                group["weight_decay"] = self.decay
        return [group for _, group in sorted(parts, key=lambda part: bool(part[0]))]

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        if not self._asked:
            made = type(next(iter(state.updates.values())).optimizer).__name__
            raise FitError(f"decay-groups cannot change the groups of a ready optimizer; pass partial(torch.optim.{made}, ...) instead")

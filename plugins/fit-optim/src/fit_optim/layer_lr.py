"""Learning rates that fall from the last layer to the first."""

from __future__ import annotations

from collections.abc import Generator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from fit_core import FitError, State, hookimpl
from fit_optim.grouping import as_groups, split
from fit_optim.patterns import Patterns, listed_patterns, matching, named_parameters

if TYPE_CHECKING:
    from fit_core import Trainer

FACTOR = "lr_factor"
"""The key of a group whose rate is not multiplied yet; a saved optimizer has it only if no `fit` has begun."""


class LayerLR:
    """Multiplies the learning rate by `decay` for each layer that lies below the last one (Howard and Ruder 2018, section 3.2).

    It needs an optimizer that fit makes, such as `partial(torch.optim.AdamW, lr=1e-3)`; ready ones are left alone. The first group,
    whose rate the row shows, is that of the last layer. Schedules multiply each group's own rate.

    Args:
        decay: the factor from a layer to the one below it.
        layers: patterns of names from the first layer to the last, such as `[stem.*,blocks.0.*,blocks.1.*,head.*]`; what none of
            them matches keeps the rate. None: the children of the model that have parameters, in their order.

    Raises:
        FitError: every optimizer is ready, decay is out of range, or a pattern matches no parameter.
    """

    name = "layer-lr"

    def __init__(self, decay: float = 0.9, layers: Patterns | None = None) -> None:
        if not 0 < decay <= 1:
            raise FitError(f"decay must be above 0 and at most 1, not {decay}")
        self.decay = decay
        self.layers = layers
        self._asked = False

    @hookimpl(wrapper=True)
    def param_groups(self, trainer: Trainer) -> Generator[None, list[Any], list[Any]]:
        groups = yield
        self._asked = True
        factors = self.factors(trainer)
        parts = split(as_groups(groups), lambda p: factors.get(id(p), 1.0))
        found = [{**group, FACTOR: group.get(FACTOR, 1.0) * factor} for factor, group in parts]
        return sorted(found, key=lambda group: -float(group[FACTOR]))

    @hookimpl(tryfirst=True)
    def on_fit_start(self, state: State) -> None:
        if not self._asked:
            made = type(next(iter(state.updates.values())).optimizer).__name__
            raise FitError(f"layer-lr cannot change the groups of a ready optimizer; pass partial(torch.optim.{made}, ...) instead")
        for update in state.updates.values():
            for optimizer in update.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["lr"] * group.pop(FACTOR, 1.0)

    def factors(self, trainer: Trainer) -> dict[int, float]:
        """Return the factor of each parameter by its id; a parameter is of the first layer that has it."""
        named = named_parameters(trainer)
        layers = listed_patterns(self.layers) if self.layers is not None else self.children(trainer)
        matching(trainer, layers)  # or it says which one is wrong
        found: dict[int, float] = {}
        for depth, pattern in enumerate(reversed(layers)):
            found |= {id(p): self.decay**depth for name, p in named.items() if fnmatchcase(name, pattern)}
        return found

    @staticmethod
    def children(trainer: Trainer) -> list[str]:
        """Return patterns for the children of the model that have parameters."""
        return [f"{name}.*" for name, child in trainer.model.named_children() if any(True for _ in child.parameters())]

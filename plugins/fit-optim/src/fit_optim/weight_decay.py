"""Weight decay as a penalty."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from torch import nn
from torch.nn.parameter import is_lazy

from fit_core import FitError, State, hookimpl
from fit_optim.patterns import Patterns, matching
from fit_optim.penalties import norm_penalty, power_penalty

if TYPE_CHECKING:
    from fit_core import Trainer


class WeightDecay:
    """Adds a penalty on the size of weights to the loss of every batch, of those that are being trained.

    With several updates each loss has the penalty of its own parameters. A step of several batches has it once.

    Args:
        rate: the factor of the penalty.
        p: 2 for L2, 1 for L1, or any other from 1 on.
        form: "power" is rate / p * sum(|w|^p), which for p=2 does what SGD's weight_decay=rate does; "norm" is
            rate * sum of the p-norms of each tensor, not squared.
        params: patterns of names, such as `*.weight`.
        validation: whether the losses of validation and test have the penalty too.

    Raises:
        FitError: a number is out of range, or a pattern matches no parameter.
    """

    def __init__(
        self,
        rate: float = 5e-4,
        p: float = 2.0,
        form: Literal["power", "norm"] = "power",
        params: Patterns = "*",
        validation: bool = False,
    ) -> None:
        if not 0 <= rate < math.inf:
            raise FitError(f"rate must be a number from 0 on, not {rate}")
        if not p >= 1 or (form == "power" and p == math.inf):
            raise FitError(f"p must be from 1 on{' and finite' * (form == 'power')}, not {p}")
        if form not in ("power", "norm"):
            raise FitError(f"form must be 'power' or 'norm', not {form!r}")
        self.rate = rate
        self.p = p
        self.form = form
        self.params = params
        self.validation = validation
        self._found: list[nn.Parameter] | None = None

    @hookimpl
    def on_fit_start(self, trainer: Trainer) -> None:
        self._found = list(matching(trainer, self.params).values())

    @hookimpl
    def on_loss_end(self, trainer: Trainer, state: State) -> None:
        if not self.counts(trainer, state):
            return
        weights = self.weights(trainer, state)
        if weights:
            penalty = (power_penalty if self.form == "power" else norm_penalty)(weights, self.p)
            state.loss = state.loss + self.rate * penalty.to(state.loss.device)

    def counts(self, trainer: Trainer, state: State) -> bool:
        """Whether this batch gets the penalty: losses that are sums add up undivided, so that only the first one does."""
        sums = trainer.criterion_for(state).sums
        if state.phase != "train":
            return self.validation and not (sums and state.batch > 1)
        return not (sums and state.update is not None and state.update.window.batches)

    def weights(self, trainer: Trainer, state: State) -> list[nn.Parameter]:
        """Return what is penalised: what requires a gradient now, which during an update nobody else's parameters do."""
        if self._found is None:
            self._found = list(matching(trainer, self.params).values())
        found = [p for p in self._found if p.requires_grad and not is_lazy(p)]
        if state.update is None and len(state.updates) > 1:  # what is reported is the first one's loss
            first = {id(p) for p in next(iter(state.updates.values())).params}
            found = [p for p in found if id(p) in first]
        return found

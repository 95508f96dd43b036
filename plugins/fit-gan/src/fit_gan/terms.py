"""Terms of either side's loss: named, weighted, and in the row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fit_core import FitError, State, hookimpl
from fit_core.batch import batch_size
from fit_core.errors import listed
from fit_gan.adversarial import discriminate, scores_of
from fit_gan.keys import D_FAKE, D_REAL, FAKE
from fit_gan.model import parts_of
from fit_gan.penalties import interpolation_penalty, squared_gradient

if TYPE_CHECKING:
    from fit_core import Trainer


class Term:
    """Adds `weight * function(trainer, state)` to one side's loss; the row has its mean, without the weight, under the plugin's name.

    Args:
        name: of the plugin.
        function: `(trainer, state)` to a tensor with one element.
        side: "d" or "g".
        weight: of the term.
        every: lazy regularisation (Karras et al. 2020, section 3.1): only at every so many steps of the side, with so many
            times the weight.
    """

    def __init__(
        self, name: str, function: Callable[[Trainer, State], Tensor], side: Literal["d", "g"] = "g", weight: float = 1.0, every: int = 1
    ) -> None:
        if side not in ("d", "g"):
            raise FitError(f"the side of term {name!r} must be 'd' or 'g', not {side!r}")
        if every < 1:
            raise FitError(f"every of term {name!r} must be at least 1, not {every}")
        self.name = name
        self.function = function
        self.side = side
        self.weight = weight
        self.every = every

    @hookimpl
    def on_d_loss_end(self, trainer: Trainer, state: State) -> None:
        if self.side == "d":
            self._add(trainer, state)

    @hookimpl
    def on_g_loss_end(self, trainer: Trainer, state: State) -> None:
        if self.side == "g":
            self._add(trainer, state)

    def _add(self, trainer: Trainer, state: State) -> None:
        assert state.update is not None
        if state.update.steps % self.every == 0:
            value = self.function(trainer, state)
            name = next(name for name, plugin in trainer.plugins.items() if plugin is self)
            trainer.record(name.replace("-", "_"), value.detach(), batch_size(state.inputs))
            state.loss = state.loss + self.weight * self.every * value


class GradientPenalty(Term):
    """Keeps the discriminator's gradient between real samples and fakes at norm 1 (Gulrajani et al. 2017, eq. 3).

    Args:
        weight: of the term.
        every: lazily, at every so many steps of the discriminator.
    """

    def __init__(self, weight: float = 10.0, every: int = 1) -> None:
        super().__init__("gradient-penalty", self.penalty, "d", weight, every)

    def penalty(self, trainer: Trainer, state: State) -> Tensor:
        """Return the penalty at a random point between each real sample and a fake."""
        real, fake = state.inputs, state[FAKE].detach()
        mix = torch.rand(len(real), generator=trainer.generator(self, real.device), device=real.device, dtype=real.dtype)
        return interpolation_penalty(scorer(trainer, state), real, fake, mix)


class R1(Term):
    """Punishes the discriminator's gradient at real samples (Mescheder et al. 2018, eq. 9).

    Args:
        weight: of the term, their gamma.
        every: lazily, at every so many steps of the discriminator; StyleGAN 2 takes 16.
    """

    def __init__(self, weight: float = 10.0, every: int = 1) -> None:
        super().__init__("r1", lambda trainer, state: squared_gradient(scorer(trainer, state), state.inputs), "d", weight, every)


class R2(Term):
    """Punishes the discriminator's gradient at fakes (Mescheder et al. 2018, eq. 10).

    Args:
        weight: of the term, their gamma.
        every: lazily, at every so many steps of the discriminator.
    """

    def __init__(self, weight: float = 10.0, every: int = 1) -> None:
        super().__init__("r2", lambda trainer, state: squared_gradient(scorer(trainer, state), state[FAKE].detach()), "d", weight, every)


class FeatureMatching(Term):
    """Brings the mean features of fakes near those of real samples (Salimans et al. 2016, section 3.1).

    Args:
        layer: the name of a module inside of the discriminator, whose output is matched.
        weight: of the term.
    """

    def __init__(self, layer: str, weight: float = 1.0) -> None:
        super().__init__("feature-matching", self.distance, "g", weight)
        self.layer = layer

    def distance(self, trainer: Trainer, state: State) -> Tensor:
        """Return the squared distance of the mean features."""
        with captured(parts_of(trainer.model)[1], self.layer) as features:
            with torch.no_grad():
                discriminate(trainer, state, state.inputs)
            discriminate(trainer, state, state[FAKE])
        real, fake = (feature.flatten(1).mean(0) for feature in features)
        return (real - fake).square().sum()


class ClassLoss(Term):
    """Lets the discriminator tell classes apart, and the generator make what it is asked for (Odena et al. 2017, eq. 2).

    The discriminator returns (scores, logits of the classes); targets are class indices.

    Args:
        weight: of the term, on both sides.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__("class-loss", self.cross_entropy, "g", weight)

    @hookimpl
    def on_d_loss_end(self, trainer: Trainer, state: State) -> None:
        real = F.cross_entropy(logits_of(state[D_REAL]), state.targets)
        fake = F.cross_entropy(logits_of(state[D_FAKE]), state.targets)
        trainer.record("d_class_loss", real.detach(), batch_size(state.inputs))
        state.loss = state.loss + self.weight * (real + fake)

    @hookimpl
    def on_g_loss_end(self, trainer: Trainer, state: State) -> None:
        self._add(trainer, state)

    def cross_entropy(self, _: Trainer, state: State) -> Tensor:
        """Return how far the fakes are from the classes that were asked for."""
        return F.cross_entropy(logits_of(state[D_FAKE]), state.targets)


def scorer(trainer: Trainer, state: State) -> Callable[[Tensor], Tensor]:
    """Return the function from samples to the discriminator's scores."""
    return lambda samples: scores_of(discriminate(trainer, state, samples))


def logits_of(output: Any) -> Tensor:
    """Return the logits of the classes of what a discriminator returned.

    Raises:
        FitError: it returned none.
    """
    if not isinstance(output, (tuple, list)) or len(output) != 2:
        raise FitError("class-loss needs a discriminator that returns (scores, logits of the classes)")
    logits: Tensor = output[1]
    return logits


@contextmanager
def captured(module: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Collect the outputs of one of a module's parts.

    Raises:
        FitError: it has no such part.
    """
    parts = dict(module.named_modules())
    if layer not in parts:
        raise FitError(f"the discriminator has no part {layer!r} (parts: {listed(name for name in parts if name)})")
    found: list[Tensor] = []
    handle = parts[layer].register_forward_hook(lambda *called: found.append(called[-1]))
    try:
        yield found
    finally:
        handle.remove()

"""Adversarial training: what forward and loss are for each side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fit_core import FitError, State, StateKey, hookimpl
from fit_core.batch import batch_size
from fit_core.errors import did_you_mean, listed
from fit_gan.keys import D_FAKE, D_REAL, FAKE, NOISE
from fit_gan.losses import LOSSES, AdversarialLoss
from fit_gan.model import parts_of
from fit_gan.specs import Specs

if TYPE_CHECKING:
    from fit_core import Trainer


LED_BACK: StateKey[Any] = StateKey("led_back")
"""With one optimizer: what the discriminator returned for fakes that lead back to the generator."""


class Adversarial:
    """Trains `trainer.model.generator` against `trainer.model.discriminator`, in the updates `d` and `g`.

    With one optimizer over both, the two losses are summed, and each reaches its own side only: the discriminator's
    parameters are switched off while the generator's loss is computed.

    The row has `d_loss`, `g_loss`, and the mean of what the discriminator says of real samples and of fakes, `d_x` and
    `d_gz`: probabilities with minimax and non-saturating losses, else scores.

    Args:
        loss: "minimax", "non-saturating", "least-squares", "hinge", "wasserstein", or an `AdversarialLoss`.
    """

    hookspecs = Specs

    def __init__(self, loss: str | AdversarialLoss = "non-saturating") -> None:
        if isinstance(loss, str) and loss not in LOSSES:
            raise FitError(f"no adversarial loss {loss!r} (known: {listed(LOSSES)}){did_you_mean(loss, LOSSES)}")
        self.loss = LOSSES[loss] if isinstance(loss, str) else loss

    @hookimpl
    def on_setup(self, trainer: Trainer) -> None:
        parts_of(trainer.model)

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        if len(state.updates) > 1 and state.updates.keys() != {"d", "g"}:
            raise FitError(f"the updates of a GAN are called 'd' and 'g', not {listed(state.updates)}; see fit_gan.adversarial_updates")

    @hookimpl(trylast=True)
    def draw_noise(self, trainer: Trainer, state: State, count: int) -> Tensor:
        latent = getattr(trainer.model, "latent", None)
        if latent is None:
            raise FitError(f"{type(trainer.model).__name__} has no attribute latent; set it, or write a hook draw_noise(state, count)")
        return torch.randn(count, latent, generator=trainer.generator(self, state.device), device=state.device)

    @hookimpl(trylast=True)
    def choose_generator(self, trainer: Trainer) -> nn.Module:
        return parts_of(trainer.model)[0]

    @hookimpl
    def forward(self, trainer: Trainer, state: State) -> Any:
        generator, _ = parts_of(trainer.model)
        state[NOISE] = trainer.hooks.draw_noise(trainer, state, batch_size(state.inputs))
        with torch.set_grad_enabled(torch.is_grad_enabled() and trains_generator(state)):
            state[FAKE] = generator(state[NOISE], *labels_of(trainer, state))
        return state[FAKE]

    @hookimpl
    def compute_loss(self, trainer: Trainer, state: State) -> Tensor:
        side = side_of(state)
        state.weight = batch_size(state.inputs)
        if side == "d":
            return self.discriminators(trainer, state)
        if side == "g":
            return self.generators(trainer, state)
        loss = self.discriminators(trainer, state)
        fakes = state[D_FAKE]
        with switched_off(parts_of(trainer.model)[1]):
            generators = self.generators(trainer, state)
        state[LED_BACK], state[D_FAKE] = state[D_FAKE], fakes
        for name, value in (("d_loss", loss), ("g_loss", generators)):
            trainer.record(name, value.detach(), state.weight)
        return loss + generators if state.phase == "train" else loss

    @hookimpl
    def on_loss_end(self, trainer: Trainer, state: State) -> None:
        side = side_of(state)
        if side in ("d", "both"):
            trainer.hooks.on_d_loss_end(trainer, state)
        if side == "g":
            trainer.hooks.on_g_loss_end(trainer, state)
        if side == "both":
            state[D_FAKE] = state[LED_BACK]
            with switched_off(parts_of(trainer.model)[1]):
                trainer.hooks.on_g_loss_end(trainer, state)

    def discriminators(self, trainer: Trainer, state: State) -> Tensor:
        """Score real samples and fakes, which are cut off from the generator, and return the discriminator's loss."""
        state[D_REAL] = discriminate(trainer, state, state.inputs)
        state[D_FAKE] = discriminate(trainer, state, state[FAKE].detach())
        real, fake = scores_of(state[D_REAL]), scores_of(state[D_FAKE])
        said = (torch.sigmoid(real), torch.sigmoid(fake)) if self.loss.probabilities else (real, fake)
        for name, value in zip(("d_x", "d_gz"), said, strict=True):
            trainer.record(name, value.detach().mean(), batch_size(state.inputs))
        return self.loss.d(real, fake)

    def generators(self, trainer: Trainer, state: State) -> Tensor:
        """Score fakes that lead back to the generator, and return its loss."""
        state[D_FAKE] = discriminate(trainer, state, state[FAKE])
        return self.loss.g(scores_of(state[D_FAKE]))


def side_of(state: State) -> str | None:
    """Return which side is trained: "d", "g", or "both" by one optimizer; None in an evaluation."""
    if state.update is None:
        return None
    return state.update.name if len(state.updates) > 1 else "both"


def discriminate(trainer: Trainer, state: State, samples: Any) -> Any:
    """Return what the discriminator makes of samples."""
    return parts_of(trainer.model)[1](samples, *labels_of(trainer, state))


def labels_of(trainer: Trainer, state: State) -> tuple[Any, ...]:
    """Return the labels as further arguments, if the model is conditional.

    Raises:
        FitError: it is, and the batch has none.
    """
    if not getattr(trainer.model, "conditional", False):
        return ()
    if state.targets is None:
        raise FitError("a conditional GAN needs labels: data must give (samples, labels)")
    return (state.targets,)


def scores_of(output: Any) -> Tensor:
    """Return the scores of what a discriminator returned: all of it, or the first of a tuple."""
    scores: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    return scores


def trains_generator(state: State) -> bool:
    """Whether what the generator makes now must lead back to it."""
    if state.update is None:
        return "g" in state.updates and state.updates["g"].due(state.batch_count)
    return side_of(state) != "d"


@contextmanager
def switched_off(module: nn.Module) -> Iterator[None]:
    """Keep a module's parameters out of the graphs that are made here."""
    on = [p for p in module.parameters() if p.requires_grad]
    for p in on:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in on:
            p.requires_grad_(True)

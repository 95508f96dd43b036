"""Samples to look at: always of the same noise, so that one sees the generator learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fit_core import FitError, State, hookimpl
from fit_core.items import Images
from fit_core.modes import eval_mode

if TYPE_CHECKING:
    from fit_core import Trainer


class Samples:
    """Shows a grid of samples, and strips that lead from one sample to another, at the ends of epochs.

    Args:
        count: samples in the grid; a conditional GAN is asked for the labels of the first training samples.
        strips: rows of interpolations between two samples.
        every: epochs between two pictures.
        shape: (channels, height, width) of a sample, if the generator returns flat ones.
        low: what the generator returns for black: -1 after a tanh, 0 after a sigmoid.
    """

    STEPS = 8
    passive = True

    def __init__(
        self,
        count: int = 64,
        strips: int = 4,
        every: int = 1,
        shape: tuple[int, int, int] | None = None,
        low: float = -1.0,
    ) -> None:
        if count < 1 or every < 1 or strips < 0:
            raise FitError("count and every must be at least 1, strips at least 0")
        self.count = count
        self.strips = strips
        self.every = every
        self.shape = shape
        self.low = low
        self._noise: Tensor | None = None
        self._labels: Tensor | None = None

    @hookimpl
    def on_batch_start(self, trainer: Trainer, state: State) -> None:
        wanted = self.count + self.strips
        if getattr(trainer.model, "conditional", False) and (self._labels is None or len(self._labels) < wanted):
            labels = state.targets if self._labels is None else torch.cat([self._labels, state.targets])
            self._labels = labels[:wanted].clone()

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State) -> None:
        if state.epoch % self.every:
            return
        if self._noise is None:
            self._noise = trainer.hooks.draw_noise(trainer, state, self.count + 2 * self.strips)
        grid, ends = self._noise[: self.count], self._noise[self.count :]
        labels = self.labels(self.count + self.strips)
        trainer.show("samples", lambda: Images(self.make(trainer, state, grid, labels[: self.count]), columns=round(self.count**0.5)))
        if self.strips:
            strips = between(ends[: self.strips], ends[self.strips :], self.STEPS)
            same = labels[self.count :].repeat_interleave(self.STEPS, 0)
            trainer.show("interpolation", lambda: Images(self.make(trainer, state, strips, same), columns=self.STEPS))

    def labels(self, count: int) -> Tensor:
        """Return so many labels, from the beginning again if there are fewer; none for a GAN without."""
        if self._labels is None:
            return torch.zeros(count, 0)
        return self._labels.repeat(-(-count // len(self._labels)), *[1] * (self._labels.dim() - 1))[:count]

    def make(self, trainer: Trainer, state: State, noise: Tensor, labels: Tensor) -> Tensor:
        """Return pictures (count, channels, height, width), from 0 to 1."""
        generator: nn.Module = trainer.hooks.choose_generator(trainer, state)
        further: tuple[Any, ...] = () if self._labels is None else (labels,)
        with eval_mode([generator]), torch.no_grad():
            return as_pictures(generator(noise, *further), self.shape, self.low)

    def state_dict(self) -> dict[str, Any]:
        """Return the noise, and the labels that go with it."""
        return {"noise": self._noise, "labels": self._labels}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._noise, self._labels = state["noise"], state["labels"]


def between(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Return points on great circles between pairs of points, one pair after the other (White 2016, "slerp").

    Args:
        start: (pairs, latent).
        end: likewise.
        steps: points for each pair, with both ends.

    Returns:
        (pairs * steps, latent).
    """
    cosine = (start * end).sum(1) / (start.norm(dim=1) * end.norm(dim=1))
    angle = torch.acos(cosine.clamp(-0.999, 0.999))[:, None, None]
    place = torch.linspace(0, 1, steps, device=start.device)[None, :, None]
    near, far = torch.sin((1 - place) * angle) / torch.sin(angle), torch.sin(place * angle) / torch.sin(angle)
    return (near * start[:, None] + far * end[:, None]).flatten(0, 1)


def as_pictures(samples: Tensor, shape: tuple[int, int, int] | None, low: float) -> Tensor:
    """Return samples as pictures from 0 to 1.

    Args:
        samples: (count, channels, height, width), (count, height, width), or flat with a shape, or of squares.
        shape: (channels, height, width) of flat ones.
        low: the value of black; 1 is white.

    Raises:
        FitError: they are no pictures.
    """
    side = round(samples[0].numel() ** 0.5)
    if shape is not None:
        samples = samples.reshape(-1, *shape)
    elif samples.dim() == 3:
        samples = samples[:, None]
    elif samples.dim() == 2 and side * side == samples.shape[1]:
        samples = samples.reshape(-1, 1, side, side)
    if samples.dim() != 4 or samples.shape[1] not in (1, 3):
        raise FitError(
            f"samples of shape {tuple(samples.shape[1:])} are no pictures; set shape=[channels,height,width], or leave out 'samples'"
        )
    return ((samples.float() - low) / (1 - low)).clamp(0, 1)

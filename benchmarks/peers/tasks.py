"""What every contestant is given: data, a model with the same weights for all, a criterion, an optimizer, a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from peers.fashion import read

Batch = tuple[Tensor, Tensor]
LOSS = nn.CrossEntropyLoss()
LR, MOMENTUM, CLIP, PATIENCE, WARMUP = 0.05, 0.9, 1.0, 3, 0.1
"""Of SGD, of clipping by norm, of early stopping (epochs), and the part of the run in which the rate rises."""


class Network(nn.Sequential):
    """Layers in a row, as torch has them."""

    steps: int | None = None
    """How often they were updated, if it was not by an optimizer of torch, whose steps are counted."""


Train = Callable[[], Network]
"""What a contestant makes of a task: trains, and returns the network that it has trained."""


def mlp(*sizes: int) -> Network:
    """Return a perceptron with layers of these sizes: the same weights at every call."""
    torch.manual_seed(0)
    layers = [layer for wide, narrow in pairwise(sizes) for layer in (nn.Linear(wide, narrow), nn.ReLU())]
    return Network(*layers[:-1])


def sgd(params: Iterable[nn.Parameter], lr: float = LR) -> torch.optim.SGD:
    """Return the optimizer of all workloads."""
    return torch.optim.SGD(params, lr=lr, momentum=MOMENTUM)


class Batches:
    """A training set in memory, which is shuffled at each pass and cut into batches, and nothing more."""

    def __init__(self, inputs: Tensor, targets: Tensor, size: int) -> None:
        self.inputs, self.targets, self.size = inputs, targets, size

    def __len__(self) -> int:
        return math.ceil(len(self.inputs) / self.size)

    def __iter__(self) -> Iterator[Batch]:
        for index in torch.randperm(len(self.inputs)).split(self.size):
            yield self.inputs[index], self.targets[index]


@dataclass
class Step:
    """Batches that are ready, in a list."""

    batches: list[Batch]

    def network(self) -> Network:
        """Return a new model."""
        return mlp(32, 64, 64, 4)

    def loss_of(self, model: nn.Module) -> float:
        """Return the mean loss over the data."""
        return mean_loss(model, self.batches)

    @property
    def steps(self) -> int:
        """How many steps there are to train."""
        return len(self.batches)


@dataclass
class InMemory:
    """Inputs (samples, 784) and targets (samples,)."""

    inputs: Tensor
    targets: Tensor
    batch_size: int = 128
    epochs: int = 2

    def network(self) -> Network:
        """Return a new model."""
        return mlp(784, 128, 10)

    def loss_of(self, model: nn.Module) -> float:
        """Return the mean loss over the data."""
        return mean_loss(model, [(self.inputs, self.targets)])

    @property
    def steps(self) -> int:
        """How many steps there are to train."""
        return self.epochs * math.ceil(len(self.inputs) / self.batch_size)


@dataclass
class SetUp:
    """Training batches, shuffled at each pass; validation batches in a list; a folder for `history.csv` and the best checkpoint."""

    train: Batches
    val: list[Batch]
    folder: Path
    epochs: int = 3

    def network(self) -> Network:
        """Return a new model."""
        return mlp(784, 64, 10)

    def loss_of(self, model: nn.Module) -> float:
        """Return the mean loss over the validation data."""
        return mean_loss(model, self.val)

    @property
    def steps(self) -> int:
        """How many steps there are to train."""
        return self.epochs * len(self.train)

    @property
    def warmup(self) -> int:
        """How many steps the rate rises."""
        return round(WARMUP * self.steps)

    def factor(self, step: int) -> float:
        """Return what the rate is multiplied with, `step` steps into the run: a linear rise, then half a cosine to 0."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        return 0.5 + 0.5 * math.cos(math.pi * (step - self.warmup) / (self.steps - self.warmup))


@torch.no_grad()
def mean_loss(model: nn.Module, batches: Iterable[Batch]) -> float:
    """Return the mean loss over all samples."""
    found = [(LOSS(model(inputs), targets).item(), len(targets)) for inputs, targets in batches]
    return sum(loss * size for loss, size in found) / sum(size for _, size in found)


def step(share: float, _folder: Path) -> Step:
    """Make the task `step`: a part of 3000 batches of 32, whose labels a linear map knows."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(32, 4, generator=generator)
    inputs = torch.randn(math.ceil(3000 * share), 32, 32, generator=generator)
    return Step([(batch, (batch @ teacher).argmax(1)) for batch in inputs])


def in_memory(share: float, _folder: Path) -> InMemory:
    """Make the task `in_memory`: a part of Fashion-MNIST."""
    return InMemory(*fashion(share))


def set_up(share: float, folder: Path) -> SetUp:
    """Make the task `set_up`: a part of Fashion-MNIST, a sixth of it for validation, in batches of 32."""
    inputs, targets = fashion(share)
    cut = len(inputs) // 6
    val = list(zip(inputs[:cut].split(32), targets[:cut].split(32), strict=True))
    return SetUp(Batches(inputs[cut:], targets[cut:], 32), val, folder)


def fashion(share: float) -> Batch:
    """Return the first part of Fashion-MNIST: inputs (samples, 784) from 0 to 1, and labels (samples,)."""
    inputs, targets = read("images-idx3"), read("labels-idx1")
    count = math.ceil(len(targets) * share)
    pixels = torch.frombuffer(inputs, dtype=torch.uint8, count=count * 784)
    return pixels.view(-1, 784) / 255, torch.frombuffer(targets, dtype=torch.uint8, count=count).long()


MAKERS = {"step": step, "in_memory": in_memory, "set_up": set_up}

"""What a review found: data and options that ended in a traceback, or in a picture that said something else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fit_core import FitError, Trainer

Data = Sequence[tuple[Tensor, Tensor]]
CRITERION = nn.CrossEntropyLoss()


def train(model: nn.Module, data: Data, *plugins: Any, loss_fn: Any = CRITERION) -> Trainer:
    """Train for an epoch, with a copy of the data for validation."""
    trainer = Trainer(model, loss_fn, partial(torch.optim.SGD, lr=0.1), plugins=plugins, quiet=True)
    trainer.fit(data, list(data), epochs=1)
    return trainer


def cnn(channels: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))


def pictures(targets: Tensor | None = None, channels: int = 1) -> list[tuple[Tensor, Tensor]]:
    inputs = torch.rand(6, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    return [(inputs, torch.arange(6) % 3 if targets is None else targets)]


def area(figure: Any) -> float:
    """Return the mean area that the title of a figure of curves says."""
    return float(figure.axes[0].get_title().rpartition(" ")[2])


@pytest.mark.parametrize("shape", [(5, 4), (7,)])
def test_each_pixel_is_a_sample_of_threshold_curves(sink: Any, shape: tuple[int, ...]) -> None:
    targets = torch.randint(0, 3, (6, *shape), generator=torch.Generator().manual_seed(0))
    inputs = nn.functional.one_hot(targets, 3).movedim(-1, 1).float()
    model = nn.Conv2d(3, 3, 1) if len(shape) == 2 else nn.Conv1d(3, 3, 1)
    with torch.no_grad():
        model.weight.copy_(torch.eye(3).reshape(model.weight.shape))
    train(model, [(inputs, targets)], sink, "roc-curve")
    (item,) = sink.of("val_roc_curve")
    assert area(item.figure) == 1.0


def test_threshold_curves_refuse_targets_that_do_not_fit(sink: Any) -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.mean() + 0 * targets.sum()

    with pytest.raises(FitError, match=r"cannot compare outputs \(6, 3\) with targets \(6, 2\)"):
        train(cnn(), pictures(torch.ones(6, 2)), sink, "roc-curve", loss_fn=loss)

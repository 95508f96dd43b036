"""Adversarial training goes on where it was interrupted: both sides, the average of the generator, the samples."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fit_core import Trainer
from fit_core.testing import check_resume
from fit_gan import GAN, GradientPenalty, adversarial_updates

DATA = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))


def make(folder: Path, plugins: list[Any], critic_steps: int = 1) -> Trainer:
    torch.manual_seed(0)
    net = GAN(nn.Linear(2, 4), nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(), nn.Dropout(0.2), nn.Linear(6, 1)), 2)
    updates = adversarial_updates(net, partial(torch.optim.Adam, lr=1e-2), critic_steps=critic_steps)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(DATA), batch_size=8, shuffle=True)
    return Trainer(net, optimizer=updates, plugins=plugins, train_data=data, seed=4, quiet=True, run_dir=folder)


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_a_gan_goes_on(critic_steps: int, tmp_path: Path) -> None:
    plugins = ["gan", "samples:shape=[1,2,2]", "generator-ema:decay=0.8"]
    check_resume(lambda: make(tmp_path, [*plugins, GradientPenalty()], critic_steps), epochs=3, at=[1, 2, 3])

"""The GAN of the examples learns: a classifier that knows real digits tells its samples apart."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from fit_core import Trainer
from fit_core.script import load_script

EXAMPLES = Path(__file__).parent.parent / "examples"
FACTOR = 3.0
"""By how much the score of every seed improves at least; README of fit-gan states it."""


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    """A classifier of real digits, checked on those it has not seen."""
    torch.manual_seed(0)
    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 8 - 1, torch.tensor(digits.target)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))
    trainer = Trainer(model, nn.CrossEntropyLoss(), partial(torch.optim.Adam, lr=2e-3), metrics=["accuracy"], quiet=True)
    trainer.fit((images[:1200], labels[:1200]), epochs=20)
    assert trainer.evaluate((images[1200:], labels[1200:]))["test_accuracy"] > 0.9
    return model.eval()


def score(classifier: nn.Module, samples: Tensor) -> float:
    """How sure the classifier is of each sample, and how evenly it sees all classes (Salimans et al. 2016, section 4): 1 to 10."""
    with torch.no_grad():
        each = classifier(samples).softmax(1)
    whole = each.mean(0)
    return float((each * (each.clamp_min(1e-9).log() - whole.clamp_min(1e-9).log())).sum(1).mean().exp())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_samples_improve_on_the_untrained_generator(classifier: nn.Module, seed: int, tmp_path: Path) -> None:
    torch.manual_seed(seed)
    trainer = load_script(EXAMPLES / "gan.py").build_trainer(epochs=40)
    trainer.quiet, trainer.run_dir = True, tmp_path
    noise = torch.randn(1000, 16)
    with torch.no_grad():
        before = score(classifier, trainer.model.generator(noise))
    trainer.fit()
    with torch.no_grad():
        after = score(classifier, trainer.plugins["generator-ema"].averaged.module(noise))
    print(f"seed {seed}: {before:.2f} -> {after:.2f}")
    assert after > FACTOR * before
    assert (tmp_path / "samples" / "samples-0040.png").stat().st_size > 1000

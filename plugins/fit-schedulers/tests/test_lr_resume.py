"""Every schedule goes on where it was: rates and weights are equal to the bit to those of a run that was never interrupted."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from fit_core import Trainer, hookimpl
from fit_core.testing import tiny_batches, tiny_trainer
from fit_schedulers import LR
from fit_schedulers.walked import TORCH

OPTIONS: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 3},
    "MultiStepLR": {"milestones": [2, 5]},
    "ExponentialLR": {"gamma": 0.9},
    "CosineAnnealingLR": {"T_max": 5},
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 30},
}


def one_over(step: int) -> float:
    return 1 / (1 + step)


CASES = [
    *[{"schedule": name, **OPTIONS.get(name, {})} for name in TORCH],
    {"schedule": "StepLR", "step_size": 2, "warmup": 3},
    {"schedule": "StepLR", "step_size": 1, "every": "epoch"},
    {"schedule": "cosine", "warmup": 0.25},
    {"schedule": "constant", "warmup": 4},
    {"schedule": "cosine", "every": "epoch", "warmup": 7},
    {"schedule": ["linear 20 % start=0.1 end=1", "constant 6 steps", "polynomial end=0.01"]},
    {"schedule": "one-cycle"},
    {"schedule": "inverse-sqrt", "warmup": 0.1},
    {"schedule": "OneCycleLR", "max_lr": 0.2},
    {"schedule": one_over},
]


class Rates:
    """Notes the rate of every step, and saves at one."""

    passive = True

    def __init__(self, folder: Path, batch: int) -> None:
        self.folder = folder
        self.batch = batch
        self.rates: list[tuple[float, float]] = []

    @hookimpl
    def on_step_start(self, trainer: Trainer) -> None:
        group = trainer.updates["main"].optimizer.param_groups[0]
        self.rates.append((float(group["lr"]), float(group["momentum"])))

    @hookimpl
    def on_safe_point(self, trainer: Trainer) -> None:
        if trainer.current_state().batch_count == self.batch:
            trainer.save(self.folder)


def trained(folder: Path, case: dict[str, Any], batch: int, **length: Any) -> tuple[Trainer, list[tuple[float, float]]]:
    rates = Rates(folder, batch)
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    trainer = tiny_trainer(train_data=tiny_batches(5), plugins=[LR(**case), rates], seed=1, optimizer=optimizer)
    trainer.fit(**length)
    return trainer, rates.rates


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(str(getattr(value, "__name__", value)) for value in case.values())[:40])
def test_a_schedule_goes_on(case: dict[str, Any], tmp_path: Path) -> None:
    for batch in (4, 5, 8):
        whole, rates = trained(tmp_path / "saved", case, batch, epochs=4)
        resumed, others = trained(tmp_path / "never", case, 0, epochs=4, resume=tmp_path / "saved")
        assert others == rates[-len(others) :], batch
        assert len(others) == 20 - batch
        assert torch.equal(whole.model.weight, resumed.model.weight)


def test_a_longer_run_stretches_what_is_sized_from_it(tmp_path: Path) -> None:
    case = {"schedule": "cosine", "warmup": 2}
    trained(tmp_path / "saved", case, 10, epochs=2)
    _, rates = trained(tmp_path / "never", case, 0, epochs=4, resume=tmp_path / "saved")
    _, whole = trained(tmp_path / "never", case, 0, epochs=4)
    assert rates == whole[10:]


def test_a_new_call_after_load(tmp_path: Path) -> None:
    """A schedule of its own length goes on, one sized from the run starts anew: as over two calls of one trainer."""
    for case in ({"schedule": "StepLR", "step_size": 3}, {"schedule": "cosine"}):
        first, _ = trained(tmp_path / "saved", case, 10, epochs=2)
        first.fit(epochs=1)
        second = tiny_trainer(
            train_data=tiny_batches(5), plugins=[LR(**case), "no:console"], seed=1, optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9)
        )
        second.load(tmp_path / "saved")
        second.fit(epochs=1)
        assert torch.equal(first.model.weight, second.model.weight), case
        assert first.history[-1]["lr"] == second.history[-1]["lr"]


def test_a_rate_that_a_hook_has_changed_stays(tmp_path: Path) -> None:
    """In a second call of `fit`, under a schedule that is not sized from the run."""

    @hookimpl(specname="on_step_end")
    def decay(trainer: Trainer) -> None:
        trainer.updates["main"].optimizer.param_groups[0]["lr"] *= 0.9

    def make(batch: int) -> Trainer:
        plugins = [LR(schedule="constant"), ("decay", decay), Rates(tmp_path / "saved", batch)]
        return tiny_trainer(train_data=tiny_batches(4), plugins=plugins, seed=1)

    whole = make(6)
    whole.fit(epochs=1)
    rows = whole.fit(epochs=2)
    again = make(0).fit(epochs=2, resume=tmp_path / "saved")
    assert [row["lr"] for row in again] == [row["lr"] for row in rows]

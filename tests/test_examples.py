"""The examples do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fit_core import State, hookimpl
from fit_core.script import load_script

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_transfer_trains_the_head_and_leaves_the_backbone_alone(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    trainer = load_script(EXAMPLES / "transfer.py").build_trainer()
    before = {name: value.clone() for name, value in trainer.model.backbone.state_dict().items()}
    rows = trainer.fit()
    for name, value in trainer.model.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name
    held = trainer.updates["main"].params
    assert {id(p) for p in held} == {id(p) for p in trainer.model.head.parameters()}
    assert set(trainer.updates["main"].optimizer.state) == set(held)
    assert not any(module.training for module in trainer.model.backbone.modules())
    assert trainer.model.training
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert rows[-1]["val_accuracy"] > 0.9


def test_transfer_uses_the_users_loader_and_calls_the_model_once_per_batch() -> None:
    torch.manual_seed(0)
    trainer = load_script(EXAMPLES / "transfer.py").build_trainer()
    calls, batches = [], []

    @hookimpl
    def on_batch_start(state: State) -> None:
        batches.append(state.batch)

    @hookimpl
    def on_eval_batch_start(state: State) -> None:
        batches.append(state.batch)

    trainer.use([on_batch_start, on_eval_batch_start])
    trainer.quiet = True
    trainer.model.register_forward_hook(lambda *_: calls.append(1))
    trainer.fit()
    assert len(calls) == len(batches) == 2 * (len(trainer.train_data) + len(trainer.val_data))


MEMORY = """
import resource
import torch
from torch import nn
from fit_core import Trainer

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
    def forward(self, x):
        return {"wide": x.repeat(1, 100) + self.bias, "narrow": (x[:, :1],)}

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

trainer, inputs = Trainer(Wide(), quiet=True), torch.randn(2000, 250)
trainer.predict((inputs[:100],), batch_size=50)
before = peak()
outputs = trainer.predict((inputs,), batch_size=50)
print((peak() - before) / outputs["wide"].nbytes)
"""


def test_predictions_are_joined_without_a_second_copy_of_all() -> None:
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "100000"}  # what is freed goes back to the system, and is not counted
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, env=environment)
    assert float(done.stdout) < 1.5

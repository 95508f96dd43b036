"""Runs that several tests look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fit_core.testing import ForkServer, run_fit

SCRIPT = """
import os, signal, subprocess, sys
from functools import partial
import torch
from fit_core import hookimpl
from fit_core.testing import tiny_trainer

class Acts:
    def __init__(self, at_the_end):
        self.at_the_end = at_the_end

    @hookimpl
    def on_train_epoch_end(self, trainer, state):
        trainer.record("interval_x", float(state.epoch))

    @hookimpl
    def on_epoch_end(self, state):
        if state.epoch < 3:
            return
        if self.at_the_end == "look":
            with open("seen.json", "w") as file:
                subprocess.run([sys.executable, "-m", "fit_core", "runs", "--format", "json"], stdout=file, check=True)
        if self.at_the_end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.at_the_end == "fail":
            raise ValueError("as was asked for")

def build_trainer(lr: float = 0.1, at_the_end: str = "look", epochs: int = 3):
    optimizer = partial(torch.optim.SGD, lr=lr)
    return tiny_trainer(optimizer=optimizer, metrics=["accuracy"], plugins=[Acts(at_the_end)], epochs=epochs)
"""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Path:
    """A folder with runs that ended in different ways."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "script.py").write_text(SCRIPT)
    ends = {"look": 0, "kill": -9, "fail": 1}
    for lr, (end, code) in zip((0.1, 0.3, 0.1), ends.items(), strict=True):
        words = ["--run-dir", f"runs/script/{end}", "--seed", "5", "--lr", str(lr), "--at-the-end", end]
        done = run_fit("train", "script.py", *words, cwd=folder, server=fork_server)
        assert done.code == code, done.stderr
        (folder / "script.py").write_text(SCRIPT.replace("lr=lr", "lr=lr, momentum=0"))
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them, to be in and to do harm to."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path

"""50 MB are saved again and again with one checkpoint kept, by a process that is killed: one is whole at every moment."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fit_core.checkpoint import Damaged, latest, newest_first, verified

ASKED = int(os.environ.get("FIT_KILLS", "6"))
KILLS = 3 if ASKED <= 6 else max(20, ASKED // 2)
SCRIPT = """
from functools import partial
import torch
from torch import nn
from fit_core import Trainer

def build_trainer(epochs: int = 1000):
    model = nn.Linear(3500, 3500)
    data = [(torch.randn(2, 3500), torch.randn(2, 3500))] * 4
    return Trainer(model, nn.MSELoss(), partial(torch.optim.SGD, lr=1e-4), train_data=data, epochs=epochs)
"""


class Reader(threading.Thread):
    """Verifies the newest checkpoint all the time, from beside."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.ended = threading.Event()
        self.damaged: list[str] = []
        self.read = 0

    def run(self) -> None:
        while not self.ended.is_set():
            for path in newest_first(self.folder)[:1]:
                try:
                    verified(path)
                    self.read += 1
                except Damaged as error:
                    if path.exists():  # else a newer one has taken its place
                        self.damaged.append(str(error))
            time.sleep(0.005)


def drafts(run: Path) -> set[tuple[str, int]]:
    """Return the checkpoints that are being written, or were when their process was killed."""
    found = set()
    for path in run.glob("checkpoints/.step-*"):
        with contextlib.suppress(FileNotFoundError):  # it is whole by now
            if not path.name.endswith(".gone"):
                found.add((path.name, path.stat().st_ino))
    return found


@pytest.mark.timeout(1800)
def test_one_checkpoint_is_whole_at_every_moment(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    chooser = random.Random(7)
    run = tmp_path / "run"
    inside = steps = 0
    reader = Reader(run / "checkpoints")
    for _ in range(20 * KILLS):
        how = ["--resume"] if run.exists() else ["--seed", "1"]
        command = [sys.executable, "-P", "-m", "fit_core", "train", "script.py", "-q", "--run-dir", "run", *how, "-p"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        before = drafts(run)
        process = subprocess.Popen(
            [*command, "checkpoint:every=2 steps,monitor=loss"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
        )
        while not drafts(run) - before:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        if not reader.is_alive():
            reader.start()
        time.sleep(chooser.random() * 2.5)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if list(run.glob("checkpoints/step-*")):
            inside += bool(drafts(run) - before)
            found = latest(run / "checkpoints", full=True)
            assert not found.skipped
            assert found.manifest["step"] >= steps
            steps = found.manifest["step"]
        else:
            shutil.rmtree(run)  # killed before there was a first one
        if inside >= KILLS:
            break
    reader.ended.set()
    reader.join()
    print(f"{inside} kills in an unfinished save, {steps} steps, {reader.read} readings from beside")
    assert inside >= KILLS
    assert steps >= KILLS // 2, "the parts of the run get further"
    assert not reader.damaged
    assert reader.read > KILLS
    held = sum(file.stat().st_size for file in (run / "checkpoints").rglob("*"))
    assert held < 4 * 50e6, "what processes leave that were killed is removed"

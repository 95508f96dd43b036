"""Signals, the time limit and exceptions: real processes that end cleanly, and can go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from fit_core.checkpoint import latest
from fit_core.testing import ForkServer, Outcome, run_fit

SCRIPT = """
import os, random, sys, time
from functools import partial
from pathlib import Path
import numpy, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from fit_core import Trainer, hookimpl

class Noisy(Dataset):
    def __len__(self):
        return 40
    def __getitem__(self, i):
        inputs = torch.full((4,), i / 40) + torch.randn(4) * random.random() * numpy.random.rand()
        return inputs, i % 2

class Stream(IterableDataset):
    def __iter__(self):
        worker = get_worker_info()
        for i in range(20):
            time.sleep(0.02)
            yield torch.full((4,), i / 40), (i + worker.id) % 2

def pause(place):
    if os.environ.get("PAUSE") == place and not Path("paused").exists():
        Path("paused").touch()
        time.sleep(0.6)

class Pause:
    @hookimpl
    def on_batch_start(self, state):
        if state.epoch == 2 and state.batch == 3:
            pause("batch")

    @hookimpl
    def on_eval_batch_end(self, state):
        if state.epoch == 2 and state.batch == 2:
            pause("validation")

def audit(event, arguments):
    if event == "os.rename" and "step-00000010" in str(arguments[1]):
        pause("saving")

sys.addaudithook(audit)

def build_trainer(epochs: int = 3):
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2))
    context = os.environ.get("CONTEXT")
    how = {"num_workers": 2, "persistent_workers": True, "multiprocessing_context": context} if context else {}
    load = partial(DataLoader, Noisy(), batch_size=8, **how)
    train_data = DataLoader(Stream(), batch_size=8, num_workers=2) if "STREAM" in os.environ else load(shuffle=True)
    return Trainer(model, nn.CrossEntropyLoss(), partial(torch.optim.Adam, lr=0.01), metrics=["accuracy"], epochs=epochs,
                   train_data=train_data, val_data=load(), plugins=[Pause()])
"""
START = [sys.executable, "-P", "-m", "fit_core", "train", "script.py", "--seed", "3"]


def interrupted(folder: Path, *signals: int, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script until it pauses, send signals to its process group, and return how it ended."""
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    process = subprocess.Popen(
        START, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    until = time.monotonic() + 60
    while not (folder / "paused").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    for number in signals:
        os.killpg(process.pid, number)
        time.sleep(0.1)
    output, errors = process.communicate(timeout=60)
    return subprocess.CompletedProcess(START, process.returncode, output, errors)


def run_folder(folder: Path) -> Path:
    (found,) = folder.glob("runs/script/*")
    return found


def outcome(folder: Path) -> dict[str, Any]:
    """Return all that a finished run leaves: weights, state, rows, but for clocks and who saved what."""
    checkpoint = latest(run_folder(folder) / "checkpoints")
    state = checkpoint.state()
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in state["core"]["history"]]
    tensors = {name: value.tolist() for name, value in load_file(checkpoint.folder / "model.safetensors").items()}
    return {"history": history, "tensors": tensors, "updates": str(state["core"]["updates"]), "step": state["core"]["step"]}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "script.py").write_text(SCRIPT)
    assert run_fit("train", "script.py", "--seed", "3", "-q", cwd=folder, server=fork_server).code == 0
    return outcome(folder)


CASES = [
    ("batch", signal.SIGINT, {"CONTEXT": "fork"}),
    ("batch", signal.SIGINT, {"CONTEXT": "spawn"}),
    ("batch", signal.SIGTERM, {"CONTEXT": "fork"}),
    ("validation", signal.SIGINT, {"CONTEXT": "fork"}),
    ("validation", signal.SIGTERM, {"CONTEXT": "spawn"}),
    ("saving", signal.SIGINT, {"CONTEXT": "fork"}),
    ("saving", signal.SIGTERM, {}),
]


@pytest.mark.parametrize(("place", "number", "environment"), CASES)
def test_a_signal_ends_the_run_at_the_next_safe_point(
    place: str, number: int, environment: dict[str, str], tmp_path: Path, expected: dict[str, Any], run_fit: Callable[..., Outcome]
) -> None:
    ended = interrupted(tmp_path, number, PAUSE=place, **environment)
    name = signal.Signals(number).name
    assert ended.returncode == 128 + number, ended.stderr
    assert "Traceback" not in ended.stderr
    assert f"fit: {name}: the run ends after this batch, with a checkpoint; once more ends it at once\n" in ended.stderr
    assert f"by {name}; go on with: fit train script.py --resume runs/script/" in ended.stderr
    manifest = json.loads((run_folder(tmp_path) / "manifest.json").read_text())
    assert manifest["status"] == "interrupted"
    at = latest(run_folder(tmp_path) / "checkpoints").manifest
    where = {"batch": (2, 3), "validation": (2, 5), "saving": (3, 1)}[place]
    assert (at["epoch"], at["batch"]) == where
    resumed = run_fit("train", "script.py", "--resume")
    assert resumed.code == 0, resumed.stderr
    assert f"resuming {run_folder(tmp_path).relative_to(tmp_path)} after epoch {where[0]}, batch {where[1]}" in resumed.stdout
    assert outcome(tmp_path) == expected
    assert not list(run_folder(tmp_path).glob("checkpoints/.*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workers_that_die_of_the_signal_are_no_error(number: int, tmp_path: Path, run_fit: Callable[..., Outcome]) -> None:
    """An `IterableDataset` is loaded by torch as it is: its workers get the signal too, and the loop may wait for them."""
    ended = interrupted(tmp_path, number, PAUSE="batch", STREAM="1")
    assert ended.returncode == 128 + number, ended.stderr
    assert "go on with: fit train" in ended.stderr
    assert "a resumed run may go on with other batches: it has no state_dict: what was seen is read again" in ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    at = latest(run_folder(tmp_path) / "checkpoints").manifest
    assert (at["epoch"], at["batch"]) == (2, 3)
    os.environ["STREAM"] = "1"
    try:
        resumed = run_fit("train", "script.py", "--resume")
    finally:
        del os.environ["STREAM"]
    assert resumed.code == 0, resumed.stderr


@pytest.mark.parametrize("place", ["batch", "saving"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(place: str, number: int, tmp_path: Path) -> None:
    ended = interrupted(tmp_path, number, number, PAUSE=place, CONTEXT="fork")
    assert ended.returncode == 128 + number, ended.stderr
    assert "ended at once by" in ended.stderr
    found = latest(run_folder(tmp_path) / "checkpoints").manifest
    assert (found["epoch"], found["step"]) == (1, 5)
    assert not list(run_folder(tmp_path).glob("checkpoints/.*"))

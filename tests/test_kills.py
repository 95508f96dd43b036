"""SIGKILL from outside, again and again: what is resumed from the files alone is the run that was never interrupted.

`FIT_KILLS` says how many kills at random times there are: 6 by default, more under `nox -s full` and `nox -s soak`.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from fit_core.checkpoint import latest

SCRIPT = Path(__file__).parent / "scripts" / "everything.py"
KILLS = int(os.environ.get("FIT_KILLS", "6"))
CHAINS = 2
CLOCKS = "checkpoint", "save-last", "memory-summary", "progress"
"""Plugins whose states tell of files and processes."""
SAVING = "-p", "checkpoint:every=3 steps,last=2,monitor=val_accuracy"
PLACES = ["E1", "V2", "R3", "S1", "P2", "V5"] if KILLS <= 8 else [*(f"{kind}{n}" for kind in "EVRSPs" for n in (1, 2, 3))]


@dataclass
class Run:
    """One run of the script in a folder, by as many processes as it takes.

    Attributes:
        folder: where it runs.
        random: chooses when to kill, and how the next process differs.
        hits: where each kill came: "batch", "saving" or "between".
    """

    folder: Path
    random: random.Random
    hits: list[str] = field(default_factory=list)

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Start a process, which resumes if there is something to resume."""
        saved = list(self.folder.glob("runs/everything/*/checkpoints/step-*"))
        how = ["--resume"] if saved else ["--seed", "5"]
        shutil.copy(SCRIPT, self.folder)
        for left in () if saved else self.folder.glob("runs/everything/*"):
            shutil.rmtree(left)
        more = {
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": str(self.random.randrange(2**32)),
            "WORKERS": str(self.random.randrange(3)),
        }
        command = [sys.executable, "-P", "-m", "fit_core", "train", SCRIPT.name, *how, "-q", *SAVING]
        environment = {**os.environ, **more, **environment}
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    @property
    def trace(self) -> str:
        """What has happened so far, over all processes."""
        file = self.folder / "trace"
        return file.read_text() if file.exists() else ""

    def kill_after(self, seconds: float) -> bool:
        """Run a process and kill it so long after it has begun to train. Return whether it came to that."""
        before = len(self.trace)
        process = self.start()
        while len(self.trace) == before and process.poll() is None:
            time.sleep(0.001)
        time.sleep(seconds)
        if process.poll() is not None:
            output = process.communicate()
            assert process.returncode == 0, output
            return False
        self.kill(process)
        return True

    def kill_at(self, place: str) -> bool:
        """Run a process until it stops itself at a place, and kill it there."""
        process = self.start(STOP_AT=place)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if os.WIFEXITED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            output = process.communicate()
            assert process.returncode == 0, output
            return False
        assert os.WIFSTOPPED(status)
        self.kill(process)
        return True

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill a process, and note where it was."""
        process.send_signal(signal.SIGKILL)
        process.wait()
        with contextlib.suppress(ProcessLookupError):  # a worker that was just being forked never learns that its parent is gone
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        drafts = [draft for draft in self.folder.glob("runs/everything/*/checkpoints/.*") if not draft.name.endswith(".gone")]
        self.hits.append("saving" if drafts else "batch" if self.trace.endswith("b") else "between")

    def finish(self) -> dict[str, Any]:
        """Run a process to the end, and return what the run has left."""
        process = self.start()
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, output + errors
        return outcome(self.folder)


def outcome(folder: Path) -> dict[str, Any]:
    """Return all that a finished run leaves, but for clocks."""
    (run,) = folder.glob("runs/everything/*")
    checkpoint = latest(run / "checkpoints")
    core = checkpoint.state()["core"]
    plugins = checkpoint.state()["plugins"]
    tensors = {name: value.tolist() for name, value in load_file(checkpoint.folder / "model.safetensors").items()}
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in core["history"]]
    assert (checkpoint.manifest["epoch"], len(history)) == (6, 6)
    return {
        "tensors": tensors,
        "history": history,
        "updates": repr(core["updates"]),
        "counters": (core["step"], core["batch_count"]),
        "plugins": {name: repr(state) for name, state in plugins.items() if name not in CLOCKS},
        "random": repr(core["random"]),
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run leaves that was never interrupted, and saved nothing before its end."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copy(SCRIPT, folder)
    command = [sys.executable, "-P", "-m", "fit_core", "train", SCRIPT.name, "--seed", "5", "-q", "--no-save", "-p", "checkpoint"]
    subprocess.run(command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, timeout=120)
    return outcome(folder)


@pytest.mark.timeout(3600)
def test_killed_at_random_times(tmp_path: Path, expected: dict[str, Any]) -> None:
    chooser = random.Random(f"kills {KILLS}")
    hits: list[str] = []
    chain = 0
    while len(hits) < KILLS:
        chain += 1
        (tmp_path / str(chain)).mkdir()
        run = Run(tmp_path / str(chain), chooser)
        while len(hits) + len(run.hits) < KILLS and len(run.hits) < KILLS // CHAINS and run.kill_after(chooser.random() * 0.8):
            pass
        assert run.finish() == expected, run.hits
        hits += run.hits
    inside = [hit for hit in hits if hit in ("batch", "saving")]
    print(f"{len(hits)} kills: {hits.count('batch')} in a batch, {hits.count('saving')} in an unfinished save, the others between")
    assert 3 * len(inside) >= len(hits), hits


@pytest.mark.timeout(1800)
def test_killed_at_boundaries_in_validation_and_while_a_file_is_renamed(tmp_path: Path, expected: dict[str, Any]) -> None:
    run = Run(tmp_path, random.Random(1))
    for place in PLACES:
        run.kill_at(place)
    assert run.finish() == expected, run.hits
    assert len(run.hits) >= min(len(PLACES), 6)

"""Small trainers, a recorder of hooks, and the command line run for real."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fit_core.plan import Call
from fit_core.testing.fork_server import ForkServer
from fit_core.trainer import Trainer

Batch = tuple[Tensor, Tensor]


def tiny_batches(count: int, size: int = 8, seed: int = 0) -> list[Batch]:
    """Return batches of a problem with three classes that a linear model can learn.

    Args:
        count: how many batches.
        size: samples per batch.
        seed: of the samples; another seed gives other samples of the same problem.

    Returns:
        Pairs of inputs (size, 4) and class indices (size,).
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, size, 4, generator=generator)
    rule = torch.randn(4, 3, generator=torch.Generator().manual_seed(12345))
    return list(zip(inputs, (inputs @ rule).argmax(-1), strict=True))


def tiny_trainer(**changes: Any) -> Trainer:
    """Return a quiet trainer that runs in milliseconds: a linear model, two training batches and one for validation.

    Args:
        changes: arguments of `Trainer` that differ, such as `plugins=[...]`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
    settings: dict[str, Any] = {
        "model": model,
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        "train_data": tiny_batches(2),
        "val_data": tiny_batches(1, seed=1),
        "test_data": tiny_batches(1, seed=2),
        "quiet": True,
    }
    return Trainer(**settings | changes)


@dataclass
class HookCalls:
    """What a recorder heard.

    Attributes:
        hooks: every hook that was called, in order, whether or not anybody implements it.
        acting: (hook, plugin) for every implementation that was called, in order.
    """

    hooks: list[str] = field(default_factory=list)
    acting: list[tuple[str, str]] = field(default_factory=list)

    def of(self, plugin: str) -> list[str]:
        """Return the hooks in which a plugin acted, in order."""
        return [hook for hook, name in self.acting if name == plugin]


@contextmanager
def record_hooks(trainer: Trainer) -> Iterator[HookCalls]:
    """Record every call of a hook while the block runs, by a traced build of the plan that runs."""
    calls = HookCalls()

    def tracer(hook: str, plugin: str | None, call: Call) -> Call:
        def recorded(*arguments: Any) -> Any:
            if plugin is None:
                calls.hooks.append(hook)
            else:
                calls.acting.append((hook, plugin))
            return call(*arguments)

        return recorded if before is None else before(hook, plugin, recorded)

    before = trainer.trace(None)
    trainer.trace(tracer)
    try:
        yield calls
    finally:
        trainer.trace(before)


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: the exit code.
        stdout: what it printed.
        stderr: what it printed for errors.
        cwd: where it ran; `run_dir` is the newest run folder below it.
    """

    code: int
    stdout: str
    stderr: str
    cwd: Path

    @property
    def run_dir(self) -> Path:
        """The newest run folder."""
        manifests = sorted(self.cwd.glob("**/manifest.json"), key=lambda path: path.stat().st_mtime_ns)
        assert manifests, f"no run folder below {self.cwd}; stderr: {self.stderr}"
        return manifests[-1].parent

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the newest run."""
        found: dict[str, Any] = json.loads((self.run_dir / "manifest.json").read_text())
        return found

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows of `history.csv` of the newest run."""
        with (self.run_dir / "history.csv").open(newline="") as file:
            return list(csv.DictReader(file))


TINY_SCRIPT = """
from fit_core.testing import tiny_trainer

def build_trainer(lr: float = 0.1, epochs: int = 2):
    import functools, torch
    return tiny_trainer(optimizer=functools.partial(torch.optim.SGD, lr=lr), epochs=epochs, quiet=False)
"""


def run_fit(*arguments: str | Path, cwd: Path, timeout: float = 120, server: ForkServer | None = None) -> Outcome:
    """Run `fit` with these arguments in a process of its own.

    Args:
        arguments: of the command line.
        cwd: the folder to run in.
        timeout: seconds after which it is killed.
        server: forks the process, in a tenth of the time; without one an interpreter is started.
    """
    words = ["-m", "fit_core", *map(str, arguments)]
    if server is not None:
        done = server.run(*words, cwd=cwd, timeout=timeout)
    else:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-P", *words]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr, cwd)


def run_script(source: str, *arguments: str, cwd: Path, command: str = "train", server: ForkServer | None = None) -> Outcome:
    """Write a script and run `fit train script.py` on it, or another command.

    Args:
        source: the text of the script; it may be indented.
        arguments: what follows the script's name.
        cwd: where the script is written and run.
        command: of fit.
        server: as for `run_fit`.
    """
    (cwd / "script.py").write_text(textwrap.dedent(source))
    return run_fit(command, "script.py", *arguments, cwd=cwd, server=server)

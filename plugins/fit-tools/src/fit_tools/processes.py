"""The runs that are compared, each in a process of its own."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from fit_core.errors import FitError, TrainingError
from fit_core.testing.differences import Difference, compare_runs
from fit_core.testing.points import Point
from fit_tools.recording import RECORDING, read


@dataclass
class Runs:
    """Runs of one script, one of them without interruption.

    Attributes:
        script: what is run.
        words: the options of every run that begins.
        length: the options that say how long the runs are.
        folder: where they keep their files.
        warned: what the processes warned of.
    """

    script: Path
    words: Sequence[str]
    length: Sequence[str]
    folder: Path
    warned: dict[str, None] = field(default_factory=dict)
    _hash_seeds: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def whole(self) -> None:
        """Run without interruption.

        Raises:
            FitError: the command line is wrong.
            TrainingError: the run fails.
        """
        self._run("whole", "the run without interruption", *self.words, "--run-dir", str(self.folder / "whole"))

    def points(self) -> Iterator[Point]:
        """Yield the safe points of the whole run."""
        return read(self.folder / "whole.jsonl")

    def compare(self, number: int) -> Difference | None:
        """Interrupt a run at a safe point, go on with it in another process, and compare it with the whole one.

        Args:
            number: of the safe point.
        """
        name = f"interrupted-{number}"
        run = str(self.folder / name)
        self._run(name, "a run to be interrupted", *self.words, "--run-dir", run, "--verify-interrupt", str(number))
        self._run(f"{name}-resumed", "a resumed run", "--resume", run)
        return compare_runs(self.points(), read(self.folder / f"{name}.jsonl"), read(self.folder / f"{name}-resumed.jsonl"))

    def _run(self, name: str, what: str, *words: str) -> None:
        """Run `fit train`, recorded to a file of this name, with another order of sets than any other run."""
        recording = [RECORDING, str(self.folder / f"{name}.jsonl")]
        command = [sys.executable, "-P", "-m", "fit_core", "verify-resume", str(self.script), *words, *self.length, *recording]
        environment = {**os.environ, "PYTHONHASHSEED": str(next(self._hash_seeds))}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        self.warned |= dict.fromkeys(re.findall(r"Warning: (.+)", done.stderr))
        if done.returncode == 128 + signal.SIGINT:  # Ctrl-C goes to all of them
            raise KeyboardInterrupt
        if done.returncode == FitError.exit_code:
            raise FitError(done.stderr.strip().removeprefix("fit: "))
        if done.returncode:
            click.echo(done.stderr, nl=False, err=True)
            raise TrainingError(f"{what} failed, as above, with exit code {done.returncode}; fit train {self.script} should work first")

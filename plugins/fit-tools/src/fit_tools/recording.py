"""The processes that are compared: `fit train` with a recorder, and perhaps an interruption."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fit_core.cli.scripts import ScriptGroup, ScriptRun
from fit_core.cli.train import apply_options, prepared, recorded, train_options
from fit_core.testing.points import Point

if TYPE_CHECKING:
    from fit_core.checkpoint import Checkpoint

RECORDING = "--verify-recording"


def recording_options() -> list[click.Option]:
    """Make the options of `fit train`, and those that say what to record."""
    return [
        *train_options(),
        click.Option([RECORDING], type=click.Path(path_type=Path), required=True, help="The file to write safe points to."),
        click.Option(["--verify-interrupt"], type=int, help="The safe point to interrupt the run at; 0 is the first."),
        click.Option(["--verify-steps"], type=int, help="How many steps to train."),
        click.Option(["--verify-seed"], type=int, help="A seed that was drawn, not given."),
    ]


class Recording(ScriptGroup):
    """`fit train` as it is, but for the recorder."""

    def peek(self, script: Path, arguments: list[str]) -> tuple[int | None, Checkpoint | None]:
        """Take the drawn seed, so that a script which has a seed of its own keeps it, as under `fit train`."""
        seed, checkpoint = super().peek(script, arguments)
        drawn = [word for before, word in pairwise(arguments) if before == "--verify-seed"]
        return int(drawn[0]) if drawn else seed, checkpoint


def record(run: ScriptRun) -> None:
    """Train as `fit train` does, write every safe point to a file, and end where it is asked to."""
    from fit_core.testing import Recorder

    trainer, values = run.trainer, run.values
    apply_options(run)
    resume = None if run.checkpoint is None else run.checkpoint.folder
    with values["verify_recording"].open("w") as file:
        recorder = Recorder(lambda point: file.write(json.dumps(point.to_json()) + "\n"), values["verify_interrupt"])
        folder, manifest = prepared(run, recorder)
        with recorded(trainer, folder, manifest), trainer:
            trainer.fit(steps=values["verify_steps"], limit_batches=values["limit_batches"], resume=resume)


def read(file: Path) -> Iterator[Point]:
    """Yield the safe points that a process wrote, one after the other."""
    with file.open() as text:
        for line in text:
            yield Point(**json.loads(line))


group = Recording("verify-resume", "Record a run.", record, recording_options)

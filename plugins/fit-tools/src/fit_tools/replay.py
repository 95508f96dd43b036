"""`fit replay RUN`: what plugins would have done with the rows of a run that is over."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fit_core.cli.scripts import plugin_options
from fit_core.errors import FitError
from fit_core.options import split_commas
from fit_core.run_folder import write_manifest
from fit_core.settings import plugin_settings
from fit_tools.best import PASSES
from fit_tools.found import Found, is_run, run_at
from fit_tools.history import Row

if TYPE_CHECKING:
    from fit_core.replay import Moment
    from fit_core.trainer import Trainer

FOLDER = click.Path(path_type=Path)
RESERVED = ("loss",)
"""Names of values that no metric has."""


def replay_run(run: Path, plugins: str, plugin: tuple[str, ...], run_dir: Path | None, quiet: bool) -> None:
    """Send the rows of a run to plugins, as if it were going on: nothing is trained, and its own files stay as they are."""
    from fit_core.replay import NoModel, Recorded, replay
    from fit_core.trainer import Trainer

    found = run_at(run, time.time())
    check_folder(found, run_dir)
    for problem in found.problems:
        click.echo(f"fit: {run}: {problem}", err=True)
    if not found.rows:
        raise FitError(f"{run} has no rows to send: neither a history nor a checkpoint has one")
    metrics = [Recorded(name, more) for name, more in directions(found).items()]
    trainer = Trainer(NoModel(), metrics=metrics, plugins=[*split_commas(plugins), *plugin], run_dir=run_dir, quiet=quiet)
    trainer.use([], plugin_settings(Path.cwd()))
    with trainer:
        replay(trainer, moments(found), validation(found))
    if trainer.run_dir is not None and trainer.run_dir.is_dir():
        keep_manifest(trainer, found)
        if not quiet:
            click.echo(f"files in {trainer.run_dir}")


def check_folder(run: Found, folder: Path | None) -> None:
    """Refuse to write to a run that is there.

    Raises:
        FitError: the folder is one, or lies in the run that is replayed.
    """
    if folder is None:
        return
    if run.folder.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise FitError(f"{folder} is in the run that is replayed, whose files stay as they are; choose another --run-dir")
    if is_run(folder):
        raise FitError(f"{folder} holds a run already; choose another --run-dir")


def moments(run: Found) -> list[Moment]:
    """Return the rows of a run with the steps and times at which they were complete."""
    from fit_core.replay import Moment

    each = steps_per_epoch(run.manifest)
    return [Moment(row, int(row["epoch"]) * each, at) for row, at in zip(run.rows, times(run.rows, run.began), strict=True)]


def steps_per_epoch(manifest: Mapping[str, Any]) -> int:
    """Return how many steps each epoch had, if all had as many; else 1, so that epochs are counted."""
    steps, epochs = manifest.get("steps"), manifest.get("epochs")
    if not isinstance(steps, int) or not isinstance(epochs, int) or epochs < 1 or manifest.get("unfinished"):
        return 1
    return steps // epochs if steps >= epochs and steps % epochs == 0 else 1


def times(rows: Sequence[Row], began: datetime | None) -> list[float]:
    """Return when rows were complete, in seconds since the Unix epoch: as long after the beginning as their epochs took."""
    at, found = 0.0 if began is None else began.timestamp(), []
    for row in rows:
        at += row.get("seconds", 0.0)
        found.append(at)
    return found


def validation(run: Found) -> tuple[str, ...]:
    """Return the prefixes that the run gave to the values of its validation sets."""
    names: Mapping[str, Any] = run.manifest.get("directions", {})
    return tuple(name.removesuffix("loss") for name in names if name.startswith("val_") and name.endswith("_loss"))


def directions(run: Found) -> dict[str, bool | None]:
    """Return whether more is better, for the values of the run's metrics without prefix."""
    known: Mapping[str, bool | None] = run.manifest.get("directions", {})
    return {name: more for name, more in known.items() if name not in RESERVED and not name.startswith(PASSES)}


def keep_manifest(trainer: Trainer, run: Found) -> None:
    """Write the manifest of the run to the folder that plugins wrote to, with what was done here."""
    assert trainer.run_dir is not None
    plugins = [
        {"name": each.name, "distribution": each.distribution, "options": {key: repr(value) for key, value in each.options.items()}}
        for each in trainer.members
    ]
    said = {"run": str(run.folder), "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "status": run.status}
    write_manifest(trainer.run_dir, {**run.manifest, "status": "replayed", "plugins": plugins, "replayed": said})


command = click.Command(
    "replay",
    callback=replay_run,
    short_help="Send the rows of a run that is over to plugins.",
    help="Send the rows of RUN to plugins, as if it were going on. Nothing is trained, and the files of RUN stay as they are.",
    params=[
        click.Argument(["run"], type=FOLDER),
        *plugin_options(),
        click.Option(["--run-dir"], type=click.Path(path_type=Path, file_okay=False), help="Where plugins write their files."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print nothing but errors."),
    ],
)

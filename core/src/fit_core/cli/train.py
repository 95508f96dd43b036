"""`fit train SCRIPT`: train what a script builds, in a run folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fit_core.cli.scripts import ScriptGroup, ScriptRun, plugin_options
from fit_core.run_folder import describe_outcome, describe_run, new_run_folder, refuse_used, write_manifest

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


def train_options() -> list[click.Option]:
    """Make fit's own options for training."""
    return [
        *plugin_options(),
        click.Option(["--epochs"], type=click.IntRange(min=1), help="How many epochs to train."),
        click.Option(["--seed"], type=int, help="Seed of all random numbers; drawn and recorded if not given."),
        click.Option(["--run-dir"], type=click.Path(path_type=Path, file_okay=False), help="Where the run keeps its files."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print nothing but errors."),
    ]


def train(run: ScriptRun) -> None:
    """Train, evaluate test data, and keep the manifest true."""
    trainer, values = run.trainer, run.values
    if values["epochs"] is not None:
        trainer.epochs = values["epochs"]
    trainer.run_dir = values["run_dir"] or trainer.run_dir or new_run_folder(Path("runs") / run.path.stem)
    folder = trainer.ensure_run_dir()
    manifest = describe_run(trainer, run.path, run.command, run.options, values["seed"])
    refuse_used(folder)
    with recorded(trainer, folder, manifest), trainer:
        trainer.fit()
        if trainer.test_data is not None:
            manifest["test"] = trainer.evaluate()
    if not trainer.quiet:
        report(folder, manifest.get("test", {}))


@contextmanager
def recorded(trainer: Trainer, folder: Path, manifest: dict[str, Any]) -> Iterator[None]:
    """Write the manifest before and after a run, with its status: running, done, failed or interrupted."""
    write_manifest(folder, manifest)
    began = time.perf_counter()
    status = "failed"
    try:
        yield
        status = "done"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    except BaseException as error:
        manifest["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        seconds = round(time.perf_counter() - began, 3)
        write_manifest(folder, manifest | {"status": status, "seconds": seconds, **describe_outcome(trainer)})


def report(folder: Path, results: Mapping[str, float]) -> None:
    """Say how good the model is and where the files are."""
    from fit_core.text import number

    if results:
        click.echo("  ".join(f"{name} {number(name, value)}" for name, value in results.items()))
    click.echo(f"files in {folder}")


command = ScriptGroup("train", "Train what SCRIPT's build_trainer() builds.", train, train_options)

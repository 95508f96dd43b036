"""`fit train SCRIPT`: train what a script builds, in a run folder."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fit_core.cli.scripts import ScriptGroup, ScriptRun, plugin_options, seed_option
from fit_core.run_folder import describe_outcome, describe_run, describe_start, new_run_folder, refuse_used, write_manifest

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


def train_options() -> list[click.Option]:
    """Make fit's own options for training."""
    return [
        *plugin_options(),
        click.Option(["--epochs"], type=click.IntRange(min=1), help="How many epochs to train."),
        click.Option(["--accumulate"], type=click.IntRange(min=1), help="How many batches make one step."),
        seed_option(),
        click.Option(["--run-dir"], type=click.Path(path_type=Path, file_okay=False), help="Where the run keeps its files."),
        click.Option(["--no-save"], is_flag=True, help="Keep no checkpoint; else the last one is kept."),
        click.Option(["--limit-batches"], type=click.IntRange(min=1), help="How many batches of each pass to use at most."),
        click.Option(["--dry-run"], is_flag=True, help="Run two batches of each phase, write nothing, and say what a full run would do."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print nothing but errors."),
    ]


def train(run: ScriptRun) -> None:
    """Train, evaluate test data, and keep the manifest true."""
    trainer, values = run.trainer, run.values
    if values["epochs"] is not None:
        trainer.epochs = values["epochs"]
    if values["accumulate"] is not None:
        trainer.accumulate = values["accumulate"]
    if values["dry_run"]:
        dry_run(run)
        return
    start = describe_start(run.options, run.items, values["seed"])
    if not values["no_save"]:
        keep_last(trainer, start)
    trainer.run_dir = values["run_dir"] or trainer.run_dir or new_run_folder(Path("runs") / run.path.stem)
    folder = trainer.ensure_run_dir()
    manifest = describe_run(trainer, run.path, run.command, start)
    refuse_used(folder)
    limits = {} if values["limit_batches"] is None else {"limit_batches": values["limit_batches"]}
    with recorded(trainer, folder, manifest), trainer:
        trainer.fit(**limits)
        if trainer.test_data is not None:
            manifest["test"] = trainer.evaluate(**limits)
    if not trainer.quiet:
        report(manifest.get("test", {}))
        click.echo(f"files in {folder}")


def keep_last(trainer: Trainer, start: Mapping[str, Any]) -> None:
    """Add the plugin that keeps the last checkpoint."""
    from fit_core.saving import SaveLast

    trainer.use([SaveLast(start)])


def dry_run(run: ScriptRun) -> None:
    """Run two batches of each phase in a folder that is removed, then say what a full run would do."""
    from fit_core.feeding import lengths

    trainer = run.trainer
    epochs, batches = trainer.epochs, lengths(trainer)
    folder_then = run.values["run_dir"] or trainer.run_dir or Path("runs") / run.path.stem / "<time>"
    with tempfile.TemporaryDirectory() as folder, trainer:
        trainer.run_dir = Path(folder)
        trainer.fit(epochs=None if epochs is None else 1, limit_batches=2)
        results = {} if trainer.test_data is None else trainer.evaluate(limit_batches=2)
    if trainer.quiet:
        return
    report(results)
    said = {name: f"{count or 'an unknown number of'} batches" for name, count in batches.items()}
    count = batches.get("train_data")
    total = "" if not count or epochs is None or math.isinf(epochs) else f", {count * int(epochs)} in all"
    click.echo(f"dry run: nothing was kept. A full run trains {epochs:g} epochs of {said.pop('train_data', 'no data')}{total}")
    click.echo("".join(f"  {name}: {count}\n" for name, count in said.items()), nl=False)
    click.echo(f"  plugins: {', '.join(trainer.plugins)}")
    click.echo(f"  files in {folder_then}")


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


def report(results: Mapping[str, float]) -> None:
    """Say how good the model is."""
    from fit_core.text import number

    if results:
        click.echo("  ".join(f"{name} {number(name, value)}" for name, value in results.items()))


command = ScriptGroup("train", "Train what SCRIPT's build_trainer() builds.", train, train_options)

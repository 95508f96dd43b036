"""`fit train SCRIPT`: train what a script builds, in a run folder."""

from __future__ import annotations

import math
import shlex
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fit_core.cli.looks import look_options, looked_at
from fit_core.cli.runs import Run, refuse_alive, run_in, run_of, set_aside
from fit_core.cli.scripts import ScriptGroup, ScriptRun, plugin_options, seed_option
from fit_core.errors import FitError, Interrupted, TrainingError
from fit_core.interrupts import Signals
from fit_core.run_folder import (
    MANIFEST,
    describe_outcome,
    describe_run,
    describe_start,
    new_run_folder,
    plain,
    refuse_used,
    write_manifest,
)

if TYPE_CHECKING:
    from fit_core.checkpoint import Checkpoint
    from fit_core.trainer import Trainer


def train_options() -> list[click.Option]:
    """Make fit's own options for training."""
    folder = click.Path(path_type=Path, file_okay=False)
    return [
        *plugin_options(),
        click.Option(["--epochs"], type=click.IntRange(min=1), help="How many epochs to train."),
        click.Option(["--accumulate"], type=click.IntRange(min=1), help="How many batches make one step."),
        seed_option(),
        click.Option(["--run-dir"], type=folder, help="Where the run keeps its files."),
        click.Option(
            ["--resume"],
            is_flag=False,
            flag_value="",
            metavar="[PATH]",
            help="Go on with a run: its folder, or a checkpoint; without PATH the newest unfinished run of this script with these options.",
        ),
        click.Option(["--fresh"], is_flag=True, help="Start over in a --run-dir that holds a run, which is set aside."),
        click.Option(["--allow-changes"], is_flag=True, help="Resume though options, script, plugins or data are not what they were."),
        click.Option(
            ["--weights"], type=click.Path(path_type=Path), help="Begin with these weights: a checkpoint, a run, or a state dict."
        ),
        click.Option(["--max-time"], metavar="TIME", help='Interrupt the run after this long, with a checkpoint: "4 h", "30 minutes".'),
        click.Option(["--no-save"], is_flag=True, help="Keep no checkpoint; else the last one is kept."),
        click.Option(["--limit-batches"], type=click.IntRange(min=1), help="How many batches of each pass to use at most."),
        click.Option(["--dry-run"], is_flag=True, help="Run two batches of each phase, write nothing, and say what a full run would do."),
        *look_options(),
        click.Option(["-q", "--quiet"], is_flag=True, help="Print nothing but errors."),
    ]


def train(run: ScriptRun) -> None:
    """Train, evaluate test data, and keep the manifest true."""
    trainer = run.trainer
    check_together(run.values)
    apply_options(run)
    if run.values["dry_run"]:
        dry_run(run)
        return
    folder, manifest = prepared(run)
    with Signals(trainer) as signals, recorded(trainer, folder, manifest), trainer:
        with looked_at(trainer, run.values, folder):
            done = go(run, manifest)
        if not done or signals.number is not None:
            leave(run, signals, manifest)
        else:
            test(run, manifest)
    if not trainer.quiet:
        report(manifest.get("test", {}))
        click.echo(f"files in {folder}")


def apply_options(run: ScriptRun) -> None:
    """Give the trainer what fit's own options say."""
    trainer, values = run.trainer, run.values
    if values["epochs"] is not None:
        trainer.epochs = values["epochs"]
    if values["accumulate"] is not None:
        trainer.accumulate = values["accumulate"]
    if values["weights"] is not None:
        begin_with(trainer, values["weights"])


def prepared(run: ScriptRun, *plugins: Any) -> tuple[Path, dict[str, Any]]:
    """Add the plugins of the command line and others, and return the run folder, a new one or that of `--resume`, and its manifest."""
    start = describe_start(run.path, run.options, run.items, run.values)
    add_plugins(run.trainer, start, run.values)
    run.trainer.use(plugins)
    return new_run(run, start) if run.checkpoint is None else old_run(run, start)


def go(run: ScriptRun, manifest: dict[str, Any]) -> bool:
    """Train. Return False if the run was interrupted; a test that was made before holds only if nothing was trained."""
    trainer, checkpoint = run.trainer, run.checkpoint
    how: dict[str, Any] = limits_of(run)
    if checkpoint is not None:
        how |= {"resume": checkpoint.folder, "allow_changes": run.values["allow_changes"]}
    trainer.fit(**how)
    state = trainer.current_state()
    if checkpoint is not None and state.batch_count != checkpoint.manifest["batch_count"]:
        manifest.pop("test", None)
    return not state.interrupted


def test(run: ScriptRun, manifest: dict[str, Any]) -> None:
    """Evaluate test data, if there is some and it was not done."""
    if run.trainer.test_data is not None and "test" not in manifest:
        manifest["test"] = run.trainer.evaluate(**limits_of(run))


def limits_of(run: ScriptRun) -> dict[str, Any]:
    """Return the argument that limits batches, if it was given."""
    limit = run.values["limit_batches"]
    return {} if limit is None else {"limit_batches": limit}


def leave(run: ScriptRun, signals: Signals, manifest: dict[str, Any]) -> None:
    """End an interrupted run, and say how to go on with it.

    Raises:
        Interrupted: a signal came, which the exit code tells.
    """
    state = run.trainer.current_state()
    again = shlex.join(["fit", "train", str(run.path), "--resume", str(run.trainer.run_dir)])
    saved = "nothing was saved (--no-save)" if run.values["no_save"] else f"go on with: {again}"
    if signals.number is not None:
        reason = state.stop_reason if state.interrupted else signal.Signals(signals.number).name
        raise Interrupted(signals.number, f"interrupted {state.where()} by {reason}; {saved}")
    said = f"interrupted {state.where()} by {state.stop_reason}; {saved}"
    manifest["status"] = "interrupted"
    click.echo(f"fit: {said}", err=True)


def check_together(values: Mapping[str, Any]) -> None:
    """Refuse options that contradict each other.

    Raises:
        FitError: some do.
    """
    others = [name for name in ("fresh", "weights", "dry_run") if values[name]]
    if values["resume"] is not None and others:
        raise FitError(f"--resume goes on with a run, so --{others[0].replace('_', '-')} does nothing; leave one of them out")


def begin_with(trainer: Trainer, path: Path) -> None:
    """Load weights for a new run, and say which names got none, and which found no place."""
    missing, unexpected = trainer.load_weights(path)
    for what, names in (("got no weights", missing), ("found no place in the model", unexpected)):
        if names and not trainer.quiet:
            click.echo(f"{len(names)} names {what}: {', '.join(names)}")


def add_plugins(trainer: Trainer, start: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Add what the command line brings: the time limit, and the plugin that keeps the last checkpoint."""
    from fit_core.interrupts import MaxTime
    from fit_core.saving import SaveLast

    trainer.run_info = start
    trainer.use([MaxTime(values["max_time"])] if values["max_time"] else [])
    trainer.use([] if values["no_save"] else [SaveLast()])


def new_run(run: ScriptRun, start: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a new run, and its manifest."""
    trainer = run.trainer
    trainer.run_dir = run.values["run_dir"] or trainer.run_dir or new_run_folder(Path("runs") / run.path.stem)
    if run.values["fresh"] and (trainer.run_dir / MANIFEST).exists():
        click.echo(f"the run that was in {trainer.run_dir} is now in {set_aside(trainer.run_dir)}")
    refuse_used(trainer.run_dir)
    return trainer.ensure_run_dir(), describe_run(trainer, run.path, run.command, start)


def old_run(run: ScriptRun, start: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the run that goes on, and its manifest; that of a new run, if the checkpoint lies in none.

    Raises:
        FitError: the run is going on, or its script or options have changed.
    """
    checkpoint = run.checkpoint
    assert checkpoint is not None
    old = run_of(checkpoint)
    if not run.values["allow_changes"]:
        refuse_changes(checkpoint, start)
    if old is None or (run.values["run_dir"] or old.folder).resolve() != old.folder.resolve():
        folder, manifest = new_run(run, start)
        if not run.trainer.quiet:
            click.echo(f"going on from {checkpoint.folder} in the new folder {folder}")
        return folder, manifest | {"resumed": [going_on(run, checkpoint)]}
    refuse_alive(old)
    run.trainer.run_dir = old.folder
    if not run.trainer.quiet:
        click.echo(continuation(run.trainer, old, checkpoint))
    kept = {key: value for key, value in old.manifest.items() if key != "error"}
    now = describe_run(run.trainer, run.path, run.command, start)
    again = ("script", "options", "items", "seed", "fit", "total_epochs", "directions", "plugins", "process", "status")
    kept |= {key: now[key] for key in again}
    return old.folder, kept | {"resumed": [*(kept.get("resumed") or []), going_on(run, checkpoint)]}


def going_on(run: ScriptRun, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a manifest says of a continuation."""
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "from": str(checkpoint.folder), "command": run.command}


def continuation(trainer: Trainer, run: Run, checkpoint: Checkpoint) -> str:
    """Say where a run goes on, or that it does not."""
    from fit_core.call import Length, is_finished

    at = checkpoint.manifest
    if is_finished(at["call"], Length(math.inf if trainer.epochs is None else trainer.epochs)):
        why = f"stopped itself ({at['call']['stopped']})" if at["call"]["stopped"] else "is finished"
        return (
            f"{run.folder} {why}: {at['epoch']} epochs, {at['step']} steps; --epochs with more trains on, without --resume a new run begins"
        )
    return f"resuming {run.folder} after epoch {at['epoch']}, batch {at['batch']}, step {at['step']} ({checkpoint.folder.name})"


def refuse_changes(checkpoint: Checkpoint, start: Mapping[str, Any]) -> None:
    """Refuse to go on with another script, or other options.

    Raises:
        FitError: something differs; the message lists it.
    """
    past = checkpoint.manifest["run"] or {"script": start["script"], "options": {}}
    options = plain(start["options"])
    changed = ["the script has changed"] * (past["script"] != start["script"])
    for name, value in past["options"].items():
        if name not in ("epochs", "quiet", "run_dir", "limit_batches") and options.get(name) != value:
            changed.append(f"--{name.replace('_', '-')} was {value}, now {options.get(name)}")
    if changed:
        raise FitError(f"{checkpoint.folder} was made otherwise: {'; '.join(changed)}. --allow-changes goes on nevertheless")


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
    """Write the manifest before and after a run, with its status: running, done, failed or interrupted.

    A run that was to go on, and never did, since something did not fit, keeps the manifest it has.
    """
    before = run_in(folder)
    write_manifest(folder, manifest)
    began = time.perf_counter()
    status = "failed"
    try:
        yield
        status = "done" if manifest["status"] == "running" else manifest["status"]
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    except BaseException as error:
        manifest["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        seconds = round(manifest.get("seconds", 0) + time.perf_counter() - began, 3)
        outcome = manifest | {"status": status, "seconds": seconds, **describe_outcome(trainer)}
        refused = before is not None and not trainer.current_state().resumed
        try:
            write_manifest(folder, before.manifest if refused and before is not None else outcome)
        except TrainingError as error:
            click.echo(f"fit: {error}", err=True)


def report(results: Mapping[str, float]) -> None:
    """Say how good the model is."""
    from fit_core.text import number

    if results:
        click.echo("  ".join(f"{name} {number(name, value)}" for name, value in results.items()))


command = ScriptGroup("train", "Train what SCRIPT's build_trainer() builds.", train, train_options)

"""`fit verify-resume SCRIPT`: is a resumed run equal to one that was never interrupted, and if not, where do they differ first?"""

from __future__ import annotations

import secrets
import tempfile
import textwrap
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fit_core.cli.scripts import ScriptGroup
from fit_core.cli.train import train_options
from fit_core.errors import FitError
from fit_core.testing.differences import Difference
from fit_core.testing.points import Point, number_of_step, usual_numbers
from fit_tools.processes import Runs
from fit_tools.recording import RECORDING, group, record

TAKEN = ("plugins", "plugin", "epochs", "accumulate", "seed", "weights", "limit_batches")
"""Options of `fit train` that this command has, too; the others make no sense here."""
PASSING = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Lets options pass that a command does not know."""


def own_options() -> list[click.Option]:
    """Make the options that say what to compare."""
    return [
        click.Option(["--epochs"], type=click.IntRange(min=1), help="How many epochs to train each time.  [default: 2]"),
        click.Option(["--steps"], type=click.IntRange(min=1), help="How many steps to train each time instead."),
        click.Option(
            ["--at"],
            multiple=True,
            metavar="STEP",
            help="Interrupt after this step; several, or with commas between them.  [default: early, in the midst of an epoch, at an "
            "epoch's end]",
        ),
        click.Option(["--jobs", "-j"], type=click.IntRange(min=1), default=1, show_default=True, help="How many runs at a time."),
    ]


def all_options() -> list[click.Option]:
    """Make all options but the script's: those that help shows."""
    own = own_options()
    names = {option.name for option in own}
    return [*(option for option in train_options() if option.name in TAKEN and option.name not in names), *own]


class VerifyResume(ScriptGroup):
    """Starts processes that are given the script; imports it itself only to show its options."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str, click.Command, list[str]]:
        """Be one of the processes, show help, or start the processes."""
        if RECORDING in args:
            return group.resolve_command(ctx, args)
        if {"-h", "--help"} & set(args):
            return super().resolve_command(ctx, args)
        script, words = Path(args[0]), args[1:]
        return str(script), command_on(script), words


def command_on(script: Path) -> click.Command:
    """Make the command that compares runs of a script; the options that it does not know go to the script."""

    def callback(**own: Any) -> None:
        context = click.get_current_context()
        if verify(script, context.args, **own):
            context.exit(1)

    return click.Command(str(script), params=[*own_options()], callback=callback, context_settings=PASSING)


def verify(script: Path, words: list[str], epochs: int | None, steps: int | None, at: Sequence[str], jobs: int) -> int:
    """Compare runs, and say of each whether it is equal.

    Args:
        script: what is run.
        words: options of `fit train` and of the script.
        epochs: how long each run is.
        steps: likewise, instead.
        at: after which steps to interrupt, as text.
        jobs: how many processes at a time.

    Returns:
        How many runs differ.

    Raises:
        FitError: the command is wrong.
        TrainingError: a run fails.
    """
    asked = steps_of(at)
    if epochs is not None and steps is not None:
        raise FitError("--epochs and --steps both say how long the runs are; leave one of them out")
    length = ["--epochs", str(epochs or 2)] if steps is None else ["--verify-steps", str(steps)]
    seed = seed_in(words)
    words = words if seed is not None else [*words, "--verify-seed", str(seed := secrets.randbelow(2**31))]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fit-verify-resume-") as folder:
        runs = Runs(script, words, length, Path(folder))
        runs.whole()
        points = [replace(point, leaves={}, outside={}) for point in runs.points()]
        click.echo(f"whole run: {points[-1].epoch} epochs, {points[-1].step} steps, seed {seed}")
        numbers = numbers_of(points, asked)
        with ThreadPoolExecutor(jobs) as pool:
            found = [reported(points[n], difference) for n, difference in zip(numbers, pool.map(runs.compare, numbers), strict=True)]
    differing = sum(difference is not None for difference in found)
    for text in runs.warned if differing else ():
        click.echo(f"fit warned: {text}")
    said = f"{differing} of {len(numbers)} resumed runs differ" if differing else "every resumed run is equal to the whole one"
    click.echo(f"{said} ({time.perf_counter() - began:.1f} s)")
    return differing


def steps_of(at: Sequence[str]) -> list[int]:
    """Return the steps that were written: one in each text, or several with commas between them.

    Raises:
        FitError: one is no number.
    """
    written = [word.strip() for text in at for word in text.split(",")]
    for word in written:
        if not word.isdecimal():
            raise FitError(f"--at needs a step, such as --at 100 or --at 1,50,100, not {word!r}")
    return list(map(int, written))


def seed_in(words: Sequence[str]) -> int | None:
    """Return the seed among the words of the command line, if it is there.

    Raises:
        FitError: there is an option of `fit train` that makes no sense here.
    """
    options = train_options()
    parser = click.Command("words", params=[*options], context_settings=PASSING)
    values = parser.make_context("words", [*words], resilient_parsing=True).params
    for option in options:
        if option.name not in TAKEN and values[str(option.name)]:
            raise FitError(f"verify-resume keeps its runs to itself, so {option.opts[-1]} does nothing; leave it out")
    seed: int | None = values["seed"]
    return seed


def numbers_of(points: Sequence[Point], steps: Sequence[int]) -> list[int]:
    """Return the numbers of the safe points to interrupt at: those after steps, or else the usual ones.

    Raises:
        FitError: a step is beyond the end of the run.
    """
    usual = usual_numbers(points)
    numbers = [number_of_step(points, step) for step in steps] or [usual["early"], usual["midst"], usual.get("after", usual["last batch"])]
    return sorted(set(numbers))


def reported(point: Point, found: Difference | None) -> Difference | None:
    """Say how the run differs that was interrupted at a safe point."""
    said = "equal to the bit" if found is None else textwrap.indent(str(found), "    ").strip()
    click.echo(f"step {point.step} ({point}): {said}")
    return found


command = VerifyResume(
    "verify-resume", "Compare interrupted and resumed runs of SCRIPT with one that was never interrupted.", record, all_options
)

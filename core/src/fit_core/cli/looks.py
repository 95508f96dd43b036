"""The options of `fit train` that look at a run: `--profile`, `--trace-hooks`, `--forbid-sync`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fit_core.errors import FitError

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


def look_options() -> list[click.Option]:
    """Make the options."""
    return [
        click.Option(
            ["--profile"],
            is_flag=False,
            flag_value="table",
            type=click.Choice(["table", "torch"]),
            metavar="[torch]",
            help="Say where the time goes, by plugin and hook, with waits for the device (profile.json); torch: a trace of some batches.",
        ),
        click.Option(
            ["--trace-hooks"],
            is_flag=False,
            flag_value="1",
            type=click.IntRange(min=1),
            metavar="[BATCHES]",
            help="Print every call of a hook in the first batches of each pass (1), and what it changes.",
        ),
        click.Option(["--forbid-sync"], is_flag=True, help="Make a wait for the device inside of a training step an error, at its line."),
    ]


@contextmanager
def looked_at(trainer: Trainer, values: Mapping[str, Any], folder: Path) -> Iterator[None]:
    """Look at a run while it goes on, as the options say; without them nothing is measured.

    Args:
        trainer: whose plan is traced.
        values: of the options.
        folder: for files.

    Raises:
        FitError: two options would measure each other.
    """
    if values["profile"] and (values["trace_hooks"] or values["forbid_sync"]):
        raise FitError("--profile would measure what --trace-hooks or --forbid-sync do: leave one of them out")
    with ExitStack() as stack:
        if values["forbid_sync"]:
            stack.enter_context(forbidding(trainer))
        if values["trace_hooks"]:
            stack.enter_context(telling(trainer, values["trace_hooks"]))
        if values["profile"] == "table":
            stack.enter_context(profiled(trainer, folder / "profile.json"))
        if values["profile"] == "torch":
            stack.enter_context(on_a_timeline(trainer, folder / "trace.json"))
        yield


@contextmanager
def forbidding(trainer: Trainer) -> Iterator[None]:
    """Make waits errors."""
    from fit_core.traced.around import traced
    from fit_core.traced.waits import ForbidWaits

    with traced(trainer, ForbidWaits()):
        yield


@contextmanager
def telling(trainer: Trainer, batches: int) -> Iterator[None]:
    """Print calls, on the error output."""
    from fit_core.traced.around import traced
    from fit_core.traced.calls import Calls

    with traced(trainer, Calls(partial(click.echo, err=True), batches)):
        yield


@contextmanager
def profiled(trainer: Trainer, path: Path) -> Iterator[None]:
    """Measure, print a table and write a file."""
    from fit_core.traced.around import traced
    from fit_core.traced.profile import Profile, as_text

    profile = Profile()
    try:
        with traced(trainer, profile):
            yield
    finally:
        path.write_text(json.dumps(profile.as_dict(), indent=1))
        click.echo(as_text(profile))


@contextmanager
def on_a_timeline(trainer: Trainer, path: Path) -> Iterator[None]:
    """Write a trace."""
    from fit_core.traced.around import traced
    from fit_core.traced.timeline import FIRST, Timeline

    timeline = Timeline(path)
    with traced(trainer, timeline):
        yield
    click.echo(f"trace in {path}" if timeline.written else f"--profile=torch: no trace: it begins after {FIRST} batches; train for longer")

"""`fit runs`: what runs there are, in what they differ, and their curves."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fit_core.errors import FitError
from fit_core.run_folder import plain
from fit_tools.best import Mode, chosen
from fit_tools.comparing import comparison
from fit_tools.comparing import lines as compared_lines
from fit_tools.curves import curves_of, drawn, picture, usual
from fit_tools.found import Found, run_at, runs_below
from fit_tools.overview import described, lines, ordered

STYLE = click.option(
    "--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True, help="For whom it is written."
)
MODE = click.option(
    "--mode", type=click.Choice(["min", "max"]), help="Which direction is better, of values of which a run does not say it."
)
FOLDER = click.Path(path_type=Path)


class RunsGroup(click.Group):
    """A group that lists runs if the first word is none of its commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command before the words that have none."""
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["list", *args])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the options of listing, too."""
        self.commands["list"].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group("runs", cls=RunsGroup, subcommand_metavar="[FOLDER] | COMMAND ...")
def command() -> None:
    """List the runs in FOLDER (default: runs) and below it, or compare some, or plot their values."""


@command.command("list")
@click.argument("folder", type=FOLDER, default=Path("runs"))
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="A value to show; several times for several.  [default: all]")
@click.option("--sort", metavar="NAME", help="Sort by a value, the best first; or by an option, run, status, began, took, epochs.")
@MODE
@STYLE
def list_runs(folder: Path, metrics: tuple[str, ...], sort: str | None, mode: Mode, style: str) -> None:
    """List runs, the newest first, with their best values and the options in which they differ."""
    found = runs_below(folder, time.time())
    chosen(found, metrics)
    runs = ordered(found, sort, mode)
    if style == "json":
        echo_json([described(run, mode) for run in runs])
        return
    names = metrics or ((sort, *(name for name in chosen(runs, ()) if name != sort)) if sort in chosen(runs, ()) else ())
    click.echo("\n".join(lines(runs, [name for name in names if name], width(), mode)))


def width() -> int | None:
    """Return how many characters a line of the terminal has; None in a pipe, where it may have any number."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def echo_json(content: Any) -> None:
    """Write JSON, in which numbers that are not finite are text."""
    click.echo(json.dumps(plain(content), indent=2, allow_nan=False))


@command.command("compare")
@click.argument("runs", metavar="RUN RUN ...", nargs=-1, required=True, type=FOLDER)
@MODE
@click.option("--diff", is_flag=True, help="Show all of what differs between scripts.")
@STYLE
def compare(runs: tuple[Path, ...], mode: Mode, diff: bool, style: str) -> None:
    """Say what differs between runs: options, plugins, versions, scripts, data; and by how much their best values do."""
    if len(runs) < 2:
        raise FitError("compare needs two runs or more: fit runs compare RUN RUN")
    found = [run_at(run, time.time()) for run in runs]
    compared = comparison(found, mode)
    if style == "json":
        echo_json(asdict(compared))
    else:
        click.echo("\n".join(compared_lines(compared, width(), diff)))
    warn(found)


def warn(runs: Iterable[Found]) -> None:
    """Say what is wrong with runs."""
    for run in runs:
        for problem in run.problems:
            click.echo(f"fit: {run.folder}: {problem}", err=True)


@command.command("plot")
@click.argument("paths", metavar="[RUN_OR_FOLDER ...]", nargs=-1, type=FOLDER)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="A value to plot; several times for several.  [default: val_loss]")
@click.option("--log", is_flag=True, help="Make the vertical axis logarithmic.")
@click.option("--output", type=FOLDER, metavar="FILE", help="Write a picture instead: .png, .svg or .pdf.")
def plot(paths: tuple[Path, ...], metrics: tuple[str, ...], log: bool, output: Path | None) -> None:
    """Plot values of several runs over each other, on the terminal or as a picture. Without a run: of those below "runs"."""
    now = time.time()
    runs = {run.folder: run for path in paths or (Path("runs"),) for run in runs_below(path, now)}
    names = metrics or (usual(list(runs.values())),)
    named = [(name, curves_of(list(runs.values()), name)) for name in names]
    if output is None:
        size = shutil.get_terminal_size()
        height = min(max((size.lines - 4) // len(named) - 4, 9), 21)
        text = "\n\n".join("\n".join(drawn(name, curves, size.columns, height, log)) for name, curves in named)
        click.echo(text, color=False if "NO_COLOR" in os.environ else None)
    else:
        picture(named, output, log)
        shown = {curve.label for _, curves in named for curve in curves}
        click.echo(f"{output}: {', '.join(names)} of {len(shown)} run{'s' * (len(shown) != 1)}")
    warn(runs.values())

"""`fit checkpoints`: what checkpoints there are, and whether they are as they were written."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click


@click.command("checkpoints")
@click.argument("paths", metavar="[RUN_OR_FOLDER ...]", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def command(ctx: click.Context, paths: tuple[Path, ...], style: str) -> None:
    """List the checkpoints of runs, newest first, and verify them. Without a folder: of the runs below "runs".

    Exits with 1 if one is damaged, or a pointer names one that is not there.
    """
    from fit_tools.listing import lines, listing, runs_in  # imports torch

    found = [listing(run) for run in dict.fromkeys(run for path in paths or (Path("runs"),) for run in runs_in(path))]
    if style == "json":
        click.echo(json.dumps([{**asdict(each), "run": str(each.run)} for each in found], indent=2))
    else:
        click.echo("\n\n".join("\n".join(lines(each, time.time())) for each in found))
    if any(each.damaged for each in found):
        ctx.exit(1)

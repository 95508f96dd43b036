"""`fit evaluate SCRIPT`: loss and metrics of what was trained."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from fit_core.cli.scripts import ScriptGroup, ScriptRun, plugin_options, weights_options
from fit_core.cli.train import report
from fit_core.errors import FitError


def evaluate_options() -> list[click.Option]:
    """Make fit's own options for evaluation."""
    return [
        *plugin_options(),
        *weights_options(),
        click.Option(["--format"], type=click.Choice(["text", "json"]), default="text", show_default=True),
    ]


def evaluate(run: ScriptRun) -> None:
    """Print the values of a pass over the data, or over each of several validation sets."""
    from fit_core.feeding import several

    name = run.values["data"]
    values: dict[str, float] = {}
    with run.trainer:
        data = trained(run, name)
        sets = several(data) if name == "val" else {f"{name}_": data}
        for prefix, one in sets.items():
            values |= run.trainer.evaluate(one, prefix=prefix, limit_batches=run.values["limit_batches"])
    if run.values["format"] == "json":
        click.echo(json.dumps({key: value if math.isfinite(value) else None for key, value in values.items()}))
    else:
        report(values)


def trained(run: ScriptRun, name: str) -> Any:
    """Load the weights of the checkpoint and what plugins have kept (averages, say), and return the data to use.

    Raises:
        FitError: the trainer has no such data, or the weights don't fit.
    """
    data = getattr(run.trainer, f"{name}_data")
    if data is None:
        raise FitError(f"the trainer has no {name}_data; choose another with --data, or pass Trainer({name}_data=...)")
    if run.checkpoint is None:
        click.echo("fit: no --checkpoint: the model is as build_trainer() made it", err=True)
    else:
        from fit_core.resuming import make_ready
        from fit_core.saving import load_plugins, load_weights

        make_ready(run.trainer, updates=False)  # a plugin may put another model in
        load_weights(run.trainer, run.checkpoint)
        load_plugins(run.trainer, run.checkpoint)
    return data


command = ScriptGroup("evaluate", "Compute loss and metrics of what SCRIPT's trainer has learned.", evaluate, evaluate_options)

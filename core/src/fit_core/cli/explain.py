"""`fit explain SCRIPT`: under every hook who acts, in which order, how, and from where."""

from __future__ import annotations

import json

import click

from fit_core.cli.scripts import ScriptGroup, ScriptRun, plugin_options


def explain_options() -> list[click.Option]:
    """Make fit's own options for explaining."""
    return [
        *plugin_options(),
        click.Option(["--format"], type=click.Choice(["text", "json"]), default="text", show_default=True),
    ]


def explain(run: ScriptRun) -> None:
    """Print the plan of the trainer as `fit train` runs it."""
    from fit_core.explain import as_text, explained
    from fit_core.saving import SaveLast

    run.trainer.use([SaveLast()])  # as fit train does
    hooks = explained(run.trainer.hooks)
    click.echo(json.dumps(hooks, indent=2) if run.values["format"] == "json" else as_text(hooks))


command = ScriptGroup("explain", "Show who acts at every hook of SCRIPT's trainer.", explain, explain_options)

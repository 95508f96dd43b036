"""`fit explain SCRIPT`: under every hook who acts, in which order, how, and from where."""

from __future__ import annotations

import json

import click

from fit_core.cli.scripts import ScriptGroup, ScriptRun, plugin_options


def explain_options() -> list[click.Option]:
    """Make fit's own options for explaining."""
    return [
        *plugin_options(),
        click.Option(["--epochs"], type=click.IntRange(min=1), help="How many epochs the run would train."),
        click.Option(["--accumulate"], type=click.IntRange(min=1), help="How many batches would make one step."),
        click.Option(["--format"], type=click.Choice(["text", "json"]), default="text", show_default=True),
    ]


def explain(run: ScriptRun) -> None:
    """Print the plan of the trainer as `fit train` runs it, and what plugins say of such a run."""
    from fit_core.explain import as_text, explained, said_of_run
    from fit_core.saving import SaveLast

    trainer = run.trainer
    for name in ("epochs", "accumulate"):
        if run.values[name] is not None:
            setattr(trainer, name, run.values[name])
    trainer.use([SaveLast()])  # as fit train does
    hooks = explained(trainer.hooks)
    with trainer:
        said = said_of_run(trainer)
    if run.values["format"] == "json":
        actors = {actor["plugin"]: actor for hook in reversed(hooks) for actor in hook["actors"]}  # the first one of each plugin
        for name, lines in said.items():
            actors[name]["said"] = lines
        click.echo(json.dumps(hooks, indent=2))
    else:
        click.echo(as_text(hooks, said))


command = ScriptGroup("explain", "Show who acts at every hook of SCRIPT's trainer.", explain, explain_options)

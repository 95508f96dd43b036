"""`fit hooks [NAME]`: the drawing of the loop, or one hook in full."""

from __future__ import annotations

import inspect
from typing import Any

import click

from fit_core import hookspecs
from fit_core.entrypoints import offered_specs
from fit_core.errors import FitError, did_you_mean
from fit_core.hookspecs import SPECS, arguments_of


@click.command("hooks")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Show every hook in the order of the loop, or hook NAME in full."""
    if name is None:
        click.echo((inspect.getdoc(hookspecs) or "").replace("```text\n", "").replace("```\n", ""))
        for owner, theirs in offered_specs().items():
            click.echo(f"\nOf plugin {owner!r}: {', '.join(theirs)}")
        return
    specs: dict[str, Any] = {**SPECS, **{key: function for theirs in offered_specs().values() for key, function in theirs.items()}}
    if name not in specs:
        raise FitError(f"there is no hook {name!r}{did_you_mean(name, specs) or '; fit hooks lists them'}")
    arguments = ", ".join(arguments_of(specs[name]))
    click.echo(f"{name}({arguments})  ({specs[name].fit_kind})\n\n{inspect.getdoc(specs[name])}")

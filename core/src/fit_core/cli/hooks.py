"""`fit hooks [NAME]`: the drawing of the loop, or one hook in full."""

from __future__ import annotations

import inspect

import click

from fit_core import hookspecs
from fit_core.errors import FitError, did_you_mean


@click.command("hooks")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Show every hook in the order of the loop, or hook NAME in full."""
    if name is None:
        click.echo((inspect.getdoc(hookspecs) or "").replace("```text\n", "").replace("```\n", ""))
        return
    specs = {key: function for key, function in vars(hookspecs).items() if hasattr(function, "fit_kind")}
    if name not in specs:
        raise FitError(f"there is no hook {name!r}{did_you_mean(name, specs) or '; fit hooks lists them'}")
    arguments = ", ".join(inspect.signature(specs[name]).parameters)
    click.echo(f"{name}({arguments})  ({specs[name].fit_kind})\n\n{inspect.getdoc(specs[name])}")

"""`fit plugins [NAME]`: what is installed, read from metadata; or one plugin in full."""

from __future__ import annotations

import inspect
from typing import Any

import click

from fit_core.entrypoints import PLUGINS, Catalog, distribution, load


@click.command("plugins")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the installed plugins, or show the options and hooks of plugin NAME."""
    catalog = Catalog(PLUGINS)
    if name is None:
        width = max(map(len, catalog.names), default=0)
        for point in sorted(catalog, key=lambda p: (distribution(p), p.name)):
            click.echo(f"{point.name:{width}}  {distribution(point)}")
        return
    point = catalog.find(name)
    factory = load(point)
    click.echo(f"{name}  ({distribution(point)})\n\n{inspect.getdoc(factory) or ''}\n")
    click.echo("\n".join(options_of(factory)))
    if inspect.isclass(factory):
        hooks = [key for key, value in inspect.getmembers(factory) if hasattr(value, "fit_impl")]
        click.echo(f"Hooks: {', '.join(hooks)}")


def options_of(factory: Any) -> list[str]:
    """Return a line for each option of a plugin: `-p name:key=value`."""
    from fit_core.options import describe, keywords, takes_any_keyword, type_hints

    parameters, hints = keywords(factory), type_hints(factory)
    if not parameters:
        return ["Options: none"]
    return (
        ["Options:"]
        + [
            f"    {key}: {describe(hints.get(key, Any))}" + ("" if p.default is p.empty else f" (default {p.default})")
            for key, p in parameters.items()
        ]
        + ["    and further options, see above"] * takes_any_keyword(factory)
    )

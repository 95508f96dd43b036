"""`fit metrics [NAME]`: the metrics that have names, read from metadata; or one of them in full."""

from __future__ import annotations

import inspect

import click

from fit_core.entrypoints import METRICS, Catalog, distribution, load


@click.command("metrics")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the metrics that `metrics=["..."]` knows by name, or describe metric NAME."""
    catalog = Catalog(METRICS)
    if name is None:
        rows = {"accuracy": "fit-core", "loss": "fit-core"} | {point.name: distribution(point) for point in catalog}
        width = max(map(len, rows))
        for each in sorted(rows, key=lambda each: (rows[each], each)):
            click.echo(f"{each:{width}}  {rows[each]}")
        return
    if name == "loss" and name not in catalog:
        click.echo("loss  (fit-core)\n\nThe mean loss of a pass, which is in every row.")
        return
    from fit_core.metric_list import MetricList, directions_of

    metric = MetricList().metric(name)
    point = catalog.find(name) if name in catalog else None
    found = load(point) if point else type(metric)
    click.echo(f"{name}  ({distribution(point) if point else 'fit-core'})\n\n{inspect.getdoc(found) or ''}\n")
    words = {True: "more is better", False: "less is better", None: "neither more nor less is better"}
    click.echo("\n".join(["Values:", *(f"    {value}: {words[more]}" for value, more in directions_of(metric).items())]))

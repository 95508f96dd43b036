"""`fit new-plugin NAME`: a package for a plugin, which installs and passes its own tests at once."""

from __future__ import annotations

import shlex
from pathlib import Path

import click


@click.command("new-plugin")
@click.argument("name")
@click.option("--hook", "hooks", multiple=True, metavar="HOOK", help="A hook that the class has from the start; several times for several.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="PATH",
    help="Where fit-NAME is made.  [default: here]",
)
def command(name: str, hooks: tuple[str, ...], folder: Path) -> None:
    """Write a package fit-NAME with plugin NAME, a small one that works: it counts samples and stops a run that has seen enough.

    It is installed with pip, passes its own tests, and is there to be changed.
    """
    from fit_tools.packaging import checked_name, contents, write

    package = write(folder, name, contents(checked_name(name), hooks))
    at = shlex.quote(str(package))
    click.echo(f"{package}: a package with plugin {name!r}\n")
    for said, line in (
        ("install", f"pip install -e {shlex.quote(f'{package}[test]')}"),
        ("test", f"pytest {at}"),
        ("use", f"fit train script.py -p {name}:limit=10000"),
    ):
        click.echo(f"    {said:8} {line}")
    click.echo("\nThen change what it does; `fit hooks` draws every hook. It has no license yet: its README.md says how to give it one.")

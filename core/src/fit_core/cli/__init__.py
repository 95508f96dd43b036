"""The command `fit`. Its commands are imported when they are called, so that `fit --help` needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

import click

from fit_core.cli import traces
from fit_core.entrypoints import COMMANDS as GROUP
from fit_core.entrypoints import KNOWN_COMMANDS, Catalog, distribution, load
from fit_core.errors import FitError, Interrupted, did_you_mean, listed

COMMANDS = {
    "train": "train",
    "evaluate": "evaluate",
    "predict": "predict",
    "explain": "explain",
    "plugins": "plugins",
    "metrics": "metrics",
    "hooks": "hooks",
}
"""Each command by name, and the module in this package that has it as `command`."""


class LazyGroup(click.Group):
    """A group whose commands are imported on demand: fit's own, and those of other packages in `fit.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(name for name in Catalog(GROUP).names if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        if name in COMMANDS:
            command: click.Command = import_module(f"fit_core.cli.{COMMANDS[name]}").command
            return command
        catalog = Catalog(GROUP)
        if name not in catalog:
            known = self.list_commands(ctx)
            brings = f"; try: pip install {KNOWN_COMMANDS[name]}" if name in KNOWN_COMMANDS else did_you_mean(name, known)
            raise FitError(f"there is no command {name!r} (commands: {listed(known)}){brings}")
        point = catalog.find(name)
        loaded = load(point)
        if not isinstance(loaded, click.Command):
            raise FitError(f"{name!r} of {distribution(point)} is no click command, but {type(loaded).__name__}")
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; of other packages' ones only what their metadata says."""
        catalog = Catalog(GROUP)
        described = [(name, self.get_command(ctx, name).get_short_help_str(limit=100)) for name in COMMANDS]
        offered: dict[str, list[str]] = {}
        for point in catalog:
            offered.setdefault(point.name, []).append(distribution(point))
        described += [(name, f"from {' and from '.join(offered[name])}") for name in self.list_commands(ctx)[len(COMMANDS) :]]
        with formatter.section("Commands"):
            formatter.write_dl(described)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("fit-core"), prog_name="fit")
@click.option(traces.FULL, is_flag=True, help="Show every frame of a traceback, those of fit too; anywhere on the command line.")
def cli(full_trace: bool) -> None:
    """Train PyTorch models with plugins.

    fit train script.py --plugins logging,schedulers
    """
    del full_trace  # taken out of the words before they get here: see main


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: the one place where errors become codes.

    0: done. 1: the run failed. 2: the command was wrong. 130 and 143: interrupted.
    """
    words = [word for word in (sys.argv[1:] if arguments is None else arguments) if word != traces.FULL]
    try:
        with cli.make_context("fit", list(words), obj=["fit", *words]) as context:
            cli.invoke(context)
    except FitError as error:
        click.echo(f"fit: {error}", err=True)
        return error.exit_code
    except click.exceptions.Exit as error:  # of --help and --version
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        asked = error.ctx.command_path if error.ctx else "fit"
        click.echo(f"fit: {error.format_message()} See: {asked} --help", err=True)
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"fit: {error.format_message()}", err=True)
        return error.exit_code
    except Interrupted as error:
        click.echo(f"fit: {error}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nfit: interrupted", err=True)
        return 130
    return 0


def console_script(arguments: Sequence[str] | None = None) -> None:
    """Be the console script `fit`: run the command line and end the process with its code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if traces.FULL not in words:
        sys.excepthook = traces.print_short
    sys.exit(main(words))

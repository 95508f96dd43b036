"""The command `fit`. Its commands are imported when they are called, so that `fit --help` needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version

import click

from fit_core.errors import FitError, did_you_mean, listed

COMMANDS = {
    "train": "train",
    "explain": "explain",
    "plugins": "plugins",
    "hooks": "hooks",
}
"""Each command by name, and the module in this package that has it as `command`."""


class LazyGroup(click.Group):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            raise FitError(f"there is no command {name!r} (commands: {listed(COMMANDS)}){did_you_mean(name, COMMANDS)}")
        command: click.Command = import_module(f"fit_core.cli.{COMMANDS[name]}").command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("fit-core"), prog_name="fit")
def cli() -> None:
    """Train PyTorch models with plugins.

    fit train script.py --plugins logging,schedulers
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: the one place where errors become codes.

    0: done. 1: the run failed. 2: the command was wrong. 130: interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = cli.main(words, prog_name="fit", standalone_mode=False, obj=["fit", *words])
    except FitError as error:
        click.echo(f"fit: {error}", err=True)
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
    except click.Abort:
        click.echo("fit: interrupted", err=True)
        return 130
    return code if isinstance(code, int) else 0


def console_script() -> None:
    """Be the console script `fit`."""
    sys.exit(main())

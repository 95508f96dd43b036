"""Commands that work on a script: `fit COMMAND script.py`, with the script's own options beside fit's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fit_core.cli.runs import to_resume
from fit_core.docstring import argument_help, summary
from fit_core.errors import FitError
from fit_core.options import NATIVE, as_text, convert, describe, keywords, split_commas, type_hints
from fit_core.script import build, builder_of, load_script
from fit_core.settings import plugin_settings

if TYPE_CHECKING:
    from fit_core.checkpoint import Checkpoint
    from fit_core.trainer import Trainer


@dataclass
class ScriptRun:
    """A script with the options it was called with.

    Attributes:
        path: of the script.
        trainer: what its `build_trainer` returned, with the plugins of the command line.
        command: the words of the command line.
        options: of the script, converted.
        items: the plugins of the command line, or of the checkpoint.
        values: of fit's own options, by name.
        checkpoint: that of `--checkpoint` or `--resume`, verified.
    """

    path: Path
    trainer: Trainer
    command: list[str]
    options: dict[str, Any]
    items: list[str]
    values: dict[str, Any]
    checkpoint: Checkpoint | None


class Hint(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """An option of the script, converted by its type hint."""

    def __init__(self, hint: Any) -> None:
        self.hint = hint
        self.name = describe(hint)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert text by the type hint."""
        try:
            return convert(value, self.hint, "it")
        except FitError as error:
            self.fail(str(error), param, ctx)


class ScriptGroup(click.Group):
    """A command whose argument is a script: its options are fit's and the script's in one parse.

    Args:
        action: called with the loaded script.
        fit_options: makes fit's own options for this command.
    """

    def __init__(self, name: str, help: str, action: Callable[[ScriptRun], None], fit_options: Callable[[], list[click.Option]]) -> None:
        super().__init__(name, help=help, subcommand_metavar="SCRIPT [OPTIONS]", no_args_is_help=True)
        self.action = action
        self.fit_options = fit_options

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Say where the script's name belongs."""
        if args and args[0].startswith("-") and args[0] not in ("-h", "--help"):
            raise FitError(f"the script comes first: {ctx.command_path} SCRIPT [OPTIONS]")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str, click.Command, list[str]]:
        """Load the script and make a command of it."""
        path, rest = Path(args[0]), args[1:]
        seed, checkpoint = self.peek(path, rest)
        if seed is not None:
            _seed(seed)
        return str(path), self.script_command(path, load_script(path), seed, checkpoint), rest

    def peek(self, script: Path, arguments: list[str]) -> tuple[int | None, Checkpoint | None]:
        """Read what must be known before the script is imported: the seed, which is drawn if nobody gives it, and the checkpoint."""
        known = [option for option in self.fit_options() if option.name in ("seed", "checkpoint", "resume", "run_dir")]
        settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
        values = (
            click.Command("peek", params=[*known], context_settings=settings)
            .make_context("peek", list(arguments), resilient_parsing=True)
            .params
        )
        checkpoint = _find(values["checkpoint"]) if values.get("checkpoint") else None
        if values.get("resume") is not None:
            checkpoint = to_resume(script, values["resume"], arguments, values["run_dir"])
        for said in checkpoint.skipped if checkpoint else ():
            click.echo(f"fit: skipped: {said}", err=True)
        if "seed" not in values:
            return None, checkpoint
        past = _past(checkpoint).get("seed")
        seed = values["seed"] if values["seed"] is not None else past
        return _draw_seed() if seed is None else seed, checkpoint

    def script_command(self, path: Path, module: ModuleType, seed: int | None, checkpoint: Checkpoint | None) -> click.Command:
        """Make a command with fit's options and the script's; what a checkpoint was made with are its defaults."""
        builder = builder_of(module)
        own = self.fit_options()
        fits = {option.name for option in own if option.name}
        past = _past(checkpoint)
        shared = fits & SHARED
        saved = past.get("options", {})
        theirs = script_options(builder, own, saved)

        def callback(**values: Any) -> None:
            ours = {name: values[name] for name in fits}
            ours |= {name: value for name, value in past.get("fit", {}).items() if not given(name)}
            options = {name: values[name] for name in keywords(builder) if (name in shared or name not in fits) and given(name)}
            options = past_options(builder, saved, options) | options
            if seed is not None:
                ours["seed"] = seed
                options |= {"seed": seed} if "seed" in keywords(builder) else {}
            trainer = build(builder, options)
            trainer.quiet = trainer.quiet or values.get("quiet", False)
            if seed is not None:
                trainer.seeded(seed, given("seed"))
            written = [*split_commas(values["plugins"]), *values["plugin"]]
            items = written if given("plugins") or given("plugin") else past.get("items", [])
            trainer.use([*own_hooks(module, trainer), *items], plugin_settings(path.resolve().parent))
            command = click.get_current_context().find_root().obj
            kept = readable_defaults(builder, shared) | options
            self.action(ScriptRun(path, trainer, command, kept, items, ours, checkpoint))

        return click.Command(str(path), params=[*own, *theirs], callback=callback, help=summary(builder) or None)


def _past(checkpoint: Checkpoint | None) -> Mapping[str, Any]:
    """Return how the run was started that a checkpoint comes from."""
    return {} if checkpoint is None else checkpoint.manifest["run"] or {}


def _find(path: Path) -> Checkpoint:
    from fit_core.checkpoint import find_checkpoint  # imports torch

    return find_checkpoint(path)


def given(name: str) -> bool:
    """Whether an option was written on the command line."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


SHARED = frozenset({"seed", "epochs", "accumulate", "run_dir", "limit_batches", "quiet"})
"""Options of fit that a parameter of `build_trainer` with their name receives."""


def script_options(builder: Callable[..., Any], fits: list[click.Option], past: Mapping[str, Any]) -> list[click.Option]:
    """Make an option of every keyword parameter of `build_trainer` that fit does not know itself.

    Args:
        builder: `build_trainer`; a parameter without a default is a required option.
        fits: fit's own options.
        past: the values that a checkpoint was made with, which are the defaults.

    Raises:
        FitError: the checkpoint was made with an option that there is no longer, or an option would be fit's too.
    """
    hints, described, parameters = type_hints(builder), argument_help(builder), keywords(builder)
    gone = [name for name in past if name not in parameters]
    if gone:
        raise FitError(f"the checkpoint was made with the option {gone[0]!r}, which build_trainer has no longer")
    flags = {flag for option in fits for flag in (*option.opts, *option.secondary_opts)} | {"--help"}
    options = []
    for name, parameter in parameters.items():
        if name in {option.name for option in fits}:
            continue
        default = past.get(name, parameter.default)
        hint = hint_of(parameter, hints)
        flag = f"--{name.replace('_', '-')}"
        mine = [flag, f"--no-{flag[2:]}"] if hint is bool else [flag]
        for one in mine:
            if one in flags:
                raise FitError(f"the parameter {name!r} of build_trainer makes the option {one}, which is fit's; rename it")
        required = default is parameter.empty
        shown = "" if required or default is None else f" [default: {as_text(default)}]"
        kind = None if hint is bool else Hint(hint)
        options.append(click.Option([name, "/".join(mine)], type=kind, required=required, help=described.get(name, "") + shown))
    return options


def hint_of(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    """Return the type hint of a parameter; without one, the type of its default."""
    guessed = Any if parameter.default in (None, parameter.empty) else type(parameter.default)
    return hints.get(parameter.name, guessed)


def past_options(builder: Callable[..., Any], past: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a checkpoint was made with, as values, but for those that are given now."""
    hints, parameters = type_hints(builder), keywords(builder)
    return {
        name: convert(value, hint_of(parameters[name], hints), f"option {name!r} of the checkpoint")
        for name, value in past.items()
        if name not in given
    }


def readable_defaults(builder: Callable[..., Any], fits: frozenset[str] | set[str]) -> dict[str, Any]:
    """Return the defaults of a script's own parameters, as far as text can hold them: what was run is kept, even if they change."""
    hints, kept = type_hints(builder), {}
    for name, parameter in keywords(builder).items():
        value = parameter.default
        if name in fits or value is parameter.empty:
            continue
        try:
            same = type(value) in NATIVE or convert(as_text(value), hint_of(parameter, hints), name) == value
        except FitError:
            continue
        if same:
            kept[name] = value
    return kept


def own_hooks(module: ModuleType, trainer: Trainer) -> list[Any]:
    """Return the plugin `script` with the hooks a script defines, if it defines some that are no plugins already.

    Raises:
        FitError: a function of the script is named like a hook and has no `@hookimpl`.
    """
    from fit_core.hookspecs import SPECS
    from fit_core.naming import FunctionPlugin, ScriptPlugin
    from fit_core.validate import check_unmarked

    check_unmarked(module, f"script {Path(str(module.__file__)).name}", SPECS)
    taken = [value for plugin in trainer.plugins.values() if isinstance(plugin, FunctionPlugin) for value in vars(plugin).values()]
    plugin = ScriptPlugin(module, taken)
    return [plugin] if vars(plugin) else []


def seed_option() -> click.Option:
    """Make the option for the seed."""
    return click.Option(
        ["--seed"], type=click.IntRange(min=0, max=2**63 - 1), help="Seed of all random numbers; drawn and recorded if not given."
    )


def weights_options() -> list[click.Option]:
    """Make the options of commands that use what was trained."""
    return [
        click.Option(
            ["--checkpoint"],
            type=click.Path(path_type=Path),
            help="Weights to use, and script options and plugins unless given: a checkpoint's folder, a pointer such as "
            "checkpoints/last, or a run folder.",
        ),
        click.Option(["--data"], type=click.Choice(["test", "val", "train"]), default="test", show_default=True, help="Which data to use."),
        click.Option(["--limit-batches"], type=click.IntRange(min=1), help="How many batches to use at most."),
        seed_option(),
    ]


def plugin_options() -> list[click.Option]:
    """Make the options that choose plugins."""
    return [
        click.Option(["--plugins"], default="", metavar="NAMES", help="Plugins by name, separated by commas."),
        click.Option(
            ["-p", "--plugin"],
            multiple=True,
            metavar="SPEC",
            help="One plugin with options: name:key=value,key=value; alias=name:...; no:name takes one away.",
        ),
    ]


def _draw_seed() -> int:
    import secrets

    return secrets.randbelow(2**31)


def _seed(seed: int) -> None:
    from fit_core.modes import set_seed

    set_seed(seed)

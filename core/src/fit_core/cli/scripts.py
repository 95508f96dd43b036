"""Commands that work on a script: `fit COMMAND script.py`, with the script's own options beside fit's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fit_core.errors import FitError
from fit_core.options import convert, describe, keywords, split_commas, type_hints
from fit_core.script import argument_help, build, builder_of, load_script
from fit_core.settings import plugin_settings

if TYPE_CHECKING:
    from fit_core.trainer import Trainer


@dataclass
class ScriptRun:
    """A script with the options it was called with.

    Attributes:
        path: of the script.
        trainer: what its `build_trainer` returned, with the plugins of the command line.
        command: the words of the command line.
        options: of the script, converted.
        values: of fit's own options, by name.
    """

    path: Path
    trainer: Trainer
    command: list[str]
    options: dict[str, Any]
    values: dict[str, Any]


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

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str, click.Command, list[str]]:
        """Load the script and make a command of it."""
        path, rest = Path(args[0]), args[1:]
        given = self.peek(rest)
        if given.get("seed") is not None:
            _seed(given["seed"])
        return str(path), self.script_command(path, load_script(path), given.get("seed")), rest

    def peek(self, arguments: list[str]) -> dict[str, Any]:
        """Read the options that must be known before the script is imported: the seed, drawn if it is not given."""
        if not any(option.name == "seed" for option in self.fit_options()):
            return {}
        settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
        seed_option = next(option for option in self.fit_options() if option.name == "seed")
        command = click.Command("peek", params=[seed_option], context_settings=settings)
        seed = command.make_context("peek", list(arguments), resilient_parsing=True).params["seed"]
        return {"seed": _draw_seed() if seed is None else seed}

    def script_command(self, path: Path, module: ModuleType, seed: int | None) -> click.Command:
        """Make a command with fit's options and the script's."""
        builder = builder_of(module)
        own = self.fit_options()
        fits = {option.name for option in own if option.name}
        theirs = script_options(builder, fits)

        def callback(**values: Any) -> None:
            options = {name: values[name] for name in keywords(builder) if name in values and (name not in fits or given(name))}
            if seed is not None:
                values["seed"] = seed
                options |= {"seed": seed} if "seed" in keywords(builder) else {}
            trainer = build(builder, options)
            trainer.quiet = trainer.quiet or values.get("quiet", False)
            if seed is not None:
                trainer.seeded(seed)
            items = [*split_commas(values["plugins"]), *values["plugin"]]
            trainer.use([*own_hooks(module, trainer), *items], plugin_settings(path.resolve().parent))
            command = click.get_current_context().find_root().obj
            self.action(ScriptRun(path, trainer, command, options, {name: values[name] for name in fits}))

        text = inspect.getdoc(builder) or ""
        return click.Command(str(path), params=[*own, *theirs], callback=callback, help=text.split("Args:")[0] or None)


def given(name: str) -> bool:
    """Whether an option was written on the command line."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def script_options(builder: Callable[..., Any], taken: set[str]) -> list[click.Option]:
    """Make an option of every keyword parameter of `build_trainer` that fit does not know itself.

    Raises:
        FitError: a parameter has no default.
    """
    hints, described = type_hints(builder), argument_help(builder)
    options = []
    for name, parameter in keywords(builder).items():
        if name in taken:
            continue
        if parameter.default is parameter.empty:
            raise FitError(f"build_trainer needs a default value for {name!r}, so that it can be an option")
        hint = hints.get(name, type(parameter.default) if parameter.default is not None else Any)
        flag = f"--{name.replace('_', '-')}"
        said = {"help": described.get(name), "default": parameter.default, "show_default": True}
        if hint is bool:
            options.append(click.Option([f"{flag}/--no-{flag[2:]}"], **said))
        else:
            options.append(click.Option([flag], type=Hint(hint), **said))
    return options


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

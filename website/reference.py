"""The reference of the site, made from what it describes: pages as markdown, by their path on the site.

python website/reference.py prints the paths and their sizes.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import click

from fit_core import hookspecs
from fit_core.cli import cli
from fit_core.cli.scripts import ScriptGroup
from fit_core.docstring import argument_help, summary
from fit_core.entrypoints import METRICS, PLUGINS, Catalog, load, offered_specs
from fit_core.hookspecs import SPECS, arguments_of
from fit_core.metric_list import MetricList, directions_of
from fit_core.options import describe, keywords, takes_any_keyword, type_hints

ROOT = Path(__file__).parent.parent
API = (
    *("fit_core", "fit_core.testing", "fit_core.items", "fit_checkpoint", "fit_device", "fit_gan", "fit_logging", "fit_metrics"),
    *("fit_optim", "fit_schedulers", "fit_vis"),
)
"""Modules whose public names are in the reference of the API: their `__all__`, or what they define."""
DIRECTIONS = {True: "more is better", False: "less is better", None: "neither"}


def pages() -> dict[str, str]:
    """Return every page of the reference."""
    return {
        "reference/hooks.md": hooks(),
        "reference/commands.md": commands(),
        "reference/plugins.md": plugins(),
        "reference/metrics.md": metrics(),
        **{f"reference/api/{module}.md": api(module) for module in API},
        "performance.md": performance(ROOT / "benchmarks" / "results"),
    }


# ---------------------------------------------------------------------------------------------------- hooks


def hooks() -> str:
    """Describe every hook, in call order, and those that packages bring."""
    kinds = "A *stage* does a piece of the work, a *decision* answers a question, a *notice* tells; *closing* notices reach every plugin."
    parts = ["# Hooks", f"Made from their specifications; `fit hooks` prints the same. {kinds}", drawing()]
    parts += [hook(name, spec) for name, spec in SPECS.items()]
    for owner, specs in offered_specs().items():
        parts += [f"## Of the plugin `{owner}`", *(hook(name, spec, level=3) for name, spec in specs.items())]
    return "\n\n".join(parts)


def drawing() -> str:
    """Return the drawing of the loop, as a block with small letters."""
    found = re.search(r"```text\n.*?```", inspect.getdoc(hookspecs) or "", re.DOTALL)
    if found is None:
        raise ValueError("hookspecs.py has no drawing")
    return f'<div class="wide" markdown>\n\n{found[0]}\n\n</div>'


def hook(name: str, spec: Callable[..., Any], level: int = 2) -> str:
    """Describe a hook."""
    kind = spec.fit_kind  # type: ignore[attr-defined]
    return f"{'#' * level} {name}\n\n`{name}({', '.join(arguments_of(spec))})` · {kind}\n\n{as_markdown(inspect.getdoc(spec) or '')}"


# ---------------------------------------------------------------------------------------------------- command line


def commands() -> str:
    """Describe every command with its options."""
    context = click.Context(cli, info_name="fit")
    return "\n\n".join(["# The command line", *command(cli, context, level=2)])


def command(it: click.Command, context: click.Context, level: int) -> Iterator[str]:
    """Describe a command, and then those below it."""
    yield f"{'#' * level} {context.command_path}"
    yield f"```text\n{context.command_path} {' '.join(it.collect_usage_pieces(context))}\n```"
    if it.help:
        yield plain(inspect.cleandoc(it.help.replace("\b", "")))
    is_script = isinstance(it, ScriptGroup)
    if is_script:
        yield "The parameters of the script's `build_trainer` are options too."
    options = [*(it.fit_options() if isinstance(it, ScriptGroup) else ()), *it.get_params(context)]
    records = [record for option in options if (record := option.get_help_record(context))]
    yield table(("option", "what it does"), ((f"`{flags.replace(' RANGE', '')}`", plain(text)) for flags, text in records))
    if isinstance(it, click.Group) and not is_script:
        for name in it.list_commands(context):
            below = it.get_command(context, name)
            if below and not below.hidden:
                yield from command(below, click.Context(below, info_name=name, parent=context), level=min(level + 1, 3))


# ---------------------------------------------------------------------------------------------------- plugins and metrics


def plugins() -> str:
    """Describe every installed plugin by package, with its options."""
    said = "By package; `fit plugins NAME` prints the same. On the command line an option is `-p name:key=value`, in Python an argument."
    parts = ["# Plugins", said]
    for package, points in by_package(Catalog(PLUGINS)).items():
        parts += [f"## {package}", *(plugin(point) for point in points)]
    return "\n\n".join(parts)


def plugin(point: EntryPoint) -> str:
    """Describe a plugin: what it is for, its options, its hooks."""
    factory = load(point)
    hints, said = type_hints(factory), argument_help(factory)
    rows = [
        (f"`{name}`", plain(describe(hints.get(name, Any))), "" if p.default is p.empty else f"`{p.default}`", plain(said.get(name, "")))
        for name, p in keywords(factory).items()
    ]
    more = "It takes further options, see above." if takes_any_keyword(factory) else ""
    heard = [key for key, value in inspect.getmembers(factory) if hasattr(value, "fit_impl")] if inspect.isclass(factory) else []
    acts = f"Hooks: {', '.join(f'[`{name}`](hooks.md#{name})' for name in heard)}" if heard else ""
    parts = (f"### {point.name}", plain(summary(factory)), table(("option", "type", "default", "what it says"), rows), more, acts)
    return "\n\n".join(filter(None, parts))


def metrics() -> str:
    """Describe every metric that has a name."""
    parts = ["# Metrics", 'What `metrics=["..."]` knows by name; `fit metrics NAME` prints the same.']
    for package, points in by_package(Catalog(METRICS)).items():
        parts += [f"## {package}", *(metric(point) for point in points)]
    return "\n\n".join(parts)


def metric(point: EntryPoint) -> str:
    """Describe a metric and the values it gives."""
    found = load(point)
    values = table(
        ("value", ""), ((f"`{value}`", DIRECTIONS[more]) for value, more in directions_of(MetricList().metric(point.name)).items())
    )
    options = table(("option", "what it says"), ((f"`{name}`", plain(said)) for name, said in argument_help(found).items()))
    return "\n\n".join(filter(None, (f"### {point.name}", plain(summary(found)), options, values)))


def by_package(catalog: Catalog) -> dict[str, list[EntryPoint]]:
    """Return entry points by the name of their distribution, both in alphabetical order."""
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(catalog, key=lambda point: (point.dist.name if point.dist else "", point.name)):
        found.setdefault(point.dist.name if point.dist else "", []).append(point)
    return found


# ---------------------------------------------------------------------------------------------------- API


def api(module: str) -> str:
    """Refer mkdocstrings to every public name of a module."""
    imported = import_module(module)
    first = (inspect.getdoc(imported) or "").split("\n\n")[0].removeprefix(f"{module.replace('_', '-')}: ")
    homes = (f"::: {home(imported, name)}" for name in public(imported))
    return "\n\n".join([f"# {module}", plain(first[:1].upper() + first[1:]), *homes])


def public(module: Any) -> list[str]:
    """Return the public names of a module."""
    own = [name for name, it in vars(module).items() if not name.startswith("_") and getattr(it, "__module__", "") == module.__name__]
    return sorted(getattr(module, "__all__", own), key=str.lower)


def home(module: Any, name: str) -> str:
    """Return where a name is defined, with its module."""
    it = getattr(module, name)
    if inspect.isclass(it) or inspect.isfunction(it):
        return f"{it.__module__}.{name}"
    return ".".join(filter(None, (module.__name__, getattr(module, "_HOMES", {}).get(name), name)))


# ---------------------------------------------------------------------------------------------------- performance


def performance(folder: Path) -> str:
    """Show the figures that benchmarks have written, with what they were measured on."""
    parts = ["# Performance", MEASURED]
    for file in sorted(folder.glob("*.json")):
        result = json.loads(file.read_text())
        told = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        program = f"[`python benchmarks/{file.stem}.py`](benchmarks/{file.stem}.md)"
        where = f"Measured on {result['date']} on {result['machine']}, with {told}: {program}."
        parts += [f"## {result['title']}", plain(result["about"]), where, *figures(result)]
    return "\n\n".join(parts)


def figures(result: Mapping[str, Any]) -> Iterator[str]:
    """Show the figures of one program: a table, and a picture and links to sources where it names them."""
    if "columns" in result:
        yield table((result["unit"], *result["columns"]), ((name, *cells) for name, cells in result["rows"].items()))
    else:
        yield table(("", result["unit"]), result["rows"].items())
    if "picture" in result:
        yield f"![{result['title']}]({result['picture']})"
    if "sources" in result:
        links = (f"[`{Path(source).stem}`]({source.removesuffix('.py')}.md)" for source in result["sources"])
        yield f"What each of them runs: {', '.join(links)}."


MEASURED = """Nobody has typed these figures: the programs in `benchmarks/` write them under `--keep`. They are of one machine on one day;
`nox -s bench` takes them anew on yours. What must not depend on a machine is a test: `tests/test_cost.py` counts calls, and reads of the
device, per step.

Further figures stand beside what they are of: [logging](logging.md#what-it-costs), [metrics](metrics.md) and [device](device.md)."""


# ---------------------------------------------------------------------------------------------------- words


def as_markdown(docstring: str) -> str:
    """Turn a docstring in Google style into markdown: its sections become lists and bold words."""
    text = re.sub(r"^(Default|Returns): ", r"**\1:** ", docstring, flags=re.MULTILINE)
    text = re.sub(r"^(Args|Raises):\n", r"**\1:**\n\n", text, flags=re.MULTILINE)
    return re.sub(r"^    (\w+): ", r"- `\1`: ", text, flags=re.MULTILINE)


def plain(text: str) -> str:
    """Escape what markdown would take for markup, outside of code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_\[\]])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table; an empty text if there are no rows."""
    head = tuple(head)
    lines = [" | ".join(str(cell).replace("\n", " ").replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in (" | ".join(head), " | ".join("---" for _ in head), *lines)) if lines else ""


def sizes(made: Mapping[str, str]) -> str:
    """Return a line for each page."""
    return "\n".join(f"{len(text):7}  {path}" for path, text in made.items())


if __name__ == "__main__":
    print(sizes(pages()))

"""In what runs differ."""

from __future__ import annotations

from collections.abc import Sequence

from fit_tools.found import Found

PLUGINS = "plugins"
SEED = "seed"


def options_of(run: Found) -> dict[str, str]:
    """Return what can differ between runs of one script: its options, those of plugins, which plugins there are, and the seed."""
    own = {SEED: str(run.manifest["seed"])} if "seed" in run.manifest else {}
    return {**run.options, PLUGINS: ",".join(run.plugins), **own} if run.manifest else {}


def differing(runs: Sequence[Found]) -> list[str]:
    """Return the options in which runs of the same script differ, in the order of the manifests; the seed is last.

    What only tells one script from another is no difference: a run of the one has no options of the other. Neither are options of
    a plugin that a run has not got: `PLUGINS` says so.
    """
    names = dict.fromkeys(name for run in runs for name in options_of(run))
    scripts: dict[str, list[Found]] = {}
    for run in runs:
        if run.manifest:
            scripts.setdefault(run.script, []).append(run)
    differ = [name for name in names if any(len(values_of(group, name)) > 1 for group in scripts.values())]
    return sorted(differ, key=lambda name: (name == SEED, name == PLUGINS))


def values_of(runs: Sequence[Found], name: str) -> set[str | None]:
    """Return the values of an option, None for runs that could have it and have not."""
    plugin, dot, _ = name.partition(".")
    return {options_of(run).get(name) for run in runs if not dot or plugin in run.plugins}


def shown(runs: Sequence[Found], name: str) -> list[str]:
    """Return an option of each run as text; of plugins only those that not all runs have."""
    if name != PLUGINS:
        return [options_of(run).get(name, "-") for run in runs]
    common = set.intersection(*(set(run.plugins) for run in runs if run.manifest))
    return [",".join(plugin for plugin in run.plugins if plugin not in common) or "-" for run in runs]

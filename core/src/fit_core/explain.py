"""The plan in words: read off the very functions that run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fit_core.errors import FitError
from fit_core.plan import DEFAULTS, Actor, HookPlan, Hooks

if TYPE_CHECKING:
    from fit_core.state import State
    from fit_core.trainer import Trainer


def explained(hooks: Hooks) -> list[dict[str, Any]]:
    """Return every hook in the order of the loop, with its actors in the order of their calls.

    Each actor has `plugin`, `how` ("wraps", "replaces", "default", "hears"), `when` (its cadences, as text), `distribution`
    and `source`. A hook has `conflict`: the plugins that replace the same stage, if more than one does.
    """
    return [
        {
            "hook": plan.name,
            "kind": plan.kind,
            "actors": [
                {
                    "plugin": actor.member.name,
                    "how": how(plan, actor),
                    "when": [str(gate) for gate in actor.gates],
                    "distribution": actor.member.distribution,
                    "source": source_of(actor),
                }
                for actor in plan.actors
            ],
            "conflict": conflict(plan),
        }
        for plan in hooks.plans.values()
    ]


def conflict(plan: HookPlan) -> list[str]:
    """Name the plugins that replace one stage, if there are several: all but the first are asked only if it has no result."""
    replacing = [actor.member.name for actor in plan.actors if how(plan, actor) == "replaces"]
    return replacing if len(replacing) > 1 else []


def how(plan: HookPlan, actor: Actor) -> str:
    """Say in one word what an implementation does."""
    if actor.wrapper:
        return "wraps"
    if plan.kind in ("notice", "closing"):
        return "hears"
    return "default" if actor.member.name == DEFAULTS else "replaces"


def source_of(actor: Actor) -> str:
    """Return `file:line` of an implementation; the file relative to the current folder if it is below it."""
    code = inspect.unwrap(actor.function).__code__
    file = Path(code.co_filename)
    here = Path.cwd()
    return f"{file.relative_to(here) if file.is_relative_to(here) else file}:{code.co_firstlineno}"


def said_of_run(trainer: Trainer) -> dict[str, list[str]]:
    """Return what plugins say of a run of the length that the trainer has, by name: what their method `explained` returns.

    Plugins are set up and optimizers made for it, if there is one that has something to say; nothing is trained.
    """
    speaking = {name: plugin for name, plugin in trainer.plugins.items() if hasattr(plugin, "explained")}
    if not speaking:
        return {}

    def said(plugin: Any, state: State) -> list[str]:
        try:
            lines: list[str] = plugin.explained(trainer, state)
        except FitError as error:
            return [f"no preview: {error}"]
        return lines

    try:
        with trainer.sized() as state:
            return {name: said(plugin, state) for name, plugin in speaking.items()}
    except FitError as error:
        return {name: [f"no preview: {error}"] for name in speaking}


def as_text(hooks: list[dict[str, Any]], said: Mapping[str, list[str]] = MappingProxyType({})) -> str:
    """Format for people: hooks with nobody but the core's default take one line; then what plugins say of the run."""
    names = [actor["plugin"] for hook in hooks for actor in hook["actors"]]
    width = max(map(len, names), default=0)
    lines = []
    for hook in hooks:
        acting = hook["actors"]
        if not acting:
            continue
        lines.append(f"{hook['hook']}  ({hook['kind']})")
        places = len(str(len(acting)))
        for i, a in enumerate(acting, 1):
            when = "".join(f"  [{when}]" for when in a["when"])
            lines.append(f"    {i:{places}}. {a['plugin']:{width}}  {a['how']:8}{when}  {a['distribution']}  {a['source']}")
        if hook["conflict"]:
            lines.append(f"    conflict: {' and '.join(hook['conflict'])} replace one stage; the first with a result wins")
    nobody = [hook["hook"] for hook in hooks if not hook["actors"]]
    runs = [line for name, several in said.items() for line in ("", name, *(f"    {one}" for one in several))]
    return "\n".join([*lines, "", "nobody: " + ", ".join(nobody), *runs])

"""The plan in words: read off the very functions that run."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from fit_core.plan import DEFAULTS, Actor, HookPlan, Hooks


def explained(hooks: Hooks) -> list[dict[str, Any]]:
    """Return every hook in the order of the loop, with its actors in the order of their calls.

    Each actor has `plugin`, `how` ("wraps", "replaces", "default", "hears"), `distribution` and `source`.
    """
    return [
        {
            "hook": plan.name,
            "kind": plan.kind,
            "actors": [
                {"plugin": a.member.name, "how": how(plan, a), "distribution": a.member.distribution, "source": source_of(a)}
                for a in plan.actors
            ],
        }
        for plan in hooks.plans.values()
    ]


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


def as_text(hooks: list[dict[str, Any]]) -> str:
    """Format for people: hooks with nobody but the core's default take one line."""
    names = [actor["plugin"] for hook in hooks for actor in hook["actors"]]
    width = max(map(len, names), default=0)
    lines = []
    for hook in hooks:
        acting = hook["actors"]
        if not acting:
            continue
        lines.append(f"{hook['hook']}  ({hook['kind']})")
        lines += [f"    {i}. {a['plugin']:{width}}  {a['how']:8}  {a['distribution']}  {a['source']}" for i, a in enumerate(acting, 1)]
    nobody = [hook["hook"] for hook in hooks if not hook["actors"]]
    return "\n".join([*lines, "", "nobody: " + ", ".join(nobody)])

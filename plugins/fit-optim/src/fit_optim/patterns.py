"""Parameters by shell patterns on their names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from torch import nn

from fit_core import FitError
from fit_core.errors import did_you_mean

if TYPE_CHECKING:
    from fit_core import Trainer

Patterns = str | list[str]
"""One pattern (`*.bias`), or several; `*` matches dots too."""


def named_parameters(trainer: Trainer) -> dict[str, nn.Parameter]:
    """Return every parameter: the model's as it names them, tied ones under each name, a loss's as `loss.NAME`."""
    found: dict[str, nn.Parameter] = {}
    for file, module in {"": trainer.model, **trainer.losses()}.items():
        prefix = file and f"{file}."
        found |= {f"{prefix}{name}": p for name, p in module.named_parameters(remove_duplicate=False)}
    return found


def named_modules(trainer: Trainer) -> dict[str, nn.Module]:
    """Return every module below the model and losses, named as their parameters are."""
    roots = {"": trainer.model, **trainer.losses()}
    return {".".join(filter(None, (root, name))): module for root, found in roots.items() for name, module in found.named_modules() if name}


def listed_patterns(patterns: Patterns | Sequence[str]) -> list[str]:
    """Return one pattern or several as a list."""
    return [patterns] if isinstance(patterns, str) else list(patterns)


def matching(trainer: Trainer, patterns: Patterns | Sequence[str]) -> dict[str, nn.Parameter]:
    """Return the parameters that match one of some patterns, each once, in the order of the model.

    Raises:
        FitError: a pattern matches none.
    """
    named, wanted = named_parameters(trainer), listed_patterns(patterns)
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise unmatched(pattern, list(named))
    once: dict[int, tuple[str, nn.Parameter]] = {}
    for name, p in named.items():
        if any(fnmatchcase(name, pattern) for pattern in wanted):
            once.setdefault(id(p), (name, p))
    return dict(once.values())


def unmatched(pattern: str, names: list[str]) -> FitError:
    """Return what to say of a pattern that matches no name."""
    inner = {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 1)}
    nearest = did_you_mean(pattern, [*names, *(f"{module}.*" for module in sorted(inner))])
    if not nearest:
        nearest = f" (there are {', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
    return FitError(f"no parameter is called {pattern!r}{nearest}")

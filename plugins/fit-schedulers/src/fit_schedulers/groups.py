"""Which parameter groups a schedule sets, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from fit_core import FitError, Update


def chosen_groups(who: str, update: Update, optimizer: Optimizer, chosen: Sequence[int | str] | None) -> list[dict[str, Any]]:
    """Return those parameter groups of an optimizer that were chosen.

    Args:
        who: what an error calls the plugin.
        update: whose groups are counted, over all its optimizers.
        optimizer: one of them.
        chosen: numbers, or values of the groups' key "name"; None: all.

    Raises:
        FitError: there is no such group.
    """
    if chosen is None:
        return list(optimizer.param_groups)
    every = all_groups(update)
    names = [group.get("name") for group in every]
    for which in chosen:
        if which not in names and not (isinstance(which, int) and 0 <= which < len(every)):
            known = [str(name) for name in names if name is not None]
            said = f", of the names {', '.join(known)}" if known else ""
            raise FitError(
                f"{who}: update {update.name!r} has no parameter group {which!r}: it has {len(every)}, from 0 to {len(every) - 1}{said}"
            )
    wanted = {id(every[which] if isinstance(which, int) else every[names.index(which)]) for which in chosen}
    return [group for group in optimizer.param_groups if id(group) in wanted]


def all_groups(update: Update) -> list[dict[str, Any]]:
    """Return the parameter groups of all optimizers of an update."""
    return [group for optimizer in update.optimizers for group in optimizer.param_groups]


def names_of_groups(update: Update, groups: Sequence[dict[str, Any]]) -> list[str]:
    """Return what a preview calls groups: `main`, or where there are several, `main 0`, `main 1`."""
    every = [id(group) for group in all_groups(update)]
    return [update.name if len(every) == 1 else f"{update.name} {group.get('name', every.index(id(group)))}" for group in groups]

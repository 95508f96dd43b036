"""A value of the row that decides: in which direction it improves, and whether it can be there at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fit_core import FitError, State
from fit_core.errors import did_you_mean, listed
from fit_core.metric_list import PREFIXES, directions

if TYPE_CHECKING:
    from fit_core import Trainer


def check_possible(what: str, name: str, trainer: Trainer, state: State) -> None:
    """Refuse a value before the first epoch that no validation of this run can give.

    Args:
        what: who needs it for what.
        name: of the value.
        trainer: whose metrics there are.
        state: of the run.

    Raises:
        FitError: it has the prefix of evaluations, but of none that there is.
    """
    if not name.startswith(PREFIXES) or name.startswith(state.validation):
        return
    if not state.validation:
        raise FitError(f"{what} {name!r}, but there is no validation data: pass some, or name a value of training, such as 'loss'")
    offered = [prefix + value for prefix in state.validation for value in ("loss", *directions(trainer.metrics))]
    raise FitError(f"{what} {name!r}, but validation gives: {listed(offered)}{did_you_mean(name, offered)}")


def check_there(what: str, name: str, row: Mapping[str, float], trainer: Trainer, state: State, besides: tuple[str, ...] = ()) -> None:
    """Refuse a value that a complete row should have, and has not.

    A value of a validation that this epoch did not have, or one that an earlier row had, is no offence.

    Args:
        what: who needs it for what.
        name: of the value.
        row: of the epoch.
        trainer: whose history tells what there was before.
        state: of the run.
        besides: what could be named that is not in the row.

    Raises:
        FitError: it was never there, though it should be.
    """
    if name in row or name == "loss" or name in (f"{update}_loss" for update in state.updates):
        return
    prefix = next((prefix for prefix in state.validation if name.startswith(prefix)), None)
    if prefix is not None and not any(each.startswith(prefix) for each in row):
        return
    if not any(name in earlier for earlier in trainer.history):
        offered = {*row, *besides}
        raise FitError(f"{what} {name!r}, but the row has: {listed(offered)}{did_you_mean(name, offered)}")

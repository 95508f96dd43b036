"""What every plugin must keep to: checks that run it, each with a name.

def test_my_plugin_conforms():
    check_plugin(MyPlugin())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fit_core.errors import FitError, did_you_mean
from fit_core.testing.costs import calls_per_step, no_waits
from fit_core.testing.leftovers import global_state, random_numbers, torn_down
from fit_core.testing.manners import conflicts, prints
from fit_core.testing.repeating import passive, resumes, windows
from fit_core.testing.saved import plain_state, state_round_trip
from fit_core.testing.subject import CheckFailed, Subject, said


def check_plugin(plugin: Any, make: Callable[[], dict[str, Any]] = dict, **settings: Any) -> None:
    """Run every check on a plugin.

    Args:
        plugin: an object (copied for each run), a class that needs no arguments, or a name with options.
        make: returns arguments of `fit_core.testing.tiny_trainer` that must be new for each run, such as a model.
        settings: arguments of `fit_core.testing.tiny_trainer` that the plugin needs, such as `metrics=["accuracy"]`.

    Raises:
        CheckFailed: the message has every check that failed, by name.
    """
    __tracebackhide__ = True
    failed = failures(plugin, make, **settings)
    if failed:
        raise CheckFailed("\n".join(f"{name}: {message}" for name, message in failed.items()))


def failures(
    plugin: Any, make: Callable[[], dict[str, Any]] = dict, *, only: Iterable[str] | None = None, **settings: Any
) -> dict[str, str]:
    """Return what each check that failed has to say, by its name. Checks that can only fail after another one are not run.

    Args:
        plugin: as for `check_plugin`, and so are `make` and `settings`.
        make: see `plugin`.
        only: names of checks; None: all.
        settings: see `plugin`.

    Raises:
        FitError: there is no such check.
    """
    chosen = list(CHECKS if only is None else only)
    for name in chosen:
        if name not in CHECKS:
            raise FitError(f"there is no check {name!r}{did_you_mean(name, CHECKS)}")
    subject = Subject(plugin, settings, make)
    failed: dict[str, str] = {}
    for name in chosen:
        if failed.keys() & NEEDS.get(name, {"registers"}):
            continue
        try:
            CHECKS[name](subject)
        except CheckFailed as error:
            failed[name] = str(error)
        except Exception as error:  # whatever a plugin raises is what the check has to say
            failed[name] = said(error)
    return failed


def registers(subject: Subject) -> None:
    """The trainer takes it, and a run with it goes well."""
    with subject.trainer() as trainer:
        trainer.fit(epochs=2)
        trainer.evaluate()


CHECKS: dict[str, Callable[[Subject], None]] = {
    "registers": registers,
    "calls per step": calls_per_step,
    "no waits": no_waits,
    "plain state": plain_state,
    "state round trip": state_round_trip,
    "torn down": torn_down,
    "global state": global_state,
    "random numbers": random_numbers,
    "prints": prints,
    "conflicts": conflicts,
    "resumes": resumes,
    "windows": windows,
    "passive": passive,
}
"""Every check by name, in the order in which they run."""
NEEDS = {
    "state round trip": {"registers", "plain state"},
    "resumes": {"registers", "plain state", "state round trip", "random numbers"},
    "windows": {"registers", "plain state", "state round trip", "random numbers", "resumes"},
    "passive": {"registers", "random numbers", "resumes"},
}
"""Checks that are not run after others have failed; without an entry: after "registers"."""

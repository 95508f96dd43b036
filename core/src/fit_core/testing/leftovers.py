"""Checks of what is left of a run: nothing that it opened, and a process as it was."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from typing import Any

from fit_core.hookspecs import SPECS, hookimpl
from fit_core.testing.subject import CheckFailed, Left, Subject


def torn_down(subject: Subject) -> None:
    """After an exception in any hook that exception is what the user sees, and no thread or file stays open."""
    for hook, spec in SPECS.items():
        if spec.fit_kind == "closing" or hook in ("on_log", "on_show", "export_model"):  # type: ignore[attr-defined]
            continue
        before = _open_things()
        _explode(subject, hook, in_epoch=spec.fit_in_epoch)  # type: ignore[attr-defined]
        left = _left_open(before)
        if left:
            gc.collect()  # slow, and rarely needed
            left = _left_open(before)
        if left:
            raise CheckFailed(f"after an exception in {hook} it left open: {', '.join(f'{n} {name}' for name, n in left.items())}")


def _explode(subject: Subject, hook: str, in_epoch: bool) -> None:
    space: dict[str, Any] = {"hookimpl": hookimpl, "Left": Left, "reached": []}
    when = "state.epoch == 2" if in_epoch else "True"
    exec(
        f"@hookimpl(specname={hook!r}, tryfirst=True)\ndef bomb(state):\n    if {when}:\n        reached.append(1)\n        raise Left\n"
        "    return {}.get(0)",
        space,
    )
    try:
        with subject.trainer(space["bomb"], batches=2) as trainer:
            trainer.fit(epochs=2)
    except Left:
        return
    except BaseException as error:
        raise CheckFailed(f"an exception in {hook} was hidden by {type(error).__name__}: {error}") from error
    if space["reached"]:  # else the plugin has ended the run before
        raise CheckFailed(f"an exception in {hook} was swallowed: let it through, or raise it again")


def _left_open(before: dict[str, int]) -> dict[str, int]:
    return {name: now - before[name] for name, now in _open_things().items() if now > before[name]}


def _open_things() -> dict[str, int]:
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
    return {"threads": threading.active_count(), "files": files}


def global_state(subject: Subject) -> None:
    """Signals, working directory, environment, warning filters and default dtype are as before."""
    if subject.seen.changed:
        raise CheckFailed(
            f"it changed the process's {', '.join(subject.seen.changed)}: put back what you set, in on_fit_end or on_teardown"
        )


def random_numbers(subject: Subject) -> None:
    """What it draws changes nothing else: no hook leaves the process's random states other than it found them."""
    if subject.seen.drawn and not subject.draws:  # else what it calls may draw
        raise CheckFailed(
            f"it changed the random state of {', '.join(subject.seen.drawn)}, so that everything else draws other numbers: "
            "draw from trainer.generator(self), or under `with trainer.random(self):`"
        )

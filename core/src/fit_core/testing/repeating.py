"""Checks of whole runs: resumed ones, those over windows and several updates, and those with and without the plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import FunctionType

import torch

from fit_core.errors import FitError
from fit_core.testing.differences import STEADY, first_difference
from fit_core.testing.points import Point, number_of_step, usual_numbers
from fit_core.testing.resume import ResumeDiffers
from fit_core.testing.subject import CheckFailed, Subject
from fit_core.trainer import Trainer
from fit_core.updates import Update, Updates

OPTIMIZER = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
"""As `tiny_trainer` has it."""
TRAINING = (*STEADY, "random", "setting", "mode")
"""Kinds of leaves that a passive plugin does not change."""


def resumes(subject: Subject) -> None:
    """A run that is interrupted, and resumed by another instance, is equal to the bit to one that is not."""
    usual = usual_numbers(subject.whole)
    with subject.bench() as bench:
        for number in dict.fromkeys(usual[name] for name in ("midst", "last batch", "after") if name in usual):
            _check(bench.check, subject.whole, number)


def windows(subject: Subject) -> None:
    """It trains over windows of batches, the last of them short, and in two updates unless it refuses them; and resumes inside a window."""
    try:
        _resumes_in_window(subject, updates=2)
    except _Refused:
        _resumes_in_window(subject, updates=1)


class _Refused(Exception):
    """Before the first batch, with a sentence: the plugin is not made for these updates."""


def _resumes_in_window(subject: Subject, updates: int) -> None:
    with subject.bench(lambda: _in_windows(subject, updates)) as bench:
        whole = bench.run("whole")
        inside = next(
            (i for i, point in enumerate(whole) if (point.epoch, point.batch) == (2, 1)), number_of_step(whole, 1)
        )  # the windows of both are open there
        _check(bench.check, whole, inside)


def _check(check: Callable[[Sequence[Point], int], None], whole: Sequence[Point], number: int) -> None:
    try:
        check(whole, number)
    except ResumeDiffers as error:
        raise CheckFailed(str(error)) from None


@contextmanager
def _in_windows(subject: Subject, updates: int) -> Iterator[Trainer]:
    """Give a trainer whose steps are of two batches, but for the last of each epoch; of two updates, if its optimizer can be split."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given = {"model": torch.nn.Linear(4, 3), "optimizer": OPTIMIZER, **subject.settings, **subject.make()}
    given.pop("plugins", None)
    params = [p for p in given["model"].parameters() if p.requires_grad]
    split = updates == 2 and len(params) > 1 and isinstance(given["optimizer"], (type, FunctionType, partial))
    if split:
        half, make = len(params) // 2, given["optimizer"]
        given["optimizer"] = Updates([Update("first", make, params[:half]), Update("second", make, params[half:], every=2)])
    with subject.trainer(**given | {"batches": 5, "accumulate": 2}) as trainer:
        try:
            yield trainer
        except FitError as error:
            if split and not trainer._progress.batch_count:
                raise _Refused from error
            raise


def passive(subject: Subject) -> None:
    """With a plugin that says `passive = True` a run is equal to the bit to one without it."""
    with subject.trainer() as trainer:
        if not all(getattr(member.plugin, "passive", False) for member in subject.members(trainer)):
            return
    with subject.bench(lambda: subject.trainer(batches=4, with_plugin=False)) as bench:
        plain = bench.run("plain")
    found = first_difference(map(_training, plain), map(_training, subject.whole), twice=True)
    if found is not None:
        raise CheckFailed(
            f"it says passive = True, but it changes training, first {found.at}: {'; '.join(found.leaves[:2])}; "
            "leave out passive, or what changes training"
        )


def _training(point: Point) -> Point:
    kept = {kind: point.leaves.get(kind, {}) for kind in TRAINING}
    kept["random"] = {name: value for name, value in kept["random"].items() if not name.startswith("plugin ")}  # its own
    return replace(point, leaves=kept, outside={})

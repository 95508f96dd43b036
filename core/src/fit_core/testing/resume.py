"""Is a resumed run equal to one that was never interrupted, and if not, where do they differ first?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fit_core.modes import random_states_aside, set_seed
from fit_core.testing.differences import Difference, compare_runs
from fit_core.testing.points import Point, number_of_step, usual_numbers
from fit_core.testing.recorder import Recorder

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

Maker = Callable[[], AbstractContextManager["Trainer"]]


class ResumeDiffers(AssertionError):
    """A resumed run is not equal to one that was never interrupted.

    Args:
        at: where the run was interrupted.
        difference: where it differs first.
    """

    def __init__(self, at: Point, difference: Difference) -> None:
        super().__init__(f"interrupted {at} (step {at.step}): {difference}")
        self.at = at
        self.difference = difference


def check_resume(
    make_trainer: Maker, *, epochs: int | None = None, steps: int | None = None, at: Iterable[int] | None = None, seed: int = 0, **how: Any
) -> None:
    """Compare runs that are interrupted, and resumed by a new trainer, with one that is not interrupted.

    Args:
        make_trainer: returns a new trainer with its data each time, or a context that gives one.
        epochs: how many epochs to train; 2 if neither is given.
        steps: how many steps to train instead.
        at: the steps after which to interrupt; None: in the midst of an epoch, at its last batch, and after it.
        seed: set before each trainer is made, as `fit train` does; a trainer with a seed of its own keeps it.
        how: further arguments of `Trainer.fit`, such as `steps_per_epoch`.

    Raises:
        ResumeDiffers: the message says where a resumed run differs first, and what the usual causes are.
        FitError: a step in `at` is beyond the end of the run.
    """
    __tracebackhide__ = True
    length = {"epochs": 2 if epochs is None else epochs} if steps is None else {"steps": steps}
    with random_states_aside(torch.device("cpu")), tempfile.TemporaryDirectory() as name:
        bench = Bench(make_trainer, seed, length | how, Path(name))
        whole = bench.run("whole")
        usual = usual_numbers(whole)
        numbers = [usual[name] for name in ("midst", "last batch", "after") if name in usual] if at is None else []
        for number in dict.fromkeys([*numbers, *(number_of_step(whole, step) for step in at or ())]):
            bench.check(whole, number)


@dataclass(frozen=True)
class Bench:
    """Runs that are to be compared.

    Attributes:
        make_trainer: makes the trainer of each.
        seed: set before.
        how: arguments of `Trainer.fit`.
        folder: where the runs keep their files.
    """

    make_trainer: Maker
    seed: int
    how: dict[str, Any]
    folder: Path

    def run(self, name: str, interrupt_at: int | None = None, resume: bool = False) -> list[Point]:
        """Train, and return the safe points.

        Args:
            name: of the run folder.
            interrupt_at: the number of the safe point to interrupt the run at.
            resume: go on with the run that was interrupted there.
        """
        points: list[Point] = []
        set_seed(self.seed)
        saved = self.folder / name / "interrupted"
        with self.make_trainer() as trainer:
            trainer.seeded(self.seed, given=False)
            trainer.run_dir = self.folder / name
            trainer.use([Recorder(points.append, interrupt_at, saved)])
            trainer.fit(**self.how, resume=saved if resume else None)
        return points

    def check(self, whole: Sequence[Point], number: int) -> None:
        """Interrupt a run at a safe point, go on with it, and compare.

        Raises:
            ResumeDiffers: it is not equal to the whole one.
        """
        __tracebackhide__ = True
        name = f"interrupted-{number}"
        interrupted = self.run(name, interrupt_at=number)
        ended_before = not interrupted or not interrupted[-1].interrupted  # it is not the same run
        found = compare_runs(whole, interrupted, [] if ended_before else self.run(name, resume=True))
        if found is not None:
            raise ResumeDiffers(whole[number], found)

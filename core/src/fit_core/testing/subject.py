"""The plugin under test, and what several checks look at: the runs that they share."""

from __future__ import annotations

import copy
import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from fit_core.metrics import Accuracy
from fit_core.modes import random_states_aside, set_seed
from fit_core.plugins import Member
from fit_core.requests import BUILTIN
from fit_core.testing.kit import tiny_batches, tiny_trainer
from fit_core.testing.points import Point
from fit_core.testing.resume import Bench, Maker
from fit_core.testing.watching import Watched, equal, process_state, random_states, watched
from fit_core.trainer import Trainer


class CheckFailed(AssertionError):
    """A plugin does not keep to what every plugin must."""


class Left(Exception):
    """Raised on purpose, to leave a run."""


def said(error: Exception) -> str:
    """Return an exception in a line, with its notes: whose hook has raised it."""
    notes = "; ".join(getattr(error, "__notes__", ()))
    return f"{type(error).__name__}: {error}" + (f" ({notes})" if notes else "")


@dataclass
class Subject:
    """The plugin under test.

    Attributes:
        plugin: an object (copied for each run), a module, a class or factory, or a name with options.
        settings: arguments of `tiny_trainer` that the plugin needs.
        make: returns further ones, made anew for each trainer: a model, and what holds its parameters.
        draws: whether a run without the plugin draws random numbers: of its model, say.
        found: the state of the process before the plugin ran.
        others: the plugins of a trainer without it.
    """

    plugin: Any
    settings: dict[str, Any] = field(default_factory=dict)
    make: Callable[[], dict[str, Any]] = dict

    def __post_init__(self) -> None:
        with self.trainer(with_plugin=False) as trainer:  # what torch sets up when it is first used is not the plugin's
            before = random_states()
            trainer.fit(epochs=1)
            trainer.evaluate()
        self.draws = not equal(before, random_states())
        self.found = process_state()
        self.others = {*trainer.plugins, *BUILTIN} - {self.plugin if isinstance(self.plugin, str) else ""}

    def fresh(self) -> Any:
        """Return the plugin as it is before any run."""
        if isinstance(self.plugin, (str, ModuleType)) or hasattr(self.plugin, "fit_impl"):
            return self.plugin
        makes = isinstance(self.plugin, type) or (inspect.isfunction(self.plugin))
        return self.plugin() if makes else copy.deepcopy(self.plugin)

    def members(self, trainer: Trainer) -> list[Member]:
        """Return what the plugin brought into a trainer: itself, or the members of a bundle."""
        return [member for member in trainer.members if member.name not in self.others]

    @contextmanager
    def trainer(self, *others: Any, with_plugin: bool = True, batches: int = 6, **changes: Any) -> Iterator[Trainer]:
        """Give a trainer with the plugin and others, in a run folder of its own."""
        with tempfile.TemporaryDirectory() as folder:
            settings: dict[str, Any] = {"metrics": [Accuracy()], "train_data": tiny_batches(batches), "run_dir": Path(folder)}
            settings |= {**self.settings, **self.make(), **changes}
            plugins = [*settings.pop("plugins", []), *([self.fresh()] if with_plugin else []), *others]
            with tiny_trainer(**settings, plugins=plugins) as trainer:
                yield trainer

    @cached_property
    def seen(self) -> Watched:
        """What its hooks were seen to do in a run of two epochs."""
        with random_states_aside(torch.device("cpu")):
            set_seed(314159)  # a plugin that seeds must not meet its own seed
            with self.trainer(quiet=False) as trainer, watched(trainer, {member.name for member in self.members(trainer)}) as seen:
                before = random_states()
                trainer.fit(epochs=2)
                trainer.evaluate()
            after = random_states()
        seen.drawn += [name for name in before if not seen.drawn and not equal(before[name], after[name])]
        now = process_state()
        seen.changed = [name for name, value in self.found.items() if not equal(value, now[name])]
        return seen

    @cached_property
    def whole(self) -> list[Point]:
        """The safe points of a run of two epochs that is not interrupted."""
        with self.bench() as bench:
            return bench.run("whole")

    @contextmanager
    def bench(self, make_trainer: Maker | None = None) -> Iterator[Bench]:
        """Give a bench for runs of two epochs that are to be compared.

        Args:
            make_trainer: gives the trainer of each; None: one with the plugin.
        """
        with random_states_aside(torch.device("cpu")), tempfile.TemporaryDirectory() as folder:
            yield Bench(make_trainer or (lambda: self.trainer(batches=4)), 1, {"epochs": 2}, Path(folder))

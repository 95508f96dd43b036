"""What every plugin must keep to: checks that run it, each with a name.

def test_my_plugin_conforms():
    check_plugin(MyPlugin())
"""

from __future__ import annotations

import copy
import gc
import inspect
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fit_core.hookspecs import SPECS, hookimpl
from fit_core.modes import random_states_aside, set_seed
from fit_core.plugins import Member
from fit_core.state import State
from fit_core.testing.kit import tiny_batches, tiny_trainer
from fit_core.testing.resume import ResumeDiffers, check_resume
from fit_core.trainer import Trainer


class CheckFailed(AssertionError):
    """A plugin does not keep to what every plugin must."""


@dataclass
class Subject:
    """The plugin under test.

    Attributes:
        plugin: an object (copied for each run), a module, a class or factory, or a name with options.
        settings: arguments of `tiny_trainer` that the plugin needs.
        make: returns further ones, made anew for each trainer: a model, and what holds its parameters.
    """

    plugin: Any
    settings: dict[str, Any] = field(default_factory=dict)
    make: Callable[[], dict[str, Any]] = dict

    def __post_init__(self) -> None:
        with self.trainer(with_plugin=False) as trainer:  # what torch sets up when it is first used is not the plugin's
            trainer.fit(epochs=1)
            trainer.evaluate()
        self.found = _process_state()
        self.others = set(trainer.plugins)

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
            settings: dict[str, Any] = {"metrics": ["accuracy"], "train_data": tiny_batches(batches), "run_dir": Path(folder)}
            settings |= {**self.settings, **self.make(), **changes}
            plugins = [*settings.pop("plugins", []), *([self.fresh()] if with_plugin else []), *others]
            with tiny_trainer(**settings, plugins=plugins) as trainer:
                yield trainer


def check_plugin(plugin: Any, make: Callable[[], dict[str, Any]] = dict, **settings: Any) -> None:
    """Run every check on a plugin.

    Args:
        plugin: an object (copied for each run), a class that needs no arguments, or a name with options.
        make: returns arguments of `fit_core.testing.tiny_trainer` that must be new for each run, such as a model.
        settings: arguments of `fit_core.testing.tiny_trainer` that the plugin needs, such as `metrics=["accuracy"]`.

    Raises:
        CheckFailed: the message has every check that failed, by name.
    """
    failed = failures(plugin, make, **settings)
    if failed:
        raise CheckFailed("\n".join(f"{name}: {message}" for name, message in failed.items()))


def failures(plugin: Any, make: Callable[[], dict[str, Any]] = dict, **settings: Any) -> dict[str, str]:
    """Return what each check that failed has to say, by its name. Checks that can only fail after another one are not run."""
    subject = Subject(plugin, settings, make)
    failed: dict[str, str] = {}
    for name, check in CHECKS.items():
        if failed.keys() & NEEDS.get(name, {"registers"}):
            continue
        try:
            check(subject)
        except CheckFailed as error:
            failed[name] = str(error)
        except Exception as error:  # whatever a plugin raises is what the check has to say
            notes = "; ".join(getattr(error, "__notes__", ()))
            failed[name] = f"{type(error).__name__}: {error} ({notes})" if notes else f"{type(error).__name__}: {error}"
    return failed


def registers(subject: Subject) -> None:
    """The trainer takes it, and a run with it goes well."""
    with subject.trainer() as trainer:
        trainer.fit(epochs=2)
        trainer.evaluate()


def calls_per_step(subject: Subject) -> None:
    """A step makes no more Python calls late in a run than early on."""
    early, late = _calls_at(subject, step=4), _calls_at(subject, step=60)
    if late > early + 10:
        raise CheckFailed(f"step 4 made {early} Python calls, step 60 made {late}: keep what is done per step bounded")


def _calls_at(subject: Subject, step: int) -> int:
    count = 0

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    @hookimpl(specname="on_safe_point")
    def watch(state: State) -> None:
        sys.setprofile(profile if state.position == "batch" and state.batch_count == step - 1 else None)

    try:
        with subject.trainer(watch, batches=64) as trainer:
            trainer.fit(epochs=1)
    finally:
        sys.setprofile(None)
    return count


class _Reads(TorchDispatchMode):
    """Counts `.item()`, `float(tensor)` and `bool(tensor)`: on an accelerator each waits for the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class _Left(Exception):
    """Raised on purpose, to leave a run."""


def no_waits(subject: Subject) -> None:
    """A batch reads nothing from the device: not in training, where the meta device has nothing to read, nor in evaluation."""

    @hookimpl(specname="on_safe_point")
    def leave(state: State) -> None:
        if state.batch == 3:
            raise _Left

    model = copy.deepcopy(subject.make().get("model", subject.settings.get("model", torch.nn.Linear(4, 3)))).to("meta")
    try:
        with subject.trainer(leave, model=model) as trainer:
            trainer.fit(epochs=1)
    except _Left:
        pass
    except Exception as error:
        raise CheckFailed(f"a training batch reads from the device: {type(error).__name__}: {error}; use trainer.record or log") from error
    plain, own = _reads_per_evaluated_batch(subject, with_plugin=False), _reads_per_evaluated_batch(subject, with_plugin=True)
    if own > plain:
        raise CheckFailed(f"an evaluated batch reads {own - plain:g} times from the device: keep tensors as they are")


def _reads_per_evaluated_batch(subject: Subject, with_plugin: bool) -> float:
    with subject.trainer(with_plugin=with_plugin) as trainer:
        counts: list[int] = []
        for batches in (2, 6):
            with _Reads() as reads:
                trainer.evaluate(tiny_batches(batches))
            counts.append(reads.count)
    return (counts[1] - counts[0]) / 4


def state_round_trip(subject: Subject) -> None:
    """What `state_dict` returns, another instance takes up and returns again; and it is not what a live plugin goes on changing."""
    with subject.trainer() as trainer, subject.trainer() as another:
        trainer.fit(epochs=1)
        for member, other in zip(subject.members(trainer), subject.members(another), strict=True):
            if hasattr(member.plugin, "state_dict") and not hasattr(member.plugin, "load_state_dict"):
                raise CheckFailed("it has state_dict, but no load_state_dict")
            saved = member.state_dict()
            kept = copy.deepcopy(saved)
            other.load_state_dict(copy.deepcopy(saved))
            again = other.state_dict()
            if not _equal(kept, again):
                raise CheckFailed(f"state_dict() returned {kept!r}, and after load_state_dict {again!r}")
            trainer.fit(epochs=1)
            if not _equal(kept, saved):
                raise CheckFailed("what state_dict() returned changed when training went on: return a copy")


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and torch.equal(a, b)
    if hasattr(a, "__array__") and getattr(a, "ndim", False):
        return hasattr(b, "__array__") and a.dtype == b.dtype and bool((a == b).all())
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(_equal, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


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
    space: dict[str, Any] = {"hookimpl": hookimpl, "Left": _Left}
    when = "state.epoch == 2" if in_epoch else "True"
    exec(
        f"@hookimpl(specname={hook!r}, tryfirst=True)\ndef bomb(state):\n    if {when}:\n        raise Left\n    return {{}}.get(0)", space
    )
    try:
        with subject.trainer(space["bomb"]) as trainer:
            trainer.fit(epochs=2)
    except _Left:
        return
    except BaseException as error:
        raise CheckFailed(f"an exception in {hook} was hidden by {type(error).__name__}: {error}") from error
    raise CheckFailed(f"an exception in {hook} was swallowed")


def _left_open(before: dict[str, int]) -> dict[str, int]:
    return {name: now - before[name] for name, now in _open_things().items() if now > before[name]}


def _open_things() -> dict[str, int]:
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
    return {"threads": threading.active_count(), "files": files}


def global_state(subject: Subject) -> None:
    """Random states, signals, working directory, environment, warning filters and default dtype are as before."""
    with random_states_aside(torch.device("cpu")):
        set_seed(314159)  # a plugin that seeds must not meet its own seed
        before = _random_states() | subject.found
        with subject.trainer() as trainer:
            trainer.fit(epochs=2)
            after = _random_states()
        after |= _process_state()
    changed = [name for name in before if not _equal(before[name], after[name])]
    if changed:
        raise CheckFailed(f"it changed the process's {', '.join(changed)}; draw from trainer.random(self), and put back what you set")


def _random_states() -> dict[str, Any]:
    numpy: Any = sys.modules.get("numpy.random")
    return {
        "random state of Python": random.getstate(),
        "random state of numpy": numpy.get_state()[1].tolist() if numpy else None,
        "random state of torch": torch.get_rng_state(),
    }


def _process_state() -> dict[str, Any]:
    return {
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "working directory": str(Path.cwd()),
        "environment": dict(os.environ),
        "warning filters": list(warnings.filters),
        "default dtype": torch.get_default_dtype(),
    }


def resumes(subject: Subject) -> None:
    """A run that is interrupted, and resumed by another instance, is equal to the bit to one that is not."""
    try:
        check_resume(lambda: subject.trainer(batches=4, seed=1))
    except ResumeDiffers as error:
        raise CheckFailed(str(error)) from None


CHECKS: dict[str, Callable[[Subject], None]] = {
    "registers": registers,
    "calls per step": calls_per_step,
    "no waits": no_waits,
    "state round trip": state_round_trip,
    "torn down": torn_down,
    "global state": global_state,
    "resumes": resumes,
}
"""Every check by name, in the order in which they run."""
NEEDS = {"resumes": {"registers", "state round trip"}}
"""Checks that are not run after others have failed; without an entry: after "registers"."""

"""The test kit: what the tests of a plugin stand on. pytest finds the same as fixtures.

def test_it(tiny_trainer, record_hooks):
    trainer = tiny_trainer(plugins=[MyPlugin()])
    with record_hooks(trainer) as calls:
        trainer.fit(epochs=2)
    assert calls.of("my-plugin") == ["on_epoch_end", "on_epoch_end"]

def test_it_conforms():
    check_plugin(MyPlugin())

def test_it_can_be_resumed():
    check_resume(lambda: Trainer(..., plugins=[MyPlugin()]))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fit_core.testing.conformance import CHECKS, check_plugin, failures
    from fit_core.testing.differences import Difference, compare_runs, first_difference
    from fit_core.testing.fork_server import ForkServer
    from fit_core.testing.kit import TINY_SCRIPT, HookCalls, Outcome, record_hooks, run_fit, run_script, tiny_batches, tiny_trainer
    from fit_core.testing.points import Point
    from fit_core.testing.recorder import Recorder
    from fit_core.testing.resume import ResumeDiffers, check_resume
    from fit_core.testing.subject import CheckFailed

__all__ = [
    "CHECKS",
    "TINY_SCRIPT",
    "CheckFailed",
    "Difference",
    "ForkServer",
    "HookCalls",
    "Outcome",
    "Point",
    "Recorder",
    "ResumeDiffers",
    "check_plugin",
    "check_resume",
    "compare_runs",
    "failures",
    "first_difference",
    "record_hooks",
    "run_fit",
    "run_script",
    "tiny_batches",
    "tiny_trainer",
]

_HOMES = {
    "conformance": ("CHECKS", "check_plugin", "failures"),
    "differences": ("Difference", "compare_runs", "first_difference"),
    "fork_server": ("ForkServer",),
    "kit": ("TINY_SCRIPT", "HookCalls", "Outcome", "record_hooks", "run_fit", "run_script", "tiny_batches", "tiny_trainer"),
    "points": ("Point",),
    "recorder": ("Recorder",),
    "resume": ("ResumeDiffers", "check_resume"),
    "subject": ("CheckFailed",),
}


def __getattr__(name: str) -> Any:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'fit_core.testing' has no attribute {name!r}")
    return getattr(import_module(f"fit_core.testing.{home}"), name)


def __dir__() -> list[str]:
    return __all__

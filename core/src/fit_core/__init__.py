"""fit: a plugin-based trainer for PyTorch.

    from fit_core import Trainer

    trainer = Trainer(model, loss_fn, optimizer, metrics=["accuracy"], plugins=["logging"])
    trainer.fit(train_data, val_data, epochs=10)

Names are imported when they are used, so that the command line can answer without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fit_core.cadence import Delayed, Every, every, once, once_per_epoch, only_if
    from fit_core.errors import FitError, TrainingError
    from fit_core.hookspecs import hookimpl
    from fit_core.log import LogEntry
    from fit_core.metrics import Metric
    from fit_core.modes import freeze
    from fit_core.script import run
    from fit_core.state import State, StateKey
    from fit_core.trainer import Trainer
    from fit_core.updates import Update, Updates

__all__ = [
    "Delayed",
    "Every",
    "FitError",
    "LogEntry",
    "Metric",
    "State",
    "StateKey",
    "Trainer",
    "TrainingError",
    "Update",
    "Updates",
    "every",
    "freeze",
    "hookimpl",
    "once",
    "once_per_epoch",
    "only_if",
    "run",
]

_HOMES = {
    "Delayed": "cadence",
    "Every": "cadence",
    "FitError": "errors",
    "LogEntry": "log",
    "Metric": "metrics",
    "State": "state",
    "StateKey": "state",
    "Trainer": "trainer",
    "TrainingError": "errors",
    "Update": "updates",
    "Updates": "updates",
    "every": "cadence",
    "freeze": "modes",
    "hookimpl": "hookspecs",
    "once": "cadence",
    "once_per_epoch": "cadence",
    "only_if": "cadence",
    "run": "script",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fit_core' has no attribute {name!r}")
    return getattr(import_module(f"fit_core.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""What interrupts a run under `fit train`: signals and the time limit. Both only ask; the loop acts at the next safe point."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from fit_core.cadence import Every
from fit_core.errors import FitError, Interrupted
from fit_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """While it is entered, the first SIGINT or SIGTERM interrupts the run, and the second ends it at once.

    Outside of `fit` the first one ends all at once, too. Only the main thread can handle signals; in another one this does
    nothing. Handlers are put back.

    Args:
        trainer: whose run it is.

    Attributes:
        number: of the signal that came; None if none did.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.number: int | None = None
        self._trainer = trainer
        self._at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in NUMBERS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._at_once:
            self._before.pop(getattr(signal, "SIGCHLD", -1), None)  # workers are still ending, of which torch would raise anywhere
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.number is not None or not self._trainer.is_fitting:
            self.number, self._at_once = number, True
            for each in NUMBERS:
                signal.signal(each, signal.SIG_DFL if each != signal.SIGINT else signal.default_int_handler)  # a third one kills
            raise Interrupted(number, f"ended at once by {name}")
        self.number = number
        os.write(2, f"\nfit: {name}: the run ends after this batch, with a checkpoint; once more ends it at once\n".encode())
        self._trainer.interrupt(name)
        self._let_workers_go()

    def _let_workers_go(self) -> None:
        """Keep torch from raising wherever the loop is, because the same signal has ended a worker process."""
        child = getattr(signal, "SIGCHLD", None)
        if child is not None and callable(signal.getsignal(child)):
            self._before[child] = signal.signal(child, lambda *_: None)


class MaxTime:
    """Interrupts the run when its time is over.

    Args:
        limit: an interval of time, such as "4 hours", from now on.

    Raises:
        FitError: it is no interval of time.
    """

    name = "max-time"
    passive = True

    def __init__(self, limit: str | Every) -> None:
        self.limit = Every(limit)
        if not self.limit.timed:
            raise FitError(f"--max-time needs a time, such as '4 h' or '30 minutes', not {str(self.limit)!r}")
        self._end = time.monotonic() + self.limit.length

    @hookimpl
    def on_batch_end(self, trainer: Trainer) -> None:
        self._check(trainer)

    @hookimpl
    def on_eval_batch_end(self, trainer: Trainer) -> None:
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        if time.monotonic() >= self._end:
            trainer.interrupt(f"the time limit of {self.limit}")

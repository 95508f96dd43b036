"""`log.txt`: what one logger says, with the rows of the run in between."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fit_core import State, hookimpl
from fit_core.text import ending, epoch_of, number

if TYPE_CHECKING:
    from fit_core import Trainer

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class TextLog:
    """Writes what a logger of Python's `logging` says to a file, and a line for each row.

    Only this logger is listened to, never the root; its level is put back at the end. A second call of `fit`, and a run that is
    resumed, go on in the same file.

    Args:
        path: the file; a relative one lies in the run folder.
        logger: its name: that of your project's package, say.
        level: what is important enough.
    """

    passive = True

    def __init__(
        self, path: str | Path = Path("log.txt"), logger: str = "fit", level: Literal["debug", "info", "warning", "error"] = "info"
    ) -> None:
        self.path = Path(path)
        self.level = LEVELS[level]
        self._logger = logging.getLogger(logger)
        self._before = logging.NOTSET
        self._handler: logging.FileHandler | None = None

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        if self._handler is None:
            path = self.path if self.path.is_absolute() else trainer.ensure_run_dir() / self.path
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handler = logging.FileHandler(path, encoding="utf-8")
            self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s  %(message)s"))
            self._handler.setLevel(self.level)
            self._before = self._logger.level
            self._logger.addHandler(self._handler)
            if self._logger.getEffectiveLevel() > self.level:
                self._logger.setLevel(self.level)
        self._say(f"resumed at step {state.step}" if state.resumed else "begun")

    @hookimpl
    def on_epoch_end(self, state: State, row: Mapping[str, float]) -> None:
        values = "  ".join(f"{name} {number(name, value)}" for name, value in row.items() if name != "epoch")
        self._say(f"epoch {epoch_of(state)}  {values}")

    @hookimpl
    def on_exception(self, exception: BaseException) -> None:
        self._say(f"{type(exception).__name__}: {exception}", logging.ERROR)

    @hookimpl
    def on_fit_end(self, trainer: Trainer, state: State) -> None:
        for line in [*ending(trainer, state), f"ended at step {state.step}"]:
            self._say(line)

    @hookimpl
    def on_teardown(self) -> None:
        if self._handler is not None:
            self._logger.removeHandler(self._handler)
            self._logger.setLevel(self._before)
            self._handler.close()
            self._handler = None

    def _say(self, text: str, level: int = logging.INFO) -> None:
        """Write a line to the file alone."""
        if self._handler is not None and level >= self.level:
            self._handler.handle(logging.LogRecord(self._logger.name, level, "", 0, text, (), None))

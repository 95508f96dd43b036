"""A trace of torch's profiler, with hooks and plugins by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from fit_core.traced.around import Watcher
from fit_core.traced.waits import of_training

FIRST, BATCHES = 5, 10
"""Training batches before the trace begins, and in it."""


class Timeline(Watcher):
    """Records some training batches for a viewer of traces.

    Args:
        path: the file to write, for chrome://tracing or ui.perfetto.dev.

    Attributes:
        written: whether it was.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.written = path, False
        self._seen = 0
        self._profile: profile | None = None

    @contextmanager
    def around(self, hook: str, plugin: str | None, arguments: tuple[Any, ...]) -> Iterator[None]:
        """Name a call in the trace; begin and end it between two batches."""
        if plugin is not None:
            with record_function(f"{plugin}: {hook}"):
                yield
            return
        if hook == "prepare_batch" and of_training(arguments):
            self._seen += 1
            if self._seen == FIRST + 1:
                on_device = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
                self._profile = profile(activities=[ProfilerActivity.CPU, *on_device])
                self._profile.__enter__()
        try:
            yield
        finally:
            if hook in ("on_exception", "on_fit_end") or (hook == "on_safe_point" and self._seen == FIRST + BATCHES):
                self._write()

    def _write(self) -> None:
        if self._profile is not None:
            self._profile.__exit__(None, None, None)
            self._profile.export_chrome_trace(str(self.path))
            self._profile, self.written = None, True

"""The log buffer: numbers on their way to trackers, without waiting for the device."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from fit_core.mean import column, kept, scalar
from fit_core.state import Phase, State


class LogEntry(NamedTuple):
    """Some numbers of one moment.

    Attributes:
        step: finished steps at that moment.
        epoch: the epoch at work.
        phase: "train", "validate", "test" or "predict".
        time: seconds since the Unix epoch.
        values: floats by name.
    """

    step: int
    epoch: int
    phase: str
    time: float
    values: Mapping[str, float]


class LogBuffer:
    """Keeps numbers until a flush, which brings those that were not read at once to the host in one transfer."""

    def __init__(self) -> None:
        self._moments: list[tuple[int, int, str, float, tuple[str, ...]]] = []
        self._values: list[Tensor | float] = []

    def __bool__(self) -> bool:
        return bool(self._moments)

    def add(self, state: State, values: Mapping[str, Tensor | float], phase: Phase | None = None, at: float | None = None) -> None:
        """Keep some numbers: floats, or tensors with one element; of the phase in `state` and of now unless others are given.

        Raises:
            FitError: a value is something else; then nothing of them is kept.
        """
        taken: list[Tensor | float] = []
        for name, value in values.items():
            if type(value) is Tensor and value.is_cpu and value.numel() == 1 and not value.is_complex():
                taken.append(value.item())  # where that waits for nothing
            else:
                taken.append(kept(scalar(name, value)))
        progress = state._progress
        self._values += taken
        self._moments.append((progress.step, progress.epoch, phase or progress.phase, time.time() if at is None else at, tuple(values)))

    def keep(self, state: State, values: Mapping[str, Tensor | float]) -> None:
        """Keep numbers of now that are nobody's buffer, as they are."""
        progress = state._progress
        self._values += values.values()
        self._moments.append((progress.step, progress.epoch, progress.phase, time.time(), tuple(values)))

    def take(self) -> list[LogEntry]:
        """Return everything as floats, and forget it. One transfer per device."""
        device = next((v.device for v in self._values if isinstance(v, Tensor)), torch.device("cpu"))
        floats = iter(column(self._values, device).tolist())
        entries = [
            LogEntry(step, epoch, phase, at, {name: next(floats) for name in names}) for step, epoch, phase, at, names in self._moments
        ]
        self._moments.clear()
        self._values.clear()
        return entries

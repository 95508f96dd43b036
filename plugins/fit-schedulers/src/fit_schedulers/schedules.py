"""Schedules as functions of the step: factors that a learning rate is multiplied with."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant() -> Schedule:
    """Stay at 1."""
    return lambda _: 1.0


def cosine(steps: int) -> Schedule:
    """Fall from 1 to 0 along half a cosine, so that step number `steps`, counted from 0, would be made with 0.

    Loshchilov and Hutter 2017 (SGDR), eq. 5 with one period and no lower bound.
    """
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))


def warm_up(steps: int) -> Schedule:
    """Rise linearly: step i, counted from 0, is made with (i + 1) / (steps + 1), and 1 is reached after `steps`."""
    return lambda step: min((step + 1) / (steps + 1), 1.0)


def after(first: Schedule, steps: int, then: Schedule) -> Schedule:
    """Follow one schedule for a number of steps, then another from its beginning."""
    return lambda step: first(step) if step < steps else then(step - steps)

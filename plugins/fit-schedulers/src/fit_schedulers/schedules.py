"""Schedules as functions: of how many steps are done, to the factor that a value is multiplied with.

Each goes from `start` to `end` in `steps` steps, and stays there; step number `steps`, counted from 0, would be made with `end`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]


def constant(steps: int, start: float = 1.0) -> Schedule:
    """Stay at `start`."""
    del steps
    return lambda _: start


def linear(steps: int, start: float = 1.0, end: float = 0.0) -> Schedule:
    """Go along a straight line."""
    return lambda step: end + (start - end) * (1 - step / steps) if step < steps else end


def cosine(steps: int, start: float = 1.0, end: float = 0.0) -> Schedule:
    """Go along half a cosine (Loshchilov and Hutter 2017, SGDR, eq. 5 with one period)."""
    height = 0.5 * (start - end)
    return lambda step: end + height * (1 + math.cos(math.pi * step / steps)) if step < steps else end


def polynomial(steps: int, start: float = 1.0, end: float = 0.0, power: float = 2.0) -> Schedule:
    """Go along a power of the time that is left."""
    return lambda step: end + (start - end) * (1 - step / steps) ** power if step < steps else end


def exponential(steps: int, start: float = 1.0, end: float = 0.01) -> Schedule:
    """Multiply with the same number at every step; neither end may be 0."""
    return lambda step: start * (end / start) ** (step / steps) if step < steps else end


def inverse_sqrt(steps: int, start: float = 1.0, end: float = 0.1) -> Schedule:
    """Fall as one over the root of the time: start * sqrt(s / (s + step)), with the s that leads to `end` (Vaswani et al. 2017, eq. 3)."""
    scale = steps * end**2 / (start**2 - end**2)
    return lambda step: start * math.sqrt(scale / (scale + step)) if step < steps else end


def time_decay(steps: int, start: float = 1.0, end: float = 0.1) -> Schedule:
    """Fall as one over the time: start / (1 + d * step), with the d that leads to `end`."""
    decay = (start / end - 1) / steps
    return lambda step: start / (1 + decay * step) if step < steps else end


def one_cycle(steps: int, start: float = 0.04, peak: float = 1.0, end: float = 4e-6, rise: float = 0.3) -> Schedule:
    """Rise to `peak` in the part `rise` of the time, and fall to `end`, along half cosines (Smith and Topin 2018)."""
    up = max(round(rise * steps), 1)
    return in_a_row([(cosine(up, start, peak), up)], cosine(max(steps - up, 1), peak, end))


def warm_up(steps: int) -> Schedule:
    """Rise linearly: step i, counted from 0, is made with (i + 1) / (steps + 1), and 1 is reached after `steps`."""
    return lambda step: min((step + 1) / (steps + 1), 1.0)


def in_a_row(parts: Sequence[tuple[Schedule, int]], last: Schedule) -> Schedule:
    """Follow schedules for so many steps each, then the last one, each from its own beginning."""
    if not parts:
        return last

    def at(step: int) -> float:
        for schedule, steps in parts:
            if step < steps:
                return schedule(step)
            step -= steps
        return last(step)

    return at

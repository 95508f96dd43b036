"""Schedules as functions of the step, and phases in a row."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD, lr_scheduler

from fit_schedulers import schedules
from fit_schedulers.phases import OWN, Length, Phase, Unreadable, bound, build, check, parse

STEPS = 12


def walked(make: Callable[[Any], Any], steps: int = STEPS) -> list[float]:
    """Return the factors of a scheduler of torch."""
    optimizer = SGD([torch.empty(0)], lr=1.0)
    scheduler, found = make(optimizer), []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def annealed(optimizer: Any) -> Any:
    return lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0.2)


def one_cycle(optimizer: Any) -> Any:
    return lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=13, pct_start=4 / 13, div_factor=10, final_div_factor=100, cycle_momentum=False
    )


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (schedules.linear(STEPS, end=0.1), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, STEPS)),
        (schedules.cosine(STEPS, end=0.2), annealed),
        (schedules.polynomial(STEPS, power=3.0), lambda o: lr_scheduler.PolynomialLR(o, STEPS, power=3.0)),
        (schedules.exponential(STEPS, end=0.9**STEPS), lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
        (schedules.time_decay(STEPS, end=1 / (1 + 0.5 * STEPS)), lambda o: lr_scheduler.LambdaLR(o, lambda i: 1 / (1 + 0.5 * i))),
        (schedules.inverse_sqrt(STEPS, end=0.5), lambda o: lr_scheduler.LambdaLR(o, lambda i: math.sqrt(4 / (4 + i)))),
    ],
)
def test_schedules_equal_torchs_own(schedule: schedules.Schedule, make: Callable[[Any], Any]) -> None:
    assert [schedule(i) for i in range(STEPS + 1)] == pytest.approx(walked(make))


def test_one_cycle_rises_and_falls_as_torchs() -> None:
    found = [schedules.one_cycle(12, start=0.1, end=0.001, rise=3 / 12)(i) for i in range(13)]
    assert found == pytest.approx(walked(one_cycle, 12)[:13])
    assert found[3] == max(found) == 1.0


@given(st.sampled_from(sorted(OWN)), st.integers(1, 50), st.floats(0.2, 2), st.floats(0.01, 0.1))
def test_every_schedule_goes_from_start_to_end_and_stays_there(name: str, steps: int, start: float, end: float) -> None:
    options = {"start": start} if name == "constant" else {"start": start, "end": end}
    schedule = OWN[name](steps, **options)
    assert schedule(0) == pytest.approx(start)
    last = start if name == "constant" else end
    after = steps + (name == "one-cycle" and steps == 1)  # it rises in one step, and falls in another
    assert [schedule(after + i) for i in (0, 1, 100)] == pytest.approx([last] * 3)
    low, high = min(start, end), max(start, end, 1.0 if name == "one-cycle" else 0.0)
    assert all(low - 1e-9 <= schedule(i) <= high + 1e-9 for i in range(steps))


LENGTHS = st.one_of(
    st.builds(Length, st.integers(1, 9).map(float), st.just("steps")),
    st.builds(Length, st.floats(0.5, 3), st.just("epochs")),
    st.builds(Length, st.integers(1, 20).map(float), st.just("%")),
)
NAMES = st.sampled_from(["constant", "linear", "cosine", "polynomial"])


@given(st.lists(st.tuples(NAMES, LENGTHS), max_size=4), NAMES)
def test_phases_join_and_a_text_reads_as_the_same(middle: list[tuple[str, Length]], last: str) -> None:
    """Where a phase ends, the next one begins, as long as it does not say otherwise."""
    phases = [*(Phase(name, length, {} if name == "constant" else {"end": 0.5}) for name, length in middle), Phase(last)]
    check(phases)
    total, per_epoch = 400, 20.0
    schedule = build(phases, total, per_epoch)
    end, value = 0.0, 1.0
    for phase in phases[:-1]:
        assert phase.length is not None
        assert schedule(round(end)) == pytest.approx(value)
        end += phase.length.steps(total, per_epoch)
        value = value if phase.schedule == "constant" else 0.5
        assert schedule(round(end)) == pytest.approx(value)
    assert schedule(total) == pytest.approx(value if last == "constant" else 0.0)
    whole = [phase for phase in phases if phase.length is None or float(phase.length.number).is_integer()]
    assert [parse(str(phase)) for phase in whole] == whole


def test_lengths() -> None:
    assert [str(parse(f"cosine {text}").length) for text in ("5", "1 step", "100 steps", "2epochs", "0.5 epochs", "10%", "2.5 %")] == [
        "5 steps", "1 steps", "100 steps", "2 epochs", "0.5 epochs", "10 %", "2.5 %",
    ]  # fmt: skip
    assert Length(10, "%").steps(355, None) == 35.5
    assert Length(0.5, "epochs").steps(None, 15) == 7.5
    with pytest.raises(Unreadable, match="a phase of 10 % needs a run whose length is known"):
        Length(10, "%").steps(None, 15)
    for text in ("0 steps", "1.5 steps", "-3", "five"):
        with pytest.raises(Unreadable):
            parse(f"cosine {text}")


def test_a_phase_begins_where_the_one_before_ended() -> None:
    assert bound(Phase("linear"), 0.3) == {"start": 0.3, "end": 0.0}
    assert bound(Phase("linear", options={"start": 0.7}), 0.3) == {"start": 0.7, "end": 0.0}
    assert bound(Phase("one-cycle"), 0.3)["start"] == 0.04, "a cycle has a beginning of its own"


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from fit_schedulers.walked import Walk

        walk = Walk(lambda optimizer: lr_scheduler.StepLR(optimizer, 2), [{"lr": 0.5}])
        assert [walk.at(i) for i in range(4)] == [[0.5], [0.5], [0.05], [0.05]]

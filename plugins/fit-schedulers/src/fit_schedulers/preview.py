"""A schedule at some points of a run, as text."""

from __future__ import annotations

from collections.abc import Sequence

from fit_schedulers.course import Course
from fit_schedulers.written import Span

PARTS = (0, 25, 50, 75, 100)
"""Of the run, in percent; the last is after its last step."""


def preview(named: Sequence[tuple[Sequence[str], Course]], span: Span, warm: int, every: str) -> list[str]:
    """Return a line of values for each name, at 0, 25, 50, 75 and 100 % of the run.

    Args:
        named: courses at their beginning, each with the names of its values.
        span: of the run.
        warm: steps of the warm-up.
        every: what they count.
    """
    if span.steps is None:
        return ["no preview: the length of the run is unknown"]
    columns = []
    for part in PARTS:
        step = round(span.steps * part / 100)
        epoch = int(step / span.per_epoch + 1e-9) if span.per_epoch else 0
        count = epoch if every == "epoch" else max(step - warm, 0)
        columns.append([value for names, course in named for value in course.at(count, step)[: len(names)]])
    names = [name for several, _ in named for name in several]
    width = max(map(len, [*names, "at"]))
    head = f"{'at':{width}}" + "".join(f"{f'{part} %':>11}" for part in PARTS) + f"   of {span.steps} steps"
    return [head, *(f"{name:{width}}" + "".join(f"{column[i]:>11.4g}" for column in columns) for i, name in enumerate(names))]

"""Where two runs that should be equal differ first, and what the usual causes are. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest

from fit_core.testing.points import Point

SHOWN = 4
"""How many of the leaves that differ are named."""
HASHED = "#"
"""How a leaf begins that is a digest; any other one is the value itself."""

EFFECTS = (
    "parameters alone: kernels that are not deterministic, or state that no plugin saves: globals, closures, "
    "attributes of the model, of the loss or of the data"
)
NUMBERS = (
    "numbers alone: a metric whose state_dict leaves something out, a plugin that records values it does not save, "
    "or validation data that draws from a generator of its own"
)
KINDS: dict[str, tuple[str, str]] = {
    "ending": (
        "",
        "what ends epochs and runs has state that it does not save: the state_dict of a plugin, or the length of the data",
    ),
    "random": (
        "random numbers of {}",
        "random numbers: something draws where a resumed run draws again or not at all (on_fit_start, on_epoch_start; "
        "trainer.random(self) is a stream of a plugin's own), or a loader or a model that draws has no seed",
    ),
    "batch": (
        "{} of the batch",
        "data: a sampler or an iterable without state_dict, or a dataset that draws from a generator of its own or a global one",
    ),
    "data": (
        "position in the data: {}",
        "data: its state_dict does not say all, or its load_state_dict does not take it up",
    ),
    "plugin": (
        "plugin {}",
        "a plugin: it has state that its state_dict leaves out or its load_state_dict does not take up, "
        "or its on_fit_start begins anew although state.resumed is true",
    ),
    "call": (
        "{}",
        "how far the call of fit is: a plugin that asks for stops or ends of epochs has state that it does not save",
    ),
    "setting": (
        "optimizer {}",
        "an option of the optimizer: what sets it (a plugin, a scheduler of the script's own) has state that no state_dict saves",
    ),
    "mode": (
        "modes of {}",
        "modes of modules: something freezes or switches them once, in a hook that a resumed run calls again or not at all",
    ),
    "tensor": ("{}", EFFECTS),
    "moment": ("optimizer {}", EFFECTS),
    "window": ("window of {}", EFFECTS),
    "metric": ("metrics: {}", NUMBERS),
    "history": ("history: {}", NUMBERS),
}
"""Kinds of leaves, the most telling first: how one is called, and the usual causes if it is the first to differ."""
STEADY = ("batch", "window", "tensor", "moment")
"""Kinds that no validation changes."""
TWICE = (
    "the run itself is not the same twice, interrupted or not: kernels that are not deterministic, the clock, "
    "the order of a set (PYTHONHASHSEED), or state of the process that an earlier run has changed"
)


@dataclass(frozen=True)
class Difference:
    """The first place where two runs differ.

    Attributes:
        at: the safe point.
        kind: of the most telling leaf.
        leaves: those that differ, the most telling first.
        outside: what differs too, of what no checkpoint holds.
        twice: whether the runs differ before the interruption, so that resuming has no part in it.
    """

    at: Point
    kind: str
    leaves: tuple[str, ...]
    outside: tuple[str, ...] = ()
    twice: bool = False

    @property
    def cause(self) -> str:
        """The usual causes, in a sentence."""
        return TWICE if self.twice else KINDS[self.kind][1]

    def __str__(self) -> str:
        who = "two runs from the beginning differ" if self.twice else "the resumed run differs"
        lines = [f"{who} first {self.at} (step {self.at.step}): {some(self.leaves)}"]
        lines += [f"different too, outside of the checkpoint: {some(self.outside)}"] if self.outside else []
        return "\n".join([*lines, f"usual causes: {self.cause}"])


def first_difference(whole: Iterable[Point], resumed: Iterable[Point], known: Iterable[str] = (), twice: bool = False) -> Difference | None:
    """Return the first place where two runs differ; None if they are equal to the bit.

    Args:
        whole: the points of a run that was never interrupted, from where the other one went on.
        resumed: the points of the run that went on.
        known: what outside of checkpoints differs in any case, such as the time.
        twice: both are from the beginning.
    """
    before: tuple[Point, Point] | None = None
    for one, other in zip_longest(whole, resumed):
        both = before if one is None or other is None else (one, other)
        if one is None or other is None or one.place != other.place:
            said = ["is over" if point is None else f"is {point}, step {point.step}" for point in (one, other)]
            leaves = [("ending", f"one run {said[0]}, the other one {said[1]}")]
        else:
            leaves = differing_leaves(one, other, twice)
        if leaves:
            outside = () if both is None else differing_outside(*both, set(known), twice)
            return Difference(one or other, leaves[0][0], tuple(said for _, said in leaves), outside, twice)
        before = both
    return None


def compare_runs(whole: Iterable[Point], interrupted: Iterable[Point], resumed: Iterable[Point]) -> Difference | None:
    """Return where a resumed run differs from one that was never interrupted, or else the interrupted one did before.

    Args:
        whole: the points of a run that was never interrupted.
        interrupted: those of one that was.
        resumed: those of the run that went on.
    """
    expected, known = iter(whole), set[str]()
    for point in interrupted:
        same = next(expected, None)
        if point.interrupted and (same is None or same.place != point.place):  # in a validation, where the whole run has no point
            expected = chain([] if same is None else [same], expected)
            break
        one, other = ([] if each is None else [steady(each) if point.interrupted else each] for each in (same, point))
        found = first_difference(one, other, twice=True)
        if found is not None:
            return found
        known |= set() if same is None else paths_outside(same, point)
    return first_difference(expected, resumed, known)


def steady(point: Point) -> Point:
    """Return a point without what a validation changes: one that is due where a run is interrupted is left to the resumed run."""
    return replace(point, leaves={kind: point.leaves.get(kind, {}) for kind in STEADY})


def differing_leaves(whole: Point, resumed: Point, twice: bool = False) -> list[tuple[str, str]]:
    """Return the kind of every leaf that differs, and the leaf with its values, the most telling first."""
    if whole.leaves == resumed.leaves:
        return []
    return [
        (kind, shown(template.format(path), before.get(path), after.get(path), twice))
        for kind, (template, _) in KINDS.items()
        for before, after in [(whole.leaves.get(kind, {}), resumed.leaves.get(kind, {}))]
        for path in dict.fromkeys([*before, *after])
        if before.get(path) != after.get(path)
    ]


def differing_outside(whole: Point, resumed: Point, known: set[str], twice: bool = False) -> tuple[str, ...]:
    """Return what lies outside of checkpoints and differs, with its values."""
    differ = paths_outside(whole, resumed) - known
    return tuple(shown(path, value, resumed.outside[path], twice) for path, value in whole.outside.items() if path in differ)


def paths_outside(whole: Point, resumed: Point) -> set[str]:
    """Return what lies outside of checkpoints and differs."""
    return {path for path, value in whole.outside.items() if path in resumed.outside and resumed.outside[path] != value}


def shown(path: str, whole: str | None, resumed: str | None, twice: bool = False) -> str:
    """Return a path with the two values, where people can read them."""
    if any(value is not None and value.startswith(HASHED) for value in (whole, resumed)):
        return path
    return f"{path} ({whole or 'none'}; {'the other run' if twice else 'resumed'}: {resumed or 'none'})"


def some(said: Sequence[str]) -> str:
    """Join the first few of what is said."""
    return "; ".join(said[:SHOWN]) + (f"; and {len(said) - SHOWN} more" if len(said) > SHOWN else "")

"""A schedule as a user writes it: checked at once, and built when the length of the run is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any, Literal, cast

from fit_core import FitError
from fit_core.errors import did_you_mean, listed
from fit_core.options import bind
from fit_schedulers.course import Line, Multiples
from fit_schedulers.phases import OWN, Phase, Unreadable, build, check, parse
from fit_schedulers.schedules import Schedule
from fit_schedulers.walked import SET_MOMENTUM, SIZES, TORCH, Walk

Unit = Literal["step", "epoch"]


@dataclass(frozen=True)
class Span:
    """How long a run is for an update.

    Attributes:
        steps: None if unknown.
        epochs: None if unknown.
    """

    steps: int | None
    epochs: int | None

    @property
    def per_epoch(self) -> float | None:
        """Steps of an epoch; None if unknown."""
        return self.steps / self.epochs if self.steps is not None and self.epochs else None


class WrittenSchedule:
    """A schedule with its warm-up.

    Args:
        schedule: a name of ours or of torch, phases, or a function from the step to a factor.
        warmup: below 1 a part of the run, from 1 on a number of steps.
        every: what it counts; the warm-up counts steps.
        options: of a schedule that is given by its name.
        names: of the plugin's own options, for suggestions.
        torchs: whether schedulers of torch are known.

    Raises:
        FitError: there is no such schedule, or its options are not what they should be.
    """

    def __init__(
        self,
        schedule: str | Sequence[str | Phase] | Schedule,
        warmup: float,
        every: Unit,
        options: Mapping[str, Any],
        names: Sequence[str],
        torchs: bool = True,
    ) -> None:
        if not isinstance(warmup, (int, float)) or not 0 <= warmup < math.inf or (warmup > 1 and warmup != int(warmup)):
            raise FitError(f"warmup must not be negative, but a part of the run below 1 or a number of steps, not {warmup!r}")
        self.warmup, self.every = warmup, every
        self.options: dict[str, Any] = {}
        self.torch: str | None = None
        self.phases: list[Phase] = []
        self.function: Schedule | None = None
        if isinstance(schedule, str) and schedule in TORCH and torchs:
            self.torch, self.options = schedule, _torch_options(schedule, options)
        elif isinstance(schedule, type):
            raise FitError(f"schedule: {schedule.__name__} is a class: give its name, or one that is ready")
        elif callable(schedule):
            self.function = schedule
            self._refuse(options, "a function", names)
        else:
            self.phases = self._read(schedule, options, names, torchs)
        if self.warmup and self.torch in SET_MOMENTUM:
            raise FitError(f"{self.torch} rises by itself: leave out warmup")

    def _read(self, schedule: Any, options: Mapping[str, Any], names: Sequence[str], torchs: bool) -> list[Phase]:
        written = [schedule] if isinstance(schedule, (str, Phase)) else schedule
        if not isinstance(written, Sequence) or not all(isinstance(item, (str, Phase)) for item in written):
            raise FitError(f"a schedule is a name, a list of phases, a scheduler of torch or a function, not {schedule!r}")
        try:
            phases = [item if isinstance(item, Phase) else parse(item) for item in written]
            if not phases:
                raise Unreadable("there is no phase")
            known = [*OWN, *(TORCH if torchs and len(phases) == 1 else ())]
            for phase in phases:
                if phase.schedule in known and phase.schedule not in OWN:
                    raise FitError(
                        f"{phase.schedule} is a scheduler of torch: give its options beside it, as in lr:schedule=StepLR,step_size=2"
                    )
                if phase.schedule not in known:
                    hint = "; for several schedulers of torch pass a SequentialLR" if phase.schedule in TORCH and torchs else ""
                    raise FitError(f"no schedule {phase.schedule!r} (known: {listed(known)}){did_you_mean(phase.schedule, known)}{hint}")
            if options and len(phases) == 1:
                phases = [self._with(phases[0], options, names)]
            elif options:
                self._refuse(options, "a list of phases", names)
            check(phases, 100 * self.warmup if self.warmup < 1 and self.every == "step" else 0)
        except Unreadable as error:
            raise FitError(f"schedule {schedule!r}: {error}") from None
        if self.every == "epoch" and any(phase.length and phase.length.unit == "steps" for phase in phases):
            raise FitError("with every=epoch phases are counted in epochs: write '3 epochs' or '10 %'")
        return phases

    def _with(self, phase: Phase, options: Mapping[str, Any], names: Sequence[str]) -> Phase:
        """Lay options over those of a phase."""
        known = [name for name in signature(OWN[phase.schedule]).parameters if name != "steps"]
        self._refuse({name: value for name, value in options.items() if name not in known}, repr(phase.schedule), [*known, *names])
        bound = bind(partial(OWN[phase.schedule], 1), options, f"schedule {phase.schedule!r}")
        return Phase(phase.schedule, phase.length, {**phase.options, **bound})

    @staticmethod
    def _refuse(options: Mapping[str, Any], what: str, names: Sequence[str]) -> None:
        for word in options:
            raise FitError(f"schedule {what} has no option {word!r}{did_you_mean(word, names)}")

    @property
    def sized_from_run(self) -> bool:
        """Whether it depends on the length of the run."""
        sized = self.torch in SIZES and SIZES[self.torch] not in self.options
        return 0 < self.warmup < 1 or sized or any(phase.sized_from_run for phase in self.phases)

    @property
    def sets_momentum(self) -> bool:
        """Whether it sets the momentum beside the learning rate."""
        return self.torch in SET_MOMENTUM and bool(self.options.get("cycle_momentum", True))

    def warm(self, span: Span, who: str) -> int:
        """Return how many steps the warm-up takes."""
        if self.warmup >= 1 or not self.warmup:
            return int(self.warmup)
        return round(self.warmup * _known(span.steps, who, "step"))

    def line(self, span: Span, warm: int, groups: Sequence[Mapping[str, Any]], key: str, who: str) -> Line:
        """Build it for the values of some parameter groups.

        Args:
            span: of the run.
            warm: steps of the warm-up.
            groups: each with its value to begin with under `key`.
            key: of the value.
            who: what an error calls it.
        """
        total = span.epochs if self.every == "epoch" else span.steps
        if self.torch is not None:
            options = dict(self.options)
            if self.torch in SIZES and SIZES[self.torch] not in options:
                options[SIZES[self.torch]] = max(_known(total, who, self.every) - (warm if self.every == "step" else 0), 1)
            try:
                return Walk(lambda optimizer: TORCH[str(self.torch)](optimizer, **options), groups)
            except Unreadable as error:
                raise FitError(f"{who}: {self.torch}: {error}") from error
        if self.sized_from_run:
            _known(total, who, self.every)
        try:
            schedule = self.function or self._built(total, span, warm)
        except Unreadable as error:
            raise FitError(f"{who}: {error}; pass fit(epochs=...)") from None
        return Multiples([group[key] for group in groups], schedule)

    def _built(self, total: int | None, span: Span, warm: int) -> Schedule:
        if self.every == "epoch":
            return build(self.phases, total, 1)
        return build(self.phases, total, span.per_epoch, before=warm)

    def __str__(self) -> str:
        said = self.torch or ("a function" if self.function else ", ".join(map(str, self.phases)))
        said += "".join(f" {name}={value}" for name, value in self.options.items())
        warm = (
            f"warm-up of {self.warmup:.3g} steps, "
            if self.warmup >= 1
            else f"warm-up of {self.warmup:.3g} of the run, "
            if self.warmup
            else ""
        )
        return f"{warm}{said}, per {self.every}"


def _known(number: int | None, who: str, unit: Unit) -> int:
    if number is None:
        raise FitError(
            f"the schedule of {who} cannot be sized from the run, whose length in {unit}s is unknown: pass fit({unit}s=...), "
            "or another schedule"
        )
    return max(number, 1)


def _torch_options(schedule: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the options of a scheduler of torch; what is the length of the run may be left out."""
    given = {SIZES[schedule]: 1, **options} if schedule in SIZES else dict(options)
    bound = bind(partial(TORCH[schedule], cast("Any", None)), given, f"schedule {schedule!r}")
    return {name: value for name, value in bound.items() if name in options}

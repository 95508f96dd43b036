"""Metrics of the training itself: gradient norms, throughput, memory, timings. Those with hooks are plugins too."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Self

import torch

from fit_core import State, hookimpl
from fit_core.batch import batch_size
from fit_core.mean import column, kept
from fit_metrics.aggregates import Mean, Observed
from fit_metrics.state_leaves import nothing
from fit_metrics.tree import StateTree


class Watching(StateTree):
    """A tree that is also a plugin, which notes in `notes` what the copies of a pass take from there.

    The copies of passes share the notes; a tree made of this one has its own.
    """

    passive = True
    make_notes: Callable[[], Any]

    def __init__(self, name: str, higher_is_better: bool | None = None) -> None:
        super().__init__(nothing, name, higher_is_better=higher_is_better)
        self.notes = self.make_notes()

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other.notes = self.make_notes()
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        other = super().__deepcopy__(memo)
        other.notes = self.notes
        return other


class StepNotes(Watching):
    """One that notes something at every step, for the passes of training."""

    make_notes = list

    def begin(self, state: State) -> None:
        """Note whether this is training: an evaluation has no steps, and those of training are not its own."""
        super().begin(state)
        if self._training:
            self.notes.clear()
        else:
            self.notes = []

    def update_state(self, state: State) -> None:  # noqa: ARG002  # the hook has seen it
        """Take in what was noted since the last batch."""
        self._take_notes()

    def compute(self) -> dict[str, float]:
        """Return the values by name. Waits for the device."""
        self._take_notes()
        return super().compute()

    def value(self) -> float | None:
        """Return the one value that arithmetic works with. Waits for the device."""
        self._take_notes()
        return super().value()

    def state_dict(self) -> dict[str, Any]:
        """Return what was taken in. Waits for the device."""
        self._take_notes()
        return super().state_dict()

    def _take_notes(self) -> None:
        """Take in what was noted: also of the step that the end of the data makes, after the last batch."""
        for note in self.notes:
            self._take_note(note)
        self.notes.clear()

    def _take_note(self, note: Any) -> None:
        raise NotImplementedError


class GradNorm(StepNotes):
    """The Euclidean norm of all gradients of a step, right for its window and not yet clipped: `grad_norm`.

    With several updates, each step has a value of its own, and the mean is over all of them. An optimizer that evaluates a batch several
    times (LBFGS) has a value for each evaluation.
    """

    runs_before = ("clip",)

    def __init__(self) -> None:
        super().__init__("grad_norm")

    @hookimpl
    def on_step_start(self, state: State) -> None:
        assert state.update is not None
        if state.update.gradients():
            self.notes.append(state.update.gradient_norm())

    def _take_note(self, note: Any) -> None:
        self._keep(note, 1)


class LearningRate(StepNotes):
    """The learning rate that each step was made with, for every parameter group of every optimizer: `learning_rate`.

    Its mean over an epoch; the row's `lr` is that of the epoch's end. Several groups are `learning_rate_0`, `learning_rate_1`.
    """

    def __init__(self) -> None:
        super().__init__("learning_rate")
        self._given = (Mean(dim=0),)
        self._settle()

    @hookimpl
    def on_step_start(self, state: State) -> None:
        rates, made = list[Any](), list[float]()
        for update in state.updates.values():
            for optimizer in update.optimizers:
                rates += [kept(group["lr"]) for group in optimizer.param_groups]
                made += [float(update is state.update)] * len(optimizer.param_groups)
        self.notes.append((rates, made))

    def _take_note(self, note: Any) -> None:
        rates, made = (column(each, torch.device("cpu")) for each in note)
        alone = len(rates) == 1
        self._any = True
        self._add(Observed(rates if alone else rates[None], made if alone else made[None], [1]))


class Clock:
    """When the work on a batch began."""

    since: float = 0.0


class Throughput(Watching):
    """Samples per second; of a pass the samples by the seconds: `throughput`.

    The seconds are those from the moment when a batch is asked for to the one when it is done: validation and saving don't count.
    """

    make_notes = dict

    def __init__(self) -> None:
        super().__init__("throughput", higher_is_better=True)

    def update_state(self, state: State) -> None:
        """Take in the samples of a batch, and the seconds since it was asked for."""
        seconds = max(time.perf_counter() - self.notes[state.phase].since, 1e-9)
        self._keep(batch_size(state.targets, state.inputs, state.outputs) / seconds, seconds)

    @hookimpl(wrapper=True)
    def iter_batches(self, state: State) -> Generator[None, Iterator[Any], Iterator[Any]]:
        return asked_for((yield), self.notes.setdefault(state.phase, Clock()))


def asked_for(batches: Iterator[Any], clock: Clock) -> Iterator[Any]:
    """Yield batches, and note when each is asked for."""
    while True:
        clock.since = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch
        del batch


class DeviceMemory:
    """The most memory that was in use on the device so far, in MB (of the process, on the CPU): `device_memory`."""

    name = "device_memory"
    higher_is_better: bool | None = False

    def __init__(self) -> None:
        self._device = torch.device("cpu")

    def begin(self, state: State) -> None:
        """Note which device it is."""
        self._device = state.device

    def reset(self) -> None:
        """Forget nothing: the process's memory is not that of a pass."""

    def update(self, outputs: Any, targets: Any) -> None:
        """Do nothing."""

    def update_state(self, state: State) -> None:
        """Do nothing: memory is looked at when somebody asks."""

    def compute(self) -> float:
        """Return the peak in MB."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20
        import resource  # which Windows has not

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

    def merge(self, other: DeviceMemory) -> None:
        """Do nothing: the peak is that of the process."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: another process has memory of its own."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up nothing."""


PARTS = ("data", "forward", "loss", "backward", "step")
"""The last two belong to training."""


class Seconds:
    """How long each part of the work took; shared by all copies of a metric."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, float]] = {}

    def add(self, phase: str, part: str, began: float) -> None:
        """Add the time since `began`."""
        spent = self.of.setdefault(phase, dict.fromkeys(PARTS, 0.0))
        spent[part] += time.perf_counter() - began


class Timings:
    """Seconds that a pass spends on each part of its work.

    The values are `data_seconds`, `forward_seconds`, `loss_seconds`, `backward_seconds` and `step_seconds`.
    It is the time of the CPU: work that a GPU still has to do counts where something waits for it.
    """

    name: str = "timings"
    higher_is_better: bool | None = None
    passive = True

    def __init__(self) -> None:
        self._seconds = Seconds()
        self._phase = "train"

    def __copy__(self) -> Timings:
        other = Timings()
        other.name = self.name
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Timings:
        other = copy.copy(self)
        other._seconds = self._seconds
        return other

    def reset(self) -> None:
        """Forget nothing: `begin` does."""

    def begin(self, state: State) -> None:
        """Forget what earlier passes of this phase took."""
        self._phase = state.phase
        self._seconds.of.pop(self._phase, None)

    def update(self, outputs: Any, targets: Any) -> None:
        """Do nothing."""

    def update_state(self, state: State) -> None:
        """Do nothing: the hooks measure."""

    def compute(self) -> dict[str, float]:
        """Return the seconds of each part of the pass."""
        spent = self._seconds.of.get(self._phase, {})
        parts = PARTS if self._phase == "train" else PARTS[:3]
        return {f"{self._prefix}{part}_seconds": spent[part] for part in parts} if spent else {}

    def directions(self) -> dict[str, bool | None]:
        """Return the names."""
        return {f"{self._prefix}{part}_seconds": None for part in PARTS}

    @property
    def _prefix(self) -> str:
        """Under another name, its values begin with that."""
        return "" if self.name == type(self).name else f"{self.name}_"

    def merge(self, other: Timings) -> None:
        """Add what another one has measured."""
        for phase, spent in other._seconds.of.items():
            own = self._seconds.of.setdefault(phase, dict.fromkeys(PARTS, 0.0))
            for part, seconds in spent.items():
                own[part] += seconds

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured."""
        return {"seconds": {phase: dict(spent) for phase, spent in self._seconds.of.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._seconds.of = {phase: dict(spent) for phase, spent in state["seconds"].items()}

    @hookimpl(wrapper=True)
    def iter_batches(self, state: State) -> Generator[None, Iterator[Any], Iterator[Any]]:
        return self._timed((yield), state.phase)

    def _timed(self, batches: Iterator[Any], phase: str) -> Iterator[Any]:
        while True:
            began = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._seconds.add(phase, "data", began)
            yield batch
            del batch

    @hookimpl(wrapper=True)
    def forward(self, state: State) -> Generator[None, Any, Any]:
        began = time.perf_counter()
        outputs = yield
        self._seconds.add(state.phase, "forward", began)
        return outputs

    @hookimpl(wrapper=True)
    def compute_loss(self, state: State) -> Generator[None, Any, Any]:
        began = time.perf_counter()
        loss = yield
        self._seconds.add(state.phase, "loss", began)
        return loss

    @hookimpl(wrapper=True)
    def backward(self, state: State) -> Generator[None, Any, Any]:
        began = time.perf_counter()
        done = yield
        self._seconds.add(state.phase, "backward", began)
        return done

    @hookimpl(wrapper=True)
    def optimizer_step(self, state: State) -> Generator[None, Any, Any]:
        began = time.perf_counter()
        done = yield
        self._seconds.add(state.phase, "step", began)
        return done

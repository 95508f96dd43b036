"""What is going on now: the object every hook is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from fit_core.updates import Update

T = TypeVar("T")
Phase = Literal["train", "validate", "test", "predict"]
Moment = Literal["between", "batch", "update", "backward", "step"]
"""Where in a batch the loop is: what can still be skipped depends on it."""
Stage = Literal["train", "evaluate", "ended"]
"""How far an epoch is: its batches, then validation and its row, then nothing is left of it."""


class StateKey(Generic[T]):
    """A key for a value that plugins share: `GEN_IMAGES: StateKey[Tensor] = StateKey("gen_images")`.

    Two keys are never equal, even if their names are. Values live until the batch is done.

    Args:
        name: what `repr` shows.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"StateKey({self.name!r})"


@dataclass(slots=True)
class Progress:
    """The counters behind a `State`. Only the core writes them.

    Attributes:
        interrupted: whether the stop is an interruption, after which the run can go on.
        whole: whether everything is between two batches, so that it can be saved: at safe points, and outside of runs
            unless one has failed.
        streams: how often each plugin has asked for random numbers at this place.
        place: steps, batches over all epochs, and batches of the pass that random numbers of plugins are of; None: the counters. A
            resumed epoch begins again in its midst, and what is drawn then is what was drawn at its beginning.
    """

    phase: Phase
    epoch: int = 0
    epochs: float = 0
    batch: int = 0
    batches: int | None = None
    batch_count: int = 0
    step: int = 0
    steps_total: int | None = None
    validation: tuple[str, ...] = ()
    stage: Stage = "train"
    resumed: bool = False
    stop_reason: str | None = None
    interrupted: bool = False
    whole: bool = True
    moment: Moment = "between"
    skip_batch: bool = False
    training: bool = False
    streams: dict[str, int] = field(default_factory=dict)
    place: tuple[int, int, int] | None = None

    def begin_run(self) -> None:
        """Forget where an earlier run ended, or failed; the counters go on."""
        self.batch = 0
        self.stage = "ended"
        self.moment = "between"
        self.skip_batch = self.training = self.resumed = self.interrupted = self.whole = False
        self.stop_reason = None

    def begin_epoch(self) -> None:
        """Count an epoch; none of its batches has begun."""
        self.epoch += 1
        self.batch = 0
        self.stage = "train"
        self.training = True

    def begin_again(self, steps: int) -> None:
        """Begin an epoch again in its midst, which began after so many steps."""
        self.place = (steps, self.batch_count - self.batch, 0)
        self.streams.clear()

    def begin_batch(self) -> None:
        """Count a batch."""
        self.batch += 1
        self.moment = "batch"
        self.skip_batch = False
        self.streams.clear()


class State:
    """The state of one pass over data.

    Validation, `evaluate` and `predict` have a `State` of their own with the run's counters. The counters are
    read-only. Values of a batch (`inputs` to `weight`, and everything under a `StateKey`) are released after
    `on_batch_end` or `on_eval_batch_end`.

    Attributes:
        inputs: what the model is called with.
        targets: what the loss compares with, or None.
        outputs: what the model returned.
        loss: the loss of the batch, a tensor with one element, penalties included.
        weight: the number of terms the loss is a mean of: an int, or a tensor with one element.
        model: the module that `forward` calls in this pass.
        device: where batches go.
        update: the `Update` at work, None outside of one.
        updates: all updates by name.
        row: the numbers of the epoch (or of the evaluation) once they are complete, read-only.
        run_dir: the run folder, or None.
    """

    __slots__ = (
        "_counted",
        "_metrics",
        "_progress",
        "_store",
        "device",
        "inputs",
        "loss",
        "model",
        "outputs",
        "row",
        "run_dir",
        "targets",
        "update",
        "updates",
        "weight",
    )

    def __init__(
        self,
        progress: Progress,
        model: nn.Module,
        device: torch.device,
        updates: Mapping[str, Update],
        metrics: Callable[[], dict[str, float]],
        run_dir: Path | None = None,
    ) -> None:
        self._progress = progress
        self._metrics = metrics
        self._store: dict[StateKey[Any], Any] = {}
        self.model = model
        self.device = device
        self.update: Update | None = None
        self.updates = updates
        self.row: Mapping[str, float] = MappingProxyType({})
        self.run_dir = run_dir
        self.clear_batch()

    def clear_batch(self) -> None:
        """Release everything that belongs to a batch. Called by the core after each."""
        self.inputs: Any = None
        self.targets: Any = None
        self.outputs: Any = None
        self.loss: Tensor = None  # type: ignore[assignment]  # None only between batches, where no hook needs it
        self.weight: int | float | Tensor | None = None
        self._counted: int | float | Tensor | None = None  # the weight that the core counted, which is nobody else's
        if self._store:
            self._store.clear()

    @property
    def phase(self) -> Phase:
        """What the data is used for: "train", "validate", "test" or "predict"."""
        return self._progress.phase

    @property
    def epoch(self) -> int:
        """The epoch at work, over all calls of `fit`; 1 is the first, 0 means none has begun."""
        return self._progress.epoch

    @property
    def epochs(self) -> float:
        """The epoch at which this call of `fit` is done; infinity if something else ends it."""
        return self._progress.epochs

    @property
    def batch(self) -> int:
        """The batch at work in this pass; 1 is the first."""
        return self._progress.batch

    @property
    def batches(self) -> int | None:
        """How many batches the pass has; None if unknown."""
        return self._progress.batches

    @property
    def batch_count(self) -> int:
        """How many training batches have begun, over all epochs."""
        return self._progress.batch_count

    @property
    def step(self) -> int:
        """How many steps the first update has finished."""
        return self._progress.step

    @property
    def steps_total(self) -> int | None:
        """An estimate of `step` at the end of this call of `fit`; None if unknown."""
        return self._progress.steps_total

    @property
    def validation(self) -> tuple[str, ...]:
        """The prefixes that this call of `fit` gives to values of its validation sets: `("val_",)`; empty without any."""
        return self._progress.validation

    @property
    def position(self) -> Literal["batch", "epoch"]:
        """Whether `on_safe_point` comes after a batch or after an epoch."""
        return "batch" if self._progress.stage == "train" else "epoch"

    @property
    def resumed(self) -> bool:
        """Whether the run goes on from a checkpoint."""
        return self._progress.resumed

    @property
    def stop_reason(self) -> str | None:
        """Why the run was asked to stop; None if it was not."""
        return self._progress.stop_reason

    @property
    def interrupted(self) -> bool:
        """Whether the run was interrupted: asked to stop, and not finished, so that it can be resumed."""
        return self._progress.interrupted

    @property
    def metrics(self) -> dict[str, float]:
        """The values of the pass so far, as floats. Reading it waits for the device."""
        return self._metrics()

    def __getitem__(self, key: StateKey[T]) -> T:
        value: T = self._store[_checked(key)]
        return value

    def __setitem__(self, key: StateKey[T], value: T) -> None:
        self._store[_checked(key)] = value

    def __contains__(self, key: StateKey[Any]) -> bool:
        return _checked(key) in self._store

    def get(self, key: StateKey[T], default: T | None = None) -> T | None:
        """Return the value under a key, or a default if nobody has put one there in this batch."""
        return self._store.get(_checked(key), default)

    def where(self) -> str:
        """Say where the run is: `"in epoch 2, batch 7 (train)"`."""
        if not self.batch and self._progress.stage != "evaluate":
            return f"before the first batch of epoch {self.epoch or 1} ({self.phase})"
        if self.phase == "train" and self.position == "epoch":
            return f"at the end of epoch {self.epoch}"
        epoch = f"epoch {self.epoch}, " if self.epoch else ""
        return f"in {epoch}batch {self.batch} ({self.phase})"

    @classmethod
    def attributes(cls) -> Iterable[str]:
        """Name every public attribute."""
        return [name for name in dir(cls) if not name.startswith("_") and not callable(getattr(cls, name))]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in ("phase", "epoch", "batch", "step"))
        keys = ", ".join(key.name for key in self._store)
        return f"State({shown}{', keys: ' + keys if keys else ''})"


def _checked(key: StateKey[T]) -> StateKey[T]:
    if not isinstance(key, StateKey):
        raise TypeError(f"state[{key!r}]: a key must be a StateKey; write KEY = StateKey({key!r}) and state[KEY] = ...")
    return key

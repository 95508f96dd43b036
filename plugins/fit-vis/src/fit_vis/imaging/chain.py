"""Pictures picked from the state, and sent somewhere: a chain that is a plugin."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
from torch import Tensor

from fit_core import Every, FitError, State, StateKey, hookimpl
from fit_core.items import Image, Images
from fit_vis.imaging.gathered import Gathered
from fit_vis.looking import pictures_or_error, shown
from fit_vis.pictures import grid, png
from fit_vis.schedule import Schedule

if TYPE_CHECKING:
    from fit_core import Trainer

Source = str | StateKey[Any] | Callable[[State], Any]
Handler = Callable[[Tensor, int, State], None]


class End(NamedTuple):
    """Where a chain leads.

    Attributes:
        send: takes pictures (count, channels, height, width).
        shows: whether there is nothing to do if no plugin shows pictures.
    """

    send: Callable[[Trainer, State, Tensor], None]
    shows: bool = False


class FromState:
    """Picks pictures from the state in each batch, and sends them where the chain says.

    `FromState("inputs").on_val().cache(16).make_grid().show("inputs")`. Each call returns a new chain and leaves the old one as it was, so
    that two chains may share their beginning. A chain is a plugin: `Trainer(plugins=[chain])`.

    Args:
        source: an attribute of the state ("inputs", "outputs"), a `StateKey`, or a function of the state. It gives pictures (batch,
            channels, height, width), or one (channels, height, width), of one or three channels; None means none in this batch. Values
            are bytes, or floats from 0 to 1; the range of others is stretched to that.
        transform: what is done to them first.

    Raises:
        FitError: the state has no such attribute.
    """

    passive = True

    def __init__(self, source: Source, transform: Callable[[Any], Any] | None = None) -> None:
        if isinstance(source, str) and source not in State.attributes():
            raise FitError(f"the state has no attribute {source!r}; give one that it has, a StateKey or a function of the state")
        self.name = "imaging"
        self.source, self.transform = source, transform
        self._phases: frozenset[str] = frozenset()
        self._interval: str | None = None
        self._count: int | None = None
        self._columns: int | None = None
        self._grid = False
        self._ends: tuple[End, ...] = ()
        self._begin_anew()

    def on_train(self) -> Self:
        """Pick in training."""
        return self._with(_phases=self._phases | {"train"})

    def on_val(self) -> Self:
        """Pick in validation."""
        return self._with(_phases=self._phases | {"validate"})

    def on_test(self) -> Self:
        """Pick in `trainer.evaluate` and `fit evaluate`."""
        return self._with(_phases=self._phases | {"test"})

    def every(self, interval: str) -> Self:
        """Pick every so often only: in training from the first batch, and from one when so much is done; of validations whole passes."""
        return self._with(_interval=str(Every(interval)))

    def cache(self, count: int) -> Self:
        """Gather so many pictures, and send them once: when there are enough, or, of fewer, at the end of the pass."""
        if count < 1:
            raise FitError(f"cache needs at least 1 picture, not {count}")
        return self._with(_count=count)

    def make_grid(self, columns: int | None = None) -> Self:
        """Lay pictures out in rows, as one picture; None: about as many columns as rows."""
        if columns is not None and columns < 1:
            raise FitError(f"make_grid needs at least 1 column, not {columns}")
        return self._with(_grid=True, _columns=columns)

    def named(self, name: str) -> Self:
        """Call the plugin otherwise than by what it shows or writes first."""
        return self._with(name=name)

    def show(self, name: str) -> Self:
        """Show them to every plugin that shows pictures."""

        def send(trainer: Trainer, _: State, pictures: Tensor) -> None:
            trainer.show(name, Images(pictures) if len(pictures) > 1 else Image(pictures[0]))

        return self._ending(name, send, shows=True)

    def to_file(self, path: str) -> Self:
        """Write them as PNG files, which waits for the device.

        Args:
            path: below the run folder; `{epoch}`, `{step}`, `{batch}`, `{phase}` and `{index}` (of the picture) stand for what they are,
                `{epoch:03d}` with leading zeros.

        Raises:
            FitError: something else is to be filled in.
        """
        try:
            path.format(epoch=1, step=1, batch=1, phase="train", index=0)
        except (KeyError, IndexError, ValueError) as error:
            raise FitError(f"to_file({path!r}) cannot fill in {error}; there are epoch, step, batch, phase and index") from None

        def send(trainer: Trainer, state: State, pictures: Tensor) -> None:
            if len(pictures) > 1 and "{index" not in path:
                raise FitError(
                    f"to_file({path!r}) has {len(pictures)} pictures to write: put {{index}} into the name, or make_grid() before"
                )
            for i, picture in enumerate(pictures):
                said = path.format(epoch=state.epoch, step=state.step, batch=state.batch, phase=state.phase, index=i)
                file = trainer.ensure_run_dir() / said
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(png(picture))

        return self._ending(path.split("{", maxsplit=1)[0], send)

    def to_state(self, key: StateKey[Tensor]) -> Self:
        """Put them under a key of the state as (count, channels, height, width), for plugins that are called later in the same hook."""

        def send(_: Trainer, state: State, pictures: Tensor) -> None:
            state[key] = pictures

        return self._ending(key.name, send)

    def with_handler(self, handler: Handler) -> Self:
        """Call `handler(picture, index, state)` with each, (channels, height, width) from 0 to 1. It should change nothing in training."""

        def send(_: Trainer, state: State, pictures: Tensor) -> None:
            for i, picture in enumerate(pictures):
                handler(picture, i, state)

        return self._ending(getattr(handler, "__name__", "handler"), send)

    def _ending(self, name: str, send: Callable[[Trainer, State, Tensor], None], shows: bool = False) -> Self:
        words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        own = f"imaging-{words}" if self.name == "imaging" and words else self.name
        return self._with(_ends=(*self._ends, End(send, shows)), name=own)

    def _with(self, **changes: Any) -> Self:
        other = copy.copy(self)
        vars(other).update(changes)
        other._begin_anew()
        return other

    def _begin_anew(self) -> None:
        self._batches, self._passes = (None if self._interval is None else Schedule(self._interval) for _ in range(2))
        self._training, self._evaluating = Gathered(self._count), Gathered(self._count)
        self._state: State | None = None

    @hookimpl
    def on_setup(self) -> None:
        if not self._phases or not self._ends:
            missing = "where to send them: show(), to_file(), ..." if self._phases else "when to pick: on_train(), on_val() or on_test()"
            raise FitError(f"{self.name} does not say {missing}")

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        for schedule in (self._batches, self._passes):
            if schedule is not None:
                schedule.begin(state)

    @hookimpl
    def on_train_epoch_start(self) -> None:
        if self._batches is None:
            self._training.open()

    @hookimpl
    def on_batch_start(self, state: State) -> None:
        if self._batches is not None and self._batches.batch(state):
            self._training.open()

    @hookimpl
    def on_batch_end(self, trainer: Trainer, state: State) -> None:
        if "train" in self._phases:
            self._pick(trainer, state, self._training)
            if self._batches is not None and self._count is None:
                self._training.close()

    @hookimpl
    def on_train_epoch_end(self, trainer: Trainer, state: State) -> None:
        self._send(trainer, state, self._training.close())

    @hookimpl
    def on_eval_start(self, state: State) -> None:
        looks = state.phase in self._phases and (self._passes is None or self._passes.end(state))
        self._state = state if looks else None
        self._evaluating.open()

    @hookimpl
    def on_eval_batch_end(self, trainer: Trainer, state: State) -> None:
        if state is self._state:
            self._pick(trainer, state, self._evaluating)

    @hookimpl
    def on_eval_end(self, trainer: Trainer, state: State) -> None:
        left = self._evaluating.close()
        if state is self._state and not state.interrupted:
            self._send(trainer, state, left)
        self._state = None

    def _pick(self, trainer: Trainer, state: State, gathered: Gathered) -> None:
        """Take the pictures of a batch, if they are wanted, and send those that are ready."""
        if not gathered.wants or not any(shown(trainer) or not end.shows for end in self._ends):
            return
        value: Any
        if isinstance(self.source, str):
            value = getattr(state, self.source)
        else:
            value = state.get(self.source) if isinstance(self.source, StateKey) else self.source(state)
        if value is None:
            return
        with torch.no_grad():
            value = value if self.transform is None else self.transform(value)
        if isinstance(value, Tensor) and value.dim() == 3:
            value = value[None]
        pictures = pictures_or_error(self.name, value)
        if not gathered.fits(pictures):
            raise FitError(f"{self.name} cannot cache pictures of several sizes; bring them to one by transform=, or leave cache() out")
        self._send(trainer, state, gathered.add(pictures))

    def _send(self, trainer: Trainer, state: State, pictures: Tensor | None) -> None:
        if pictures is None:
            return
        if self._grid:
            pictures = grid(pictures, self._columns)[None]
        for end in self._ends:
            end.send(trainer, state, pictures)

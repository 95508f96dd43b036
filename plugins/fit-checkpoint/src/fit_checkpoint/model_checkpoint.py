"""The plugin `checkpoint`."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from fit_checkpoint.keeping import Rule, Saved
from fit_checkpoint.monitor import check_possible, check_there
from fit_checkpoint.naming import COUNTERS, Template, free
from fit_checkpoint.options import check_options
from fit_checkpoint.places import goes_on_here, is_over, lost_here, place_of, row_of
from fit_checkpoint.shelf import Shelf
from fit_core import Every, State, hookimpl
from fit_core.cadence import Due
from fit_core.checkpoint import WriteError, find_checkpoint
from fit_core.metric_list import higher_is_better
from fit_core.saving import load_weights

if TYPE_CHECKING:
    from fit_core import Trainer


class ModelCheckpoint:
    """Saves checkpoints every so often, at the end of the run, and when a value is better than before; keeps the last and the best.

    Of all that it has saved, the newest `last` and the best `best` are kept. What is neither is removed once a newer one is
    safe on the disk; what others have saved is never removed. `checkpoints/best` names the best one (`checkpoints/best-NAME`
    if the plugin has another name than "checkpoint"). A run that is resumed from its own folder still knows what it has kept;
    any other begins anew, and leaves alone what lies there.

    Args:
        every: how often to save besides, such as "100 steps", "2 epochs" or "30 minutes"; None: only at the end.
        last: how many of the newest to keep, or "all"; with 0 only the best are saved.
        best: how many of the best to keep; 0 monitors nothing.
        monitor: the name of a value in the row, looked at whenever an epoch ends; None: "val_loss", if there is validation data.
            NaN is never best; of equal ones the earlier is.
        mode: "min" or "max" is better; "auto" asks the metric, and takes losses as better when they are lower.
        restore_best: when the run has ended, unless it failed or was interrupted, give the model (and a loss with parameters) the
            best weights.
        weights_only: save only the weights, those that the stage `export_model` chooses; no run can go on from them.
        name: what to call them, a format over step, epoch and values of the row: "epoch-{epoch:02}-{val_loss:.3f}". Where there is
            no such value, as in the midst of an epoch, and by default, they are called by their step.
        on_error: if one cannot be written, "stop" the run, or "warn" and go on. What was saved before stays whole.

    Raises:
        FitError: options contradict each other, or the name cannot be that of a folder.
    """

    passive = True
    runs_before = ("save-last",)  # a checkpoint that both share should know what this one keeps

    def __init__(
        self,
        every: Every | str | None = None,
        last: int | Literal["all"] = 1,
        best: int = 1,
        monitor: str | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
        restore_best: bool = False,
        weights_only: bool = False,
        name: str | None = None,
        on_error: Literal["stop", "warn"] = "stop",
    ) -> None:
        check_options(every, last, best, mode, restore_best, on_error)
        self.every = None if every is None else Every(every)
        self.last = last
        self.best = best
        self.monitor = monitor or "val_loss"
        self._only_if_validated = best if monitor is None and best == 1 and last != 0 and not restore_best else 0
        self.mode = mode
        self.restore_best = restore_best
        self.weights_only = weights_only
        self.template = None if name is None else Template(name)
        self.on_error = on_error
        self._shelf = Shelf(Rule(None if last == "all" else last, best))
        self._due: Due | None = None
        self._loaded: Mapping[str, Any] | None = None
        self._owner = "checkpoint"
        self._place: list[Any] | None = None  # where it last looked whether to save
        self._acts_within_epochs = False
        self._tried: tuple[int, int] | None = None
        self._failed = False

    @property
    def names(self) -> list[str]:
        """The checkpoints that are kept."""
        return [each[0] for each in self.state_dict()["saved"]]

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        self._owner = next(name for name, plugin in trainer.plugins.items() if plugin is self)
        if self._only_if_validated:
            self.best = self._only_if_validated if state.validation else 0
        for what, value, _ in self._needs():
            check_possible(what, value, trainer, state)
        if self.best:
            direction = higher_is_better(self._owner, self.monitor, self.mode, trainer.metrics)
            self._shelf.rule = Rule(self._shelf.rule.last, self.best, direction)
        self._failed = False
        missed = self._take_up(trainer, state)
        row = row_of(trainer, state)
        if missed and not self.weights_only:
            self._share(trainer, state, row)
        with self._reported():
            self._shelf.open(trainer.checkpoints, self._owner)
        if missed and self.weights_only:
            self._save_if_wanted(trainer, state, row)

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State, row: Mapping[str, float]) -> None:
        for what, value, besides in self._needs():
            check_there(what, value, row, trainer, state, besides)

    @hookimpl(trylast=True)
    def on_safe_point(self, trainer: Trainer, state: State) -> None:
        if self._acts_within_epochs or state.row or state.stop_reason is not None:
            self._save_if_wanted(trainer, state, state.row, is_over(state))

    @hookimpl
    def on_exception(self) -> None:
        self._failed = True

    @hookimpl
    def on_fit_end(self, trainer: Trainer, state: State) -> None:
        if self._failed or state.interrupted:
            return
        if self._tried != (state.batch_count, state.step):  # a stop that was asked for after the last safe point
            self._save_if_wanted(trainer, state, state.row, over=True)
        if self.restore_best:
            self._restore(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept, and when something is due next."""
        if self._loaded is not None:
            return copy.deepcopy(dict(self._loaded))
        due = None if self._due is None else self._due.state_dict()
        saved = [[each.name, each.place, each.value] for each in self._shelf.saved]
        return {"saved": saved, "due": due, "place": self._place, "monitor": self.monitor, "weights_only": self.weights_only}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned, once the next `fit` begins."""
        self._loaded = state

    # ------------------------------------------------------------------------------------------------ when to save

    def _save_if_wanted(self, trainer: Trainer, state: State, row: Mapping[str, float], over: bool = False) -> None:
        """Save if something is due, if the run is over, or if the epoch is one of the best."""
        value, self._place = self._value(row), place_of(state)
        if self._is_wanted(state, row, value, over):
            self._tried = (state.batch_count, state.step)
            with self._reported():
                name = self._name_here(trainer, state, row)
                with self._shelf.adding(Saved(name, state.batch_count, value)):
                    self._write(trainer, name)
                self._shelf.settle(trainer.checkpoints)

    def _is_wanted(self, state: State, row: Mapping[str, float], value: float | None, over: bool = False) -> bool:
        due = self._is_due(state, row)
        return ((due or over) and self.last != 0) or self._shelf.enters(value)

    def _is_due(self, state: State, row: Mapping[str, float]) -> bool:
        """Whether it is time for a checkpoint; if so, count on. An epoch whose validation was abandoned is not complete."""
        if self._due is None:
            return False
        due = self._due.after_batch(state) if state.position == "batch" else bool(row) and self._due.after_epoch(state)
        if due:
            self._due.advance(state)
        return due

    def _value(self, row: Mapping[str, float]) -> float | None:
        value = float(row.get(self.monitor, math.nan)) if self.best else math.nan
        return None if math.isnan(value) else value

    def _needs(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Yield who needs which value of the row for what, and what there is besides."""
        if self.best:
            yield f"{self._owner} monitors", self.monitor, ()
        for value in () if self.template is None else self.template.values:
            yield f"{self._owner} names checkpoints by", value, COUNTERS

    # ------------------------------------------------------------------------------------------------ how to save

    def _name_here(self, trainer: Trainer, state: State, row: Mapping[str, float]) -> str:
        values = {**row, "epoch": state.epoch, "step": state.step}
        wanted = None
        if self.template is not None and all(value in values for value in self.template.values):
            wanted = self.template.filled(values)
        if not self.weights_only:
            return trainer.checkpoints.name(wanted)
        folder, wanted = trainer.checkpoints.folder, wanted or f"weights-{state.step:08}"
        lost = lost_here(folder, wanted, _names_in(trainer), state) if goes_on_here(trainer, state) else None
        return free(folder, wanted) if lost is None else lost

    def _write(self, trainer: Trainer, name: str) -> None:
        if self.weights_only:
            trainer.save(trainer.checkpoints.folder / name, weights_only=True)
        else:
            trainer.checkpoints.save(name)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Let a disk that fails stop the run or not, as was asked."""
        try:
            yield
        except WriteError as error:
            if self.on_error == "stop":
                raise
            warnings.warn(f"{error}; the run goes on", stacklevel=2)

    # ------------------------------------------------------------------------------------------------ beginning and end

    def _take_up(self, trainer: Trainer, state: State) -> bool:
        """Know again what was kept before, if it was kept in this folder; else begin anew, and leave alone what lies there.

        Returns:
            Whether the run was resumed from a checkpoint that was written before this one's turn at that place.
        """
        folder = trainer.checkpoints.folder
        loaded, self._loaded = self._loaded, None
        if loaded is not None or not self._shelf.stands_in(folder):
            own = goes_on_here(trainer, state)
            same = loaded is not None and all(loaded[key] == getattr(self, key) for key in ("monitor", "weights_only"))
            self._shelf.set_up(folder, [Saved(*each) for each in loaded["saved"]] if loaded is not None and own and same else [])
        if self.every is not None and (self._due is None or loaded is not None):
            self._due = Due(self.every, state)
            if loaded is not None and loaded["due"] is not None:
                self._due.load_state_dict(loaded["due"])
        self._acts_within_epochs = self._due is not None and self._due.in_batches
        self._place = place_of(state)
        if not state.resumed:
            return False
        if loaded is None or loaded["place"] == self._place:
            self._tried = (state.batch_count, state.step)  # what is here was saved already
            return False
        return self._acts_within_epochs or state.position == "epoch"

    def _share(self, trainer: Trainer, state: State, row: Mapping[str, float]) -> None:
        """Count in what the run was resumed from, if another plugin of this class wrote it, and this one would have."""
        name, value = trainer.checkpoints.resumed_from, self._value(row)
        if name is not None and name in _names_in(trainer) and self._is_wanted(state, row, value):
            self._shelf.saved.append(Saved(name, state.batch_count, value))

    def _restore(self, trainer: Trainer) -> None:
        """Give the model the weights of the best checkpoint."""
        best = self._shelf.best
        if best is not None:
            load_weights(trainer, find_checkpoint(trainer.checkpoints.folder / best.name))
        else:
            warnings.warn(f"{self._owner} has no best checkpoint to restore, so the model keeps its last weights", stacklevel=2)


def _names_in(trainer: Trainer) -> set[str]:
    """Return what the plugins of this class keep."""
    return {name for plugin in trainer.plugins.values() if isinstance(plugin, ModelCheckpoint) for name in plugin.names}

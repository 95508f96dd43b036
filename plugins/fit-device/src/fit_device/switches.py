"""Switches of torch that are set while a trainer works, and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fit_core import FitError, State, hookimpl
from fit_device.flags import put_back, set_flags

if TYPE_CHECKING:
    from fit_core import Trainer


class Switches:
    """Sets switches of the process when a `fit`, or an evaluation on its own, begins, and puts them back when it ends, in whatever way.

    Args:
        values: what to set, by the names in `flags.FLAGS`.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self._before: dict[str, Any] = {}
        self._holder: State | None = None

    @hookimpl(tryfirst=True)
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        self._set(trainer, state)

    @hookimpl(tryfirst=True)
    def on_eval_start(self, trainer: Trainer, state: State) -> None:
        self._set(trainer, state)

    @hookimpl(trylast=True)
    def on_eval_end(self, state: State) -> None:
        self._put_back(state)

    @hookimpl
    def on_exception(self, state: State) -> None:
        self._put_back(state)

    @hookimpl
    def on_fit_end(self, state: State) -> None:
        self._put_back(state)

    def _set(self, trainer: Trainer, state: State) -> None:
        if self._holder is None:  # else a pass inside of another
            self.check(state)
            for name, other in trainer.plugins.items():
                both = [] if other is self or not isinstance(other, Switches) else sorted(other.values.keys() & self.values.keys())
                if both:
                    raise FitError(f"two plugins set {both[0]}, one of them {name!r}; leave one of them out")
            self._holder, self._before = state, set_flags(self.values)

    def _put_back(self, state: State) -> None:
        if state is self._holder:
            put_back(self._before)
            self._holder = None

    def check(self, state: State) -> None:
        """Raise a FitError if they cannot do what they should here."""

"""Everything that is shown, as files in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fit_core import FitError, State, hookimpl
from fit_core.items import Item
from fit_vis.checks import check, writing_to
from fit_vis.files import numbered, remove, shown_later, stems, write
from fit_vis.places import relative

if TYPE_CHECKING:
    from fit_core import Trainer


class ShowFiles:
    """Writes what plugins show into the run folder: `shown/NAME/step-00000120.png`.

    Beside a picture lies a `.json` with the exact numbers and names of histograms, heat maps, scatter plots, tables and captions. Words are
    `.md`; an embedding is a folder with tables that the projector reads, and its picture. Each file is whole or not there. What is shown
    twice at a step gets a number. A resumed run removes what was shown after its checkpoint.

    Args:
        folder: where to; a relative one lies in the run folder.
        keep: how many of each name are kept, the newest; None: all.
    """

    passive = True

    def __init__(self, folder: str | Path = Path("shown"), keep: int | None = None) -> None:
        if keep is not None and keep < 1:
            raise FitError(f"keep must be at least 1, not {keep}")
        self.folder = Path(folder)
        self.keep = keep
        self._last: dict[str, tuple[str, int]] = {}
        self._restored = False

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        if state.resumed and self._restored:
            root = trainer.ensure_run_dir() / self.folder
            last = {root / where: numbered(*last) for where, last in self._last.items()}
            for place, late in list(shown_later(root, "step-", last)):
                if place in last or not self.folder.is_absolute():  # another run may have shown other names in a folder of both
                    remove(place, late)

    @hookimpl
    def on_show(self, trainer: Trainer, state: State, name: str, item: Item) -> None:
        check(name, item)
        where = str(relative(name))
        prefix = "step-" if trainer.is_fitting else f"{state.phase}-step-"
        stem = f"{prefix}{state.step:08}"
        last, count = self._last.get(where, ("", 0))
        self._last[where] = (stem, count + 1 if last == stem else 1)
        place = trainer.ensure_run_dir() / self.folder / where
        with writing_to(place):
            write(place, numbered(*self._last[where]), item)
            if self.keep is not None:
                for old in stems(place, prefix)[: -self.keep]:
                    remove(place, old)

    def state_dict(self) -> dict[str, Any]:
        """Return what was shown last, so that a resumed run knows which files are its own."""
        return {"last": {where: list(last) for where, last in self._last.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._last = {where: (stem, count) for where, (stem, count) in state["last"].items()}
        self._restored = True

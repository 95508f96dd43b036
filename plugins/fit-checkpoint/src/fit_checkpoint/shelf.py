"""The checkpoints that one plugin keeps in a run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fit_checkpoint.keeping import Rule, Saved
from fit_core.saving import Checkpoints


class Shelf:
    """What was saved and is still kept, in the order of saving. Nothing else in the folder is touched.

    Args:
        rule: what is kept.

    Attributes:
        saved: what is kept now.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.saved: list[Saved] = []
        self._owner = self._pointer = ""
        self._folder: Path | None = None
        self._pointed: str | None = None
        self._spared: set[str] = set()

    def stands_in(self, folder: Path) -> bool:
        """Tell whether this is the folder of the run that it was set up for last."""
        return folder == self._folder

    def set_up(self, folder: Path, known: Sequence[Saved]) -> None:
        """Begin with the checkpoints of a run; those that were kept until now are let alone.

        Args:
            folder: of the run's checkpoints.
            known: what it has kept before; one that is not there any more is forgotten.
        """
        before = {each.name for each in self.saved}
        self.saved = [each for each in known if (folder / each.name).is_dir()]
        self._spared |= before - {each.name for each in self.saved}
        self._folder, self._pointed = folder, None

    def open(self, checkpoints: Checkpoints, owner: str) -> None:
        """Say at the beginning of a run what is needed, and mend the pointer.

        Args:
            checkpoints: of the run.
            owner: the plugin's name.

        Raises:
            WriteError: the pointer cannot be written.
        """
        self._owner, self._pointer = owner, "best" if owner == "checkpoint" else f"best-{owner}"
        self._hold(checkpoints)
        self._point(checkpoints)

    def enters(self, value: float | None) -> bool:
        """Tell whether a checkpoint with this value, saved now, would be among the best."""
        return self.rule.enters(self.saved, value)

    @property
    def best(self) -> Saved | None:
        """The very best one."""
        return next(iter(self.rule.ranked(self.saved)), None)

    @contextmanager
    def adding(self, new: Saved) -> Iterator[None]:
        """Count a checkpoint in while it is written, so that it knows of itself; not, if that fails."""
        before, written = self.saved, False
        self.saved = [*(each for each in before if not new.replaces(each)), new]
        try:
            yield
            written = True
        finally:
            if not written:
                self.saved = before

    def settle(self, checkpoints: Checkpoints) -> None:
        """Now that a new one is safe, let the pointer name the best, and remove what is kept no longer.

        Raises:
            WriteError: the pointer cannot be written (then nothing is removed), or something cannot be removed.
        """
        self.saved = [each for each in self.saved if (checkpoints.folder / each.name).is_dir()]
        self._spared -= {each.name for each in self.saved}
        self._hold(checkpoints)
        self._point(checkpoints)
        self.saved = self.rule.kept(self.saved)
        self._hold(checkpoints)

    def _hold(self, checkpoints: Checkpoints) -> None:
        checkpoints.hold(self._owner, {*(each.name for each in self.saved), *self._spared})

    def _point(self, checkpoints: Checkpoints) -> None:
        best = self.best
        if best is not None and best.name != self._pointed:
            checkpoints.point(self._pointer, best.name)
            self._pointed = best.name

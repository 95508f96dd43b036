"""Everything that is logged and shown, for TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fit_core import State, hookimpl
from fit_core.items import Embedding, Item, Text
from fit_vis import summaries
from fit_vis.checks import check, writing_to
from fit_vis.events import EventFile, cut
from fit_vis.graph import graph_of
from fit_vis.places import relative
from fit_vis.projector import add_to_projector, forget_after

if TYPE_CHECKING:
    from fit_core import Trainer
    from fit_core.log import LogEntry


class TensorBoard:
    """Writes numbers and what plugins show for TensorBoard: `tensorboard --logdir runs`.

    Scalars: the loss and the learning rates of each batch, what plugins log, validations, the row as `epoch/...`. Pictures, histograms,
    words and tables under their names; embeddings in the projector; the trainer in words. The script's options are hyper-parameters. A
    resumed run takes back what was written after its checkpoint, so that each step is there once.

    Args:
        folder: where to; a relative one lies in the run folder.
        graph: add the graph of the model, traced with the first batch; a failure is a warning. It needs the package `tensorboard`.
        hparams: hyper-parameters by name, beside the script's options and the seed.
    """

    passive = True

    def __init__(
        self, folder: str | Path = Path("tensorboard"), graph: bool = False, hparams: Mapping[str, summaries.HParam] | None = None
    ) -> None:
        self.folder = Path(folder)
        self.graph = graph
        self.hparams = dict(hparams or {})
        self._saved: Mapping[str, Any] = {}
        self._file: EventFile | None = None
        self._running = False
        self._graph_due = False

    @hookimpl(tryfirst=True)
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        self._running = True
        if state.resumed and self._saved:
            folder = trainer.ensure_run_dir() / self.folder
            with writing_to(folder):
                cut(folder, self._saved["begun_seconds"], self._saved["events"])
                forget_after(folder, state.step, self._saved["begun_seconds"])
                self._file = EventFile(folder, self._saved["begun_seconds"], state.step)
        elif self._file is None:
            self._graph_due = self.graph
            file = self._open(trainer)
            file.add(state.step, summaries.shown("trainer", Text(f"```\n{trainer!r}\n```")))
            if self._hparams(trainer):
                file.add(state.step, summaries.session_start(self._hparams(trainer)))

    @hookimpl
    def on_forward_end(self, trainer: Trainer, state: State) -> None:
        if self._graph_due and state.phase == "train":
            self._graph_due = False
            graph = graph_of(trainer.model, state.inputs)
            if graph is not None:
                self._open(trainer).add_graph(graph)

    @hookimpl
    def on_log(self, trainer: Trainer, entries: list[LogEntry]) -> None:
        file = self._open(trainer)
        with writing_to(file.folder):
            for entry in entries:
                prefix = "" if entry.phase in ("train", "validate") else f"{entry.phase}/"
                file.add(entry.step, summaries.scalars({prefix + name: value for name, value in entry.values.items()}), entry.time)
            self._written(file)

    @hookimpl
    def on_show(self, trainer: Trainer, state: State, name: str, item: Item) -> None:
        check(name, item)
        file = self._open(trainer)
        tag = name if trainer.is_fitting else f"{state.phase}/{name}"
        with writing_to(file.folder):
            if isinstance(item, Embedding):
                add_to_projector(file.folder, relative(tag), state.step, item, file.begun)
            else:
                file.add(state.step, summaries.shown(tag, item))
            self._written(file)

    @hookimpl
    def on_fit_end(self, trainer: Trainer, state: State) -> None:
        self._running = False
        if self._file is None:
            return
        if self._hparams(trainer) and not state.interrupted:
            self._file.add(state.step, summaries.session_end())
        self._file.close()

    def state_dict(self) -> dict[str, Any]:
        """Return how far the files are, so that a resumed run knows what in them is its own. All of it is on the disk then."""
        if self._file is None:
            return dict(self._saved)
        self._file.flush(durable=True)
        return {"begun_seconds": self._file.begun, "events": self._file.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._saved = dict(state)

    def _hparams(self, trainer: Trainer) -> dict[str, object]:
        """Return the script's options, the seed, and what was given."""
        options = (trainer.run_info or {}).get("options", {})
        return {**options, **({} if trainer.seed is None else {"seed": trainer.seed}), **self.hparams}

    def _open(self, trainer: Trainer) -> EventFile:
        """Return the file of this process, begun if there is none."""
        if self._file is None:
            folder = trainer.ensure_run_dir() / self.folder
            with writing_to(folder):
                self._file = EventFile(folder, time.time())
        return self._file

    def _written(self, file: EventFile) -> None:
        """Hand on what was written; outside of a run, where nobody says that it is over, nothing stays open."""
        if self._running:
            file.flush()
        else:
            file.close()

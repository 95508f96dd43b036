"""Statistics of what layers return."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fit_core import State, hookimpl
from fit_core.items import Histogram, Table
from fit_vis.inside.statistics import NAMES, rounded, sampled, statistics
from fit_vis.looking import Patterns, logged, matching_layers, shown, users_model
from fit_vis.schedule import Schedule
from fit_vis.undisturbed import first_tensor, outputs_heard

if TYPE_CHECKING:
    from fit_core import Trainer


class Activations:
    """Logs mean, standard deviation, minimum, maximum, share of zeros and number of NaN of what each layer returns in training.

    Their names are `activations/mean/LAYER` and so on; a second call of a layer in one pass is `LAYER:2`. At the ends of epochs the latest
    ones are shown as a table, `activations`. Layers are listened to only in the batches that are looked at; of several updates in the
    first one that calls them.

    Args:
        every: how often; the first batch is always looked at.
        layers: names or patterns; `*` alone means the innermost ones.
        histograms: show how the values of each layer are distributed too, as `activations/LAYER`; at most 10,000 of them.
    """

    passive = True

    def __init__(self, every: str = "1 epoch", layers: Patterns = "*", histograms: bool = False) -> None:
        self.layers, self.histograms = layers, histograms
        self._schedule = Schedule(every)
        self._due = False
        self._passes: set[str] = set()
        self._latest: dict[str, Tensor] = {}

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        self._schedule.begin(state)
        self._latest.clear()
        matching_layers(users_model(trainer, state), self.layers)  # a name that is wrong is an error now

    @hookimpl
    def on_batch_start(self, trainer: Trainer, state: State) -> None:
        self._due = (logged(trainer) or shown(trainer)) and self._schedule.batch(state)
        if self._due:
            self._passes, self._latest = set(), {}

    @hookimpl(wrapper=True, trylast=True)
    def forward(self, trainer: Trainer, state: State) -> Generator[None, Any, Any]:
        update = state.update.name if state.update is not None else ""
        if not self._due or state.phase != "train" or update in self._passes:  # one pass of those that an update makes (LBFGS)
            return (yield)
        self._passes.add(update)
        found: dict[str, Tensor] = {}
        samples: dict[str, Tensor] = {}

        def hear(name: str, outputs: Any) -> None:
            values = first_tensor(outputs)
            if values is not None and name not in self._latest:
                found[name] = statistics(values)
                if self.histograms and shown(trainer):
                    samples[name] = sampled(values)

        with outputs_heard(matching_layers(users_model(trainer, state), self.layers), hear):
            outputs = yield
        trainer.log({f"activations/{what}/{name}": each[i] for name, each in found.items() for i, what in enumerate(NAMES)})
        for name, values in samples.items():
            trainer.show(f"activations/{name}", Histogram(values))
        self._latest |= found
        return outputs

    @hookimpl
    def on_epoch_end(self, trainer: Trainer) -> None:
        if self._latest and shown(trainer):
            rows = [[name, *map(rounded, values.tolist())] for name, values in self._latest.items()]
            trainer.show("activations", Table(["layer", *NAMES], rows))
        self._latest = {}

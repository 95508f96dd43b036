"""Norms of gradients, and how far a step moves the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from fit_core import State, hookimpl
from fit_core.items import Histogram, Table, Text
from fit_vis.inside.statistics import norms, rounded, sampled, update_ratios
from fit_vis.looking import Patterns, logged, matching_parameters, shown
from fit_vis.schedule import Schedule

if TYPE_CHECKING:
    from fit_core import Trainer


class Gradients:
    """Logs the norm of each parameter's gradient, not yet clipped, and how far its step moves it in relation to its size.

    Their names are `gradients/norm/PARAMETER` and `gradients/update_ratio/PARAMETER`; about 0.001 is usual for the second. Parameters that
    get no gradient are counted as `gradients/unused`, and named in the text `unused_parameters`. At the ends of epochs the latest numbers
    are shown as a table, `gradients`. Weights are copied only for the steps that are looked at.

    Args:
        every: how often; the first step of each update is always looked at.
        params: names or patterns.
        histograms: show how the values of each gradient are distributed too, as `gradients/PARAMETER`; at most 10,000 of them.
    """

    passive = True
    runs_before = ("clip", "grad-noise", "grad-centralization")

    def __init__(self, every: str = "1 epoch", params: Patterns = "*", histograms: bool = False) -> None:
        self.every, self.params, self.histograms = every, params, histograms
        self._schedules: dict[str, Schedule] = {}
        self._before: dict[str, Tensor] = {}
        self._norms: dict[str, Tensor] = {}
        self._latest: dict[str, tuple[Tensor, Tensor]] = {}
        self._unused: set[str] = set()
        self._step_of: str | None = None
        Schedule(every)

    @hookimpl
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        matching_parameters(trainer, self.params)
        self._schedules = {name: Schedule(self.every) for name in state.updates}
        for schedule in self._schedules.values():
            schedule.begin(state)
        self._latest, self._unused, self._step_of = {}, set(), None

    @hookimpl
    def on_step_start(self, trainer: Trainer, state: State) -> None:
        assert state.update is not None
        again = self._step_of == state.update.name  # an optimizer that evaluates a batch several times (LBFGS)
        if again or not (logged(trainer) or shown(trainer)) or not self._schedules[state.update.name].batch(state):
            return
        owned = {id(p) for p in state.update.params}
        own = {name: p for name, p in matching_parameters(trainer, self.params).items() if id(p) in owned and p.requires_grad}
        used = {name: p for name, p in own.items() if p.grad is not None}
        gradients = [p.grad for p in used.values() if p.grad is not None]
        self._norms = dict(zip(used, norms(gradients), strict=True))
        self._before = {name: p.detach().clone() for name, p in used.items()}
        self._step_of = state.update.name
        prefix = "" if len(state.updates) == 1 else f"{state.update.name}_"
        trainer.log({f"{prefix}gradients/unused": float(len(own) - len(used))})
        trainer.log({f"gradients/norm/{name}": norm for name, norm in self._norms.items()})
        self._name_unused(trainer, own, used)
        if self.histograms and shown(trainer):
            for name, gradient in zip(used, gradients, strict=True):
                trainer.show(f"gradients/{name}", Histogram(sampled(gradient.coalesce().values() if gradient.is_sparse else gradient)))

    @hookimpl
    def on_step_end(self, trainer: Trainer, state: State) -> None:
        assert state.update is not None
        if self._step_of != state.update.name:
            return
        now = matching_parameters(trainer, self.params)
        ratios = update_ratios(list(self._before.values()), [now[name] for name in self._before])
        trainer.log({f"gradients/update_ratio/{name}": ratio for name, ratio in zip(self._before, ratios, strict=True)})
        self._latest |= {name: (self._norms[name], ratio) for name, ratio in zip(self._before, ratios, strict=True)}
        self._before, self._step_of = {}, None

    @hookimpl
    def on_batch_end(self) -> None:
        self._before, self._step_of = {}, None  # of a step that an exception or a guard has stopped

    @hookimpl
    def on_epoch_end(self, trainer: Trainer) -> None:
        if self._latest and shown(trainer):
            rows = [[name, *map(rounded, map(float, pair))] for name, pair in self._latest.items()]
            trainer.show("gradients", Table(["parameter", "gradient norm", "update / weight"], rows))
        self._latest = {}

    def _name_unused(self, trainer: Trainer, own: dict[str, nn.Parameter], used: dict[str, nn.Parameter]) -> None:
        """Show which parameters get no gradient, once they are others than before."""
        unused = (self._unused - own.keys()) | (own.keys() - used.keys())
        if unused != self._unused:
            self._unused = unused
            names = "\n".join(f"- `{name}`" for name in sorted(unused)) or "none"
            trainer.show("unused_parameters", Text(f"Parameters without a gradient in step {trainer.current_state().step + 1}:\n\n{names}"))

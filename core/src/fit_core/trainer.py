"""The trainer: the object a user holds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType, ModuleType, TracebackType
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from fit_core import feeding, rehearsal, resuming, saving, stepwise
from fit_core import update as blocks
from fit_core.batch import call_model, join, names_state, to_cpu
from fit_core.cadence import Due, Every
from fit_core.call import begin_call, save_call
from fit_core.checkpoint import find_checkpoint
from fit_core.control import Asked, Control, Kind
from fit_core.criterion import Criterion
from fit_core.ending import ending, mention
from fit_core.errors import FitError, listed, whole
from fit_core.evaluation import Evaluation
from fit_core.guard import Guard, Policy
from fit_core.items import Item
from fit_core.log import LogBuffer
from fit_core.loop import Fit
from fit_core.meter import Meter
from fit_core.metric_list import MetricList, directions, for_loss, offered_by
from fit_core.metrics import Metric, Row
from fit_core.modes import set_seed
from fit_core.naming import FunctionPlugin, ScriptPlugin
from fit_core.optimizers import names_of
from fit_core.plan import Hooks, Tracer
from fit_core.plugins import NO_SETTINGS, Member, arrange, build_all, of_metrics, register
from fit_core.position import length as batch_count
from fit_core.requests import BUILTIN, Settings
from fit_core.run_folder import make_folder, new_run_folder
from fit_core.saving import Checkpoints
from fit_core.state import Moment, Phase, Progress, State
from fit_core.streams import Streams
from fit_core.updates import Update, Updates, as_updates
from fit_core.weights import put_fitting

OptimizerLike = Optimizer | Callable[[Iterable[Any]], Optimizer]
Optimizers = OptimizerLike | list[OptimizerLike] | Update | Updates | Mapping[str, Any]


class Trainer:
    """Trains, evaluates and asks a model, with a hook at every stage.

    Args:
        model: any module.
        loss_fn: `loss_fn(outputs, targets)`, a function or a module; None if the outputs carry a loss, or only to predict.
        optimizer: a torch optimizer, or a callable that makes one of the parameters (`partial(SGD, lr=0.1)`); a list of
            them, which step together; a dict of them, or `Updates`, which step in turns (docs/updates.md); None if
            nothing is to be trained.
        metrics: names ("accuracy"), callables `(outputs, targets)`, keys of the state, metric objects, or pairs of a name with one.
        plugins: names with options ("early-stopping:patience=3"), objects, functions, modules, or pairs with a name.
        train_data: what `fit` trains on if it is given nothing; likewise `val_data`, and `test_data` for `evaluate`.
        val_data: see `train_data`.
        test_data: see `train_data`.
        epochs: how many epochs `fit` trains if it is told nothing.
        accumulate: how many batches make one step, as if they were one batch (docs/windows.md).
        remainder: what becomes of a last window with fewer batches: "step" with it, or "drop" it.
        finite: what to do with gradients that are not finite: "stop", "skip" the step, or "off".
        seed: seeds Python, numpy and torch before the first `fit`, and gives data an order of its own; None touches nothing.
        run_dir: where the run keeps its files; None: a new folder below `runs`, if a plugin needs one.
        log_every: steps between two flushes of logged numbers.
        quiet: print nothing.

    Attributes:
        history: the rows of all calls of `fit`.
        unfinished: what was measured in an epoch that a stop cut short; None if the last one is complete.
        run_dir: the run folder, if there is one yet.
        checkpoints: those of the run.
        is_rehearsal: whether it is what plugins are given in a rehearsal (`rehearse`), of which nothing is left.
        run_info: how the command line started the run, for the manifests of checkpoints.

    Raises:
        FitError: an unknown plugin, metric or option, or a hook that is misspelt.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Callable[..., Tensor] | None = None,
        optimizer: Optimizers | None = None,
        *,
        metrics: Iterable[Any] = (),
        plugins: Iterable[Any] = (),
        train_data: Any = None,
        val_data: Any = None,
        test_data: Any = None,
        epochs: float | None = None,
        accumulate: int = 1,
        remainder: Literal["step", "drop"] = "step",
        finite: Policy = "stop",
        seed: int | None = None,
        run_dir: str | Path | None = None,
        log_every: int = 50,
        quiet: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise FitError(f"model must be a torch.nn.Module, not {type(model).__name__}")
        self.model = model
        self.loss_fn = loss_fn  # a property: the criterion goes with it
        self.optimizer = optimizer
        if isinstance(metrics, str):
            raise FitError(f"metrics must be a list: metrics=[{metrics!r}]")
        self._asked = list(metrics)
        self.train_data = train_data
        self.val_data = val_data
        self.test_data = test_data
        self.epochs = epochs
        self.accumulate = whole("accumulate", accumulate)
        if remainder not in ("step", "drop"):
            raise FitError(f"remainder must be 'step' or 'drop', not {remainder!r}")
        self.remainder = remainder
        self.seed = seed
        self.log_every = whole("log_every", log_every)
        self.quiet = quiet
        self.is_rehearsal = False
        self.history: list[Row] = []
        self.unfinished: Row | None = None
        self.run_dir = None if run_dir is None else Path(run_dir)
        self.checkpoints = Checkpoints(self)
        self.run_info: Mapping[str, Any] | None = None
        if isinstance(plugins, str):
            raise FitError(f"plugins must be a list: plugins=[{plugins!r}]")
        self._items: list[Any] = list(plugins)
        self._later: list[Any] = []
        self._settings = NO_SETTINGS
        self._progress = Progress("train")
        self._updates: dict[str, Update] = {}
        self._sequence: Updates | None = None if optimizer is None else as_updates(optimizer)
        self._guard = Guard(finite)
        self._control = Control()
        self._interruption: str | None = None
        self._call: Fit | Mapping[str, Any] | None = None
        self._random: Mapping[str, Any] | None = None
        self._absent: dict[str, Any] = {}
        self._log = LogBuffer()
        self._streams = Streams(seed)
        self._passes: list[tuple[State, Meter]] = []
        self._module: nn.Module | None = None
        self._tracer: Tracer | None = None
        self._seeded = self._set_up = self._closed = False
        self._flushed_at = 0
        self._with_state: nn.Module | None = None  # the model that was called last, if its forward names `state`
        self._without_state: nn.Module | None = None  # the same, if it does not
        self._build_plan()

    # ------------------------------------------------------------------------------------------ what a user calls

    def fit(
        self,
        train_data: Any = None,
        val_data: Any = None,
        *,
        epochs: float | None = None,
        steps: int | None = None,
        steps_per_epoch: int | None = None,
        val_every: str | Every = "1 epoch",
        limit_batches: int | Mapping[str, int] | None = None,
        batch_size: int | None = None,
        resume: str | Path | None = None,
        allow_changes: bool = False,
    ) -> list[Row]:
        """Train, and validate after each epoch if there is validation data.

        Args:
            train_data: a `DataLoader`, an iterable of batches, a `Dataset`, a list of samples or arrays; None: what the
                trainer was given, or nothing for a model that needs no inputs.
            val_data: likewise; or a dict of several sets, whose values get the prefix `val_NAME_`.
            epochs: how many epochs to train; `math.inf` until something stops it.
            steps: how many updates of the parameters to make instead; the last epoch may be a short one.
            steps_per_epoch: batches that make an epoch, whatever the data says: each epoch goes on where the last one
                stopped, and when the data is exhausted it is read again.
            val_every: how often to validate: "2 epochs", or inside of epochs "500 steps" or "30 minutes". The row has the values
                of the epoch's last validation, none if there was none.
            limit_batches: how many batches of each pass to use at most; `{"train": 100, "validate": 10}` for each phase.
            batch_size: for datasets and arrays (32 if None).
            resume: go on with an interrupted call of `fit` up to its own total: a checkpoint, a run folder (its newest one), or
                "auto", which goes on with what is in `run_dir`, and begins a run if nothing is. A finished call does nothing,
                unless it is longer now (docs/resume.md).
            allow_changes: resume even if the trainer or the data is not what it was.

        Returns:
            The rows of this call, one dict of floats per complete epoch; of a resumed one, those before the interruption too.

        Raises:
            FitError: no length or no data was given, or the data is not what it should be; or the checkpoint does not fit.
            TrainingError: a gradient is not finite.
        """
        if self._passes:
            raise FitError("fit cannot be called from a hook: the run that is going on would lose its place; use another trainer")
        feed = feeding.feed(self, train_data, val_data, epochs, steps, steps_per_epoch, limit_batches, batch_size)
        if self._seeded is False and self.seed is not None:
            set_seed(self.seed)
            self._seeded = True
        found = None if resume is None else resuming.find(self, resume)
        call = None if found is None else resuming.take_up(self, found, batch_count(feed.batches), allow_changes)
        return Fit(self, feed, Due(val_every, self._progress)).run(call)

    def save(self, path: str | Path, *, weights_only: bool = False) -> Path:
        """Write everything that it takes to go on as a checkpoint: a folder that is whole or not there.

        Works between two batches: in the hook `on_safe_point`, and outside of `fit`.

        Args:
            path: the folder; a checkpoint that is there is replaced once the new one is complete.
            weights_only: only the model's weights (those that the stage `export_model` chooses), from which no run can go on;
                works anywhere.

        Raises:
            FitError: a batch is at work, or something cannot be saved; the message names plugin and key.
            TrainingError: it cannot be written.
        """
        if not weights_only:
            resuming.make_savable(self)
        return saving.save(self, Path(path), weights_only)

    def load(self, path: str | Path) -> None:
        """Take up everything of a checkpoint: weights, optimizers, plugins, counters, history. The next `fit` is a new call.

        Args:
            path: its folder, a pointer such as `checkpoints/best`, or a run folder, which means its newest one.

        Raises:
            FitError: there is none, it holds weights alone, or it does not fit.
        """
        resuming.load(self, find_checkpoint(Path(path), full=True))

    def load_weights(self, path: str | Path) -> tuple[list[str], list[str]]:
        """Copy weights into the model, as far as they fit; nothing else changes.

        Args:
            path: as for `load`, or a file: `.safetensors`, or a state dict saved by torch.

        Returns:
            The names that got no weights, and the names in the file that found no place; those of other shapes are in both.

        Raises:
            FitError: there are none, or none fits.
        """
        return put_fitting(self.model, saving.read_weights(Path(path)))

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that `save` would write, in memory.

        Raises:
            FitError: a batch is at work.
        """
        return resuming.state_dict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned.

        Raises:
            FitError: it does not fit.
        """
        resuming.load_state_dict(self, state)

    def evaluate(self, data: Any = None, *, prefix: str = "test_", batch_size: int | None = None, limit_batches: int | None = None) -> Row:
        """Compute loss and metrics over data, without changing anything.

        Args:
            data: as for `fit`; None: the trainer's `test_data`.
            prefix: goes before the name of every value.
            batch_size: for datasets and arrays (32 if None).
            limit_batches: how many batches to use at most.

        Returns:
            The values with their prefix: `{"test_loss": ..., "test_accuracy": ...}`.

        Raises:
            FitError: there is no data, or no targets where the loss function needs them.
        """
        data = self.test_data if data is None else data
        if data is None:
            raise FitError("there is no data to evaluate: pass evaluate(data) or Trainer(test_data=...)")
        batches = self._limited(data, batch_size, limit_batches, "test_data")
        return self._evaluate(Evaluation(self, batches, "test", prefix))

    def predict(self, data: Any, *, batch_size: int | None = None, limit_batches: int | None = None, with_targets: bool = False) -> Any:
        """Return the outputs of the model for data, joined over batches, on the CPU.

        Args:
            data: as for `fit`.
            batch_size: for datasets and arrays (32 if None).
            limit_batches: how many batches to use at most.
            with_targets: return a pair of outputs and targets, joined likewise.

        Returns:
            Tensors (samples, ...) in the nesting of the model's outputs; a list of batches where shapes differ.
        """
        batches = self._limited(data, batch_size, limit_batches, "data")
        outputs: list[Any] = []
        targets: list[Any] = []

        def collect(state: State) -> None:
            outputs.append(to_cpu(state.outputs))
            if with_targets:
                targets.append(to_cpu(state.targets))

        self._evaluate(Evaluation(self, batches, "predict", "", collect))
        if not outputs:
            raise FitError("there are no predictions: every batch was skipped")
        return (join(outputs), join(targets)) if with_targets else join(outputs)

    def rehearse(self, probe: Any, *, without: Sequence[Any] = ()) -> None:
        """Train with one more plugin until it stops that, and put everything back, to the bit: a trial that leaves nothing behind.

        Works in the hooks `on_fit_start` and `on_safe_point`, on the data of the run, and outside of runs on `train_data`. Plugins take
        part, but for those that are passive; nothing is validated, and no epoch ends. Those that had begun the run at work hear
        `on_fit_start` once more, with `state.resumed`, to go on from their states.

        What is put back of plugins is what their `state_dict` holds, of modules their tensors, hooks and attributes, of data its place and
        the generators of torch; a random state that a dataset keeps of its own is not.

        Args:
            probe: a plugin, called last, that says `trainer.stop(...)` in some batch.
            without: plugins that take no part: the one that asks, as a rule.

        Raises:
            FitError: a batch is at work, or something could not be put back: lazy parameters, data that can be read only once.
        """
        if self.is_rehearsal:
            raise FitError("this is a rehearsal already: ask trainer.is_rehearsal before")
        if self._passes and not self._progress.whole:
            raise FitError("nothing can be rehearsed while a batch is at work: call it in on_fit_start or on_safe_point")
        if not self._passes:
            resuming.make_ready(self)
        source = self._call.source if self._passes and isinstance(self._call, Fit) else (self.train_data, None)
        rehearsal.rehearse(self, probe, *source, without)

    @contextmanager
    def sized(self) -> Iterator[State]:
        """Set plugins up and make the optimizers as `fit()` would, without training anything.

        Yields:
            A state that says how long the run would be: `epochs`, `steps_total`, and `steps_total` of each update.
        """
        fit = Fit(self, feeding.feed(self), Due("1 epoch", self._progress))
        with self._entered(fit.state, fit.meter), ending(self, fit.state, fit=False):
            self._prepare(fit.state)
            self._build_updates(fit.state, fit.meter)
            begin_call(fit)
            yield fit.state

    def stop(self, reason: str) -> None:
        """End training when this batch (or, between batches, this epoch) is done. The first reason counts."""
        self._ask("stop", reason, outermost="train")
        for progress in (self._progress, *(state._progress for state, _ in self._passes)):
            progress.stop_reason = progress.stop_reason or reason

    def interrupt(self, reason: str) -> None:
        """End training when this batch is done, so that a resumed run goes on from there; a validation is left at once.

        Unlike `stop`, after which a run is finished. Works from anywhere, also from another thread or a signal handler; with no
        run going on, the next one ends after its first batch.
        """
        self._interruption = self._interruption or reason

    def interrupted(self) -> bool:
        """Whether the run was interrupted."""
        return self._interruption is not None

    @property
    def run_has_begun(self) -> bool:
        """Whether a call of `fit` is going on, and plugins have heard of its start."""
        return self.is_fitting and isinstance(self._call, Fit) and self._call.has_begun

    @property
    def is_fitting(self) -> bool:
        """Whether a call of `fit` is going on."""
        return bool(self._passes) and self._passes[0][0].phase == "train"

    def end_epoch(self, reason: str) -> None:
        """End the training pass when this batch is done; validation and the row follow as ever.

        Raises:
            FitError: no training pass is going on.
        """
        if not self._progress.training:
            raise FitError(f"end_epoch does nothing {self._current('end_epoch')[0].where()}: no training pass is going on")
        self._ask("end_epoch", reason, phase="train")
        self._control.end_epoch = True

    def skip_batch(self, reason: str) -> None:
        """Leave this batch out: it is counted, but nothing more is computed on it, and it enters no number.

        The notice at hand is heard by everyone, then `on_batch_end` (or `on_eval_batch_end`) comes.

        Raises:
            FitError: it is too late, since `backward` has run, or no batch is at work.
        """
        state = self._ask("skip_batch", reason, moments=("batch",))
        state._progress.skip_batch = True

    def skip_step(self, reason: str) -> None:
        """Throw the gradients of this window away instead of stepping: parameters and schedules stay.

        Raises:
            FitError: it is too late, since `on_step_start` has come, or no training batch is at work.
        """
        state = self._ask("skip_step", reason, phase="train", moments=("batch", "update", "backward"))
        if state.update is None:
            self._control.skip_step = True
        else:
            state.update.window.skip = True

    @property
    def requests(self) -> list[Asked]:
        """Every request to stop, end an epoch or skip in this call of `fit` (or the last), by kind and reason."""
        return list(self._control.asked.values())

    def _ask(
        self, kind: Kind, reason: str, phase: Phase | None = None, moments: tuple[Moment, ...] = (), outermost: Phase | None = None
    ) -> State:
        state = self._current(kind)[0]
        if outermost and self._passes[0][0].phase != outermost:
            raise FitError(f"{kind} does nothing {state.where()}: nothing is being trained")
        moment = state._progress.moment
        if (phase and state.phase != phase) or (moments and moment not in moments):
            late = f"it is too late for it ({moment})" if moment in ("backward", "step") else "there is no training batch at work"
            raise FitError(f"{kind} does nothing {state.where()}: {late}")
        self._control.note(kind, reason, state.where())
        return state

    def record(self, name: str, value: Tensor | float, weight: Tensor | float = 1) -> None:
        """Enter a value into its weighted mean over the pass; the row gets it as `name`. Never waits.

        Raises:
            FitError: no row is open, the name is taken, or the value is no number.
        """
        self._current("record")[1].record(name, value, weight)

    def log(self, values: Mapping[str, Tensor | float]) -> None:
        """Send numbers to the trackers at the next flush. Never waits; nothing is kept if nobody listens."""
        if self._logs:
            state = self._passes[-1][0] if self._passes else self._current("log")[0]
            self._log.add(state, values)

    def show(self, name: str, item: Item | Callable[[], Item]) -> None:
        """Send something to look at to every plugin that shows things.

        Args:
            name: what it shows, such as "samples".
            item: one of `fit_core.items`, or a function that makes it, called only if somebody shows things.
        """
        state = self._current("show")[0]
        if not self.hooks.hears("on_show"):
            return
        made = item() if callable(item) else item
        if not isinstance(made, Item):
            raise FitError(f"cannot show {name!r}: {type(made).__name__} is no item; wrap it, such as Images(tensor) of fit_core.items")
        self.hooks.on_show(self, state, name, made)

    def generator(self, plugin: Any, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a generator of random numbers for a plugin: a function of seed, plugin and place in the run.

        What a plugin draws from it changes nothing else, and is the same whatever other plugins there are.

        Args:
            plugin: the plugin, or its name.
            device: of the tensors to draw.
        """
        return self._streams.generator(self._name_of(plugin), self._current("generator")[0], device)

    def random(self, plugin: Any) -> AbstractContextManager[None]:
        """Return a context in which Python's, numpy's and torch's random numbers are a stream of the plugin's own.

        Args:
            plugin: the plugin, or its name.
        """
        return self._streams.context(self._name_of(plugin), self._current("random")[0])

    def _name_of(self, plugin: Any) -> str:
        for member in self.members:
            holds = isinstance(member.plugin, (FunctionPlugin, ScriptPlugin)) and plugin in vars(member.plugin).values()
            if member.plugin is plugin or holds or (isinstance(plugin, str) and member.name == plugin):
                return member.name
        raise FitError(f"{plugin!r} is no plugin of this trainer (plugins: {listed(member.name for member in self.members)})")

    def close(self) -> None:
        """Tear plugins down: once, at the end of `with trainer:` or of a command."""
        if self._closed or not self._set_up:
            return
        self._closed = True
        state = self._new_state(self._progress, Meter(()))
        raised = self.hooks.on_teardown(self, state)
        if raised:
            mention(raised[0], raised[1:])
            raise raised[0]

    def __repr__(self) -> str:
        """Show model, loss, updates, metrics and plugins on one screen."""
        loss = "of the outputs" if self.loss_fn is None else names_of(self.loss_fn)
        updates = "none" if self.optimizer is None else repr(self._sequence if self._updates else as_updates(self.optimizer))
        known = [p for p in self.model.parameters() if not is_lazy(p)]
        trained = sum(p.numel() for p in known if p.requires_grad)
        lines = {
            "model": f"{type(self.model).__name__}, {sum(p.numel() for p in known):,} parameters, {trained:,} trained",
            "loss": loss,
            "updates": updates,
            "metrics": ", ".join(metric.name for metric in self.metrics) or "none",
            "plugins": ", ".join(map(str, self.plugins)) or "none",
            "epochs": f"{self._progress.epoch} trained, {self._progress.step} steps",
        }
        return "\n".join(["Trainer", *(f"  {name:8} {said}" for name, said in lines.items())])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.close()
        except BaseException as raised:
            if error is None:
                raise
            mention(error, [raised])

    @property
    def updates(self) -> Mapping[str, Update]:
        """Every update by name; none before the first `fit`, which makes them."""
        return MappingProxyType(self._updates)

    @property
    def loss_fn(self) -> Callable[..., Tensor] | None:
        """The loss function; setting it takes effect with the next batch."""
        return self.criterion.loss_fn

    @loss_fn.setter
    def loss_fn(self, loss_fn: Callable[..., Tensor] | None) -> None:
        self.criterion = Criterion(loss_fn)

    @property
    def metrics(self) -> list[Metric]:
        """The metrics, as they are for the trainer's loss function; each pass over data has copies of its own."""
        first = None if self._sequence is None else self._sequence.first
        return for_loss(self._metrics, first.loss_fn if self.loss_fn is None and first is not None else self.loss_fn)

    # ------------------------------------------------------------------------- building blocks for a replaced stage

    def forward(self) -> None:
        """Call the model on the batch: fills `state.outputs`."""
        blocks.forward(self, self._current("forward")[0])

    def compute_loss(self) -> None:
        """Compute the loss of the batch: fills `state.loss` and `state.weight`."""
        blocks.compute_loss(self, self._current("compute_loss")[0])

    def backward(self) -> None:
        """Add the gradients of `state.loss`, scaled for the window."""
        blocks.backward(self, self._current("backward")[0])

    def maybe_step(self) -> None:
        """Enter the batch into the window and, if it is full, update the parameters."""
        stepwise.maybe_step(self, self._current("maybe_step")[0])

    def run_update(self, update: Update) -> None:
        """Run one update on the batch."""
        stepwise.run_update(self, self._current("run_update")[0], update)

    def call_model(self, state: State) -> Any:
        """Call the model of the pass on `state.inputs`, with `state` if its `forward` names it."""
        model = state.model
        if model is not self._without_state and model is not self._with_state:
            takes_state = names_state(model) or (model is self._module and names_state(self.model))  # torch.compile hides the signature
            self._with_state, self._without_state = (model, None) if takes_state else (None, model)
        return call_model(model, state.inputs, {} if model is self._without_state else {"state": state})

    def criterion_for(self, state: State) -> Criterion:
        """Return what computes the loss: that of the update at work; outside of one the trainer's, else the first update's."""
        update = state.update
        if update is None and self.loss_fn is None and self._sequence is not None:
            update = self._sequence.first
        return self.criterion if update is None or update.criterion is None else update.criterion

    def modules(self, model: nn.Module | None = None) -> list[nn.Module]:
        """Return what is trained and switched between modes: the model (or another in its place) and losses that are modules."""
        return [self.model if model is None else model, *self.losses().values()]

    def named_modules(self) -> dict[str, nn.Module]:
        """Return what has weights, by the name of the file that a checkpoint keeps them in: the model, and losses that have some."""
        return {"model": self.model, **{name: loss for name, loss in self.losses().items() if loss.state_dict()}}

    def losses(self) -> dict[str, nn.Module]:
        """Return the losses that are modules: the trainer's as `loss`, an update's as `loss_NAME`."""
        own = {} if self._sequence is None else {f"loss_{update.name}": update.loss_fn for update in self._sequence}
        return {name: loss for name, loss in {"loss": self.loss_fn, **own}.items() if isinstance(loss, nn.Module)}

    @property
    def sequence(self) -> Updates:
        """The updates in their order, once there are some."""
        assert self._sequence is not None
        return self._sequence

    def row_names(self) -> set[str]:
        """Return the names that several updates take in the row: `d_loss`, `d_lr`; none of a single one."""
        return set() if self._sequence is None else self._sequence.row_names()

    # ------------------------------------------------------------------------------------------------------ plugins

    @property
    def plugins(self) -> Mapping[str, Any]:
        """Every plugin by name, in the order of their calls."""
        return MappingProxyType({member.name: member.plugin for member in self.members})

    def use(self, items: Sequence[Any], settings: Settings | None = None) -> None:
        """Add plugins, or options for those that are there, before anything has run. The command line does this.

        Args:
            items: as for `plugins`; options for a plugin that is there already are laid over its own.
            settings: options by plugin name from a file, which lie under those; None keeps those that there are.

        Raises:
            FitError: the trainer has run already, or a plugin is not what it should be.
        """
        if self._set_up:
            raise FitError("plugins can be added only before the trainer has run")
        self._later += items
        self._settings = self._settings if settings is None else settings
        self._build_plan()

    def seeded(self, seed: int, given: bool) -> None:
        """Note that random states were seeded already, before the script was imported. The command line does this.

        Args:
            seed: which one.
            given: somebody asked for it, so that it takes the place of one that the script says.
        """
        if self.seed is None or given:
            self.seed, self._seeded, self._streams = seed, True, Streams(seed)

    def trace(self, tracer: Tracer | None) -> Tracer | None:
        """Build the plan anew with a tracer around every implementation and hook; None takes it off.

        Returns:
            The tracer that was there before.
        """
        before, self._tracer = self._tracer, tracer
        self.hooks.build(tracer)
        return before

    def ensure_run_dir(self) -> Path:
        """Return the run folder, making one if there is none yet.

        Raises:
            FitError: it cannot be made.
        """
        if self.run_dir is None:
            self.run_dir = new_run_folder(Path("runs"))
        make_folder(self.run_dir)
        for state, _ in self._passes:
            state.run_dir = self.run_dir
        return self.run_dir

    def _build_plan(self) -> None:
        builtin = () if self.quiet else BUILTIN
        members = build_all(self._items, self._later, self._settings, builtin)
        modules = [member.plugin for member in members if isinstance(member.plugin, ModuleType)]
        brought = [item for member in members for item in getattr(member.plugin, "brings_metrics", ())]
        self._metrics = [copy.copy(metric) for metric in MetricList(offered_by(modules)).resolve([*self._asked, *brought])]
        self.members: list[Member] = arrange([*members, *of_metrics(self._metrics)])
        self.hooks = Hooks(register(self.members), self._tracer)
        self._logs = self.hooks.hears("on_log")

    # ------------------------------------------------------------------------------------------- what the loop uses

    def current_state(self) -> State:
        """Return the state of the run that is going on, or else one with its counters."""
        return self._passes[0][0] if self._passes else self._new_state(self._progress, Meter(()))

    def call_state(self) -> dict[str, Any] | None:
        """Return what it takes to go on with the latest call of `fit`; None if there was none."""
        call = self._call
        return save_call(call) if isinstance(call, Fit) else None if call is None else dict(call)

    def _new_state(self, progress: Progress, meter: Meter) -> State:
        model = self.model if self._module is None else self._module
        return State(progress, model, device_of(model), self._updates, meter.so_far, self.run_dir)

    @contextmanager
    def _entered(self, state: State, meter: Meter) -> Iterator[None]:
        """Make a pass the one that the building blocks, `record` and `log` work on."""
        self._passes.append((state, meter))
        try:
            yield
        finally:
            self._passes.pop()

    def _evaluate(self, evaluation: Evaluation) -> Row:
        """Run a pass on its own; one from a hook is part of the run, which hears of exceptions itself."""
        if self._passes:
            return evaluation.run()
        state = evaluation.state
        with self._entered(state, evaluation.meter), ending(self, state, fit=False):
            self._prepare(state)
            return evaluation.run()

    def _begin_run(self, fit: Fit) -> None:
        """Forget what an earlier run left behind."""
        fit.random, self._random = self._random, None
        self._call = fit
        self.checkpoints.forget()
        self._progress.begin_run()
        self.unfinished = None
        self._control = Control()
        self._guard.reset()
        self._log.take()
        self._flushed_at = self._progress.step
        for member in self.members:
            member.start_clocks()
        for update in self._updates.values():
            update.begin_window()

    def _current(self, what: str) -> tuple[State, Meter]:
        if not self._passes:
            raise FitError(f"{what} works only while the trainer runs: call it from a hook")
        return self._passes[-1]

    def _set_plugins_up(self, state: State) -> None:
        """Call `on_setup`, once."""
        if self._closed:
            raise FitError("the trainer is closed: its plugins are torn down; make another one")
        if self._set_up and self._module is None:
            raise FitError("setting up has failed before, so that plugins are half set up; make another trainer")
        if not self._set_up:
            self._set_up = True
            self.hooks.on_setup(self, state)

    def _prepare(self, state: State) -> None:
        self._set_plugins_up(state)
        if self._module is None:
            state.model = self.model
            state.model = self._module = self.hooks.prepare_model(self, state)
            state.device = device_of(state.model)

    def _limited(self, data: Any, batch_size: int | None, limit: int | None, name: str) -> Iterable[Any]:
        found = feeding.limited(feeding.batches(self, data, batch_size, name), limit, "validate")
        feeding.check_together(data, None, batch_size)
        return found

    def _build_updates(self, state: State, meter: Meter) -> Updates:
        """Make the optimizers, unless an earlier `fit` did; refuse metrics whose names they take."""
        if self.optimizer is None:
            raise FitError("there is no optimizer to train with: pass Trainer(model, loss_fn, optimizer)")
        if self._sequence is None or not self._updates:
            self._sequence = as_updates(self.optimizer)
            self._sequence.build(self, state)
            self._updates.update(self._sequence.by_name)
        meter.taken |= self._sequence.row_names()
        taken = sorted(directions(self.metrics).keys() & meter.taken)
        if taken:
            raise FitError(f"a metric cannot be called {taken[0]!r}: the row has this name for an update")
        return self._sequence

    def _log_batch(self, state: State) -> None:
        if self._logs:
            self._log.keep(state, {**self._control.losses, **self.sequence.rates()})
            if state.step >= self._flushed_at + self.log_every:
                self._flush(state)

    def _log_validation(self, state: State, values: Row) -> None:
        if self._logs and values:
            self._log.add(state, values, "validate")
            self._flush(state)

    def _log_row(self, state: State, at: float | None = None) -> None:
        if self._logs:
            self._log.add(state, {f"epoch/{name}": value for name, value in state.row.items() if name != "epoch"}, at=at)
            self._flush(state)

    def _flush(self, state: State) -> None:
        self._flushed_at = self._progress.step
        if self._log:
            self.hooks.on_log(self, state, self._log.take())


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's first parameter, or the CPU if it has none."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))

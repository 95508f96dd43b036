"""Every hook of the core, in the order in which a run calls them.

```text
on_setup                                   once per trainer, before the first fit, evaluate or predict: place things
prepare_model             stage            the module that forward calls; wrap to compile, parallelise, change memory format
param_groups              stage            what a callable optimizer is given
on_fit_start                               counters are already restored when resuming
for each epoch:
    on_epoch_start
    on_train_epoch_start
    iter_batches          stage            data -> iterator; wrap to prefetch or to time the wait
    for each batch:
        prepare_batch     stage            batch -> (inputs, targets), on the device
        on_batch_start                     the place for augmentation: state.inputs, state.targets
        train_step        stage            default: run_update for each update that is due
            run_update    stage            default: the lines below; SAM, REINFORCE and closures replace this one
                forward   stage            -> outputs
                on_forward_end
                compute_loss      stage    -> loss; may set state.weight, the number of terms it averaged over
                on_loss_end                the place for penalties: state.loss
                backward          stage    gets loss: state.loss scaled for the window; state.loss is what is reported
                on_backward_end
                should_step       decision update now, or go on accumulating?
                if so:
                    finish_gradients  stage    unscale, reduce over ranks -> True, or False: this step is skipped
                    if good and finite:
                        on_step_start          gradients are final: the place to clip and to log norms
                        optimizer_step  stage
                        on_step_end            one real update is done: per-step schedules
                    zero_grad         stage    after a skipped step too, never while a window stays open
        on_batch_end
        on_safe_point                      all of this batch is done: the place to save, to act on signals and stops
    on_train_epoch_end
    for each pass over validation data:
        on_eval_start                      state.model may be replaced here (averaged weights); eval mode is set after it
        iter_batches      stage
        for each batch:
            prepare_batch stage
            on_eval_batch_start
            eval_step     stage            default: forward, on_forward_end, compute_loss, on_loss_end
                forward   stage
                on_forward_end
                compute_loss      stage    not in a prediction
                on_loss_end
            on_eval_batch_end
        on_eval_end
    on_epoch_end                           the row is complete
    on_safe_point                          again, after the epoch: state.position tells the two apart
on_exception                               only if something raised
on_fit_end                                 always, once for every plugin
on_teardown                                trainer.close(), leaving `with trainer:`, the end of a command: once
export_model              stage            weights-only saving: which weights (averaged ones, say)
on_log                                     numbers, at every flush
on_show                                    pictures and other things to look at
```

Three things the drawing leaves out. A last window that the end of the data left short is stepped after the last batch:
finish_gradients to zero_grad, then on_safe_point. With `val_every` in steps, validation comes between on_batch_end and
on_safe_point. An optimizer whose step evaluates the batch itself (LBFGS) turns the order inside out: forward to on_step_start
run inside of optimizer_step, once for every evaluation.

`evaluate` and `predict` run one such pass over their data: on_setup and prepare_model if nothing did so before, then
on_eval_start to on_eval_end; they fire no on_fit_* and no on_epoch_*.

Grammar. A *stage* is a verb and does a piece of the work: the first result that is not None wins, and the core's
default is asked last. A *decision* is a stage that answers a question with True or False. A *notice* is `on_<noun>_start`,
`on_<noun>_end` or `on_<noun>`: everyone hears it and what it returns is ignored. To act around a stage, wrap it
(`@hookimpl(wrapper=True)`, `return (yield)`); to replace it, implement it and return a result.

Every hook is called with `trainer` and `state`, and some with one thing more; an implementation names only what it uses.
"""

# What a hook is given and must return is checked when the plan is built (plan.py); here the arguments carry names only.
# mypy: disable-error-code="empty-body, type-arg"

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pluggy

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fit_core.log import LogEntry
    from fit_core.state import State
    from fit_core.trainer import Trainer

F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["stage", "decision", "notice", "closing"]

hookimpl = pluggy.HookimplMarker("fit")
"""Marks a function or method as an implementation of the hook of its name (or of `specname=`)."""

_hookspec = pluggy.HookspecMarker("fit")


OUTSIDE_OF_EPOCHS = ("on_setup", "prepare_model", "param_groups", "on_fit_start", "export_model")
"""Hooks that a delayed plugin hears from the start; closing ones are the others."""


def _spec(kind: Kind, returns: str) -> Callable[[F], F]:
    def mark(function: F) -> F:
        function.fit_in_epoch = kind != "closing" and function.__name__ not in OUTSIDE_OF_EPOCHS  # type: ignore[attr-defined]
        function.fit_kind = kind  # type: ignore[attr-defined]
        function.fit_returns = returns  # type: ignore[attr-defined]
        return _hookspec(function, firstresult=kind in ("stage", "decision"))

    return mark


def stage(returns: str = "True") -> Callable[[F], F]:
    """Mark a hook specification as a stage. `returns` is a name in `fit_core.plan.RESULTS`."""
    return _spec("stage", returns)


def decision(function: F) -> F:
    """Mark a hook specification as a decision: a stage that returns True or False."""
    return _spec("decision", "bool")(function)


def notice(function: F) -> F:
    """Mark a hook specification as a notice: everyone hears it, results are ignored."""
    return _spec("notice", "nothing")(function)


def closing(function: F) -> F:
    """Mark a notice that reaches every plugin even if one raises. It takes no wrappers."""
    return _spec("closing", "nothing")(function)


# ---------------------------------------------------------------------------------------------------- setting up


@notice
def on_setup(trainer: Trainer, state: State) -> None:
    """Place things: move modules, open what lasts as long as the trainer.

    Implement it to change `trainer.model` or `trainer.loss_fn` before anything is built on them. Called once per
    trainer, before the first fit, evaluate or predict.

    Default: nothing.

    Returns: ignored.
    """


@stage(returns="module")
def prepare_model(trainer: Trainer, state: State) -> nn.Module:
    """Give the module that `forward` calls.

    Wrap it to compile, parallelise or change the memory format: `return torch.compile((yield))`. Implement it to
    train with another module than the user's. `trainer.model` stays the user's own module.

    Default: `trainer.model`.

    Returns: an `nn.Module`. The first result that is not None wins.
    """


@stage(returns="list")
def param_groups(trainer: Trainer, state: State) -> list:
    """Give what a callable optimizer is called with.

    Wrap it to split parameters into groups (no decay on biases, layer-wise rates). Called only when the trainer was
    given a callable instead of an optimizer, once, before `on_fit_start`.

    Default: every parameter of model and loss that requires a gradient.

    Returns: a list of parameters or of parameter groups. The first result that is not None wins.
    """


@notice
def on_fit_start(trainer: Trainer, state: State) -> None:
    """Hear that a call of `fit` begins. Counters are already restored when resuming.

    Implement it to size things from the run: `state.steps_total`, `state.epochs`.

    Default: nothing.

    Returns: ignored.
    """


# ---------------------------------------------------------------------------------------------------- an epoch


@notice
def on_epoch_start(trainer: Trainer, state: State) -> None:
    """Hear that epoch `state.epoch` begins (1 is the first).

    Default: nothing.

    Returns: ignored.
    """


@notice
def on_train_epoch_start(trainer: Trainer, state: State) -> None:
    """Hear that the training pass of an epoch begins.

    Implement it for what concerns training data only; `on_epoch_start` is for the epoch as a whole.

    Default: nothing.

    Returns: ignored.
    """


@stage(returns="iterator")
def iter_batches(trainer: Trainer, state: State, data: Any) -> Iterator:
    """Turn the data of a pass into an iterator over its batches.

    Wrap it to prefetch, to limit or to time the wait for data. `state.phase` says which pass it is.

    Default: `iter(data)`.

    Args:
        data: the loader of the pass: anything that can be iterated over and yields batches.

    Returns: an iterator. The first result that is not None wins.
    """


@stage(returns="pair")
def prepare_batch(trainer: Trainer, state: State, batch: Any) -> tuple:
    """Split a batch into inputs and targets, on the device.

    Implement it for batches of another shape than `(inputs, targets)`. Wrap it to cast or to move differently.

    Default: a tuple or list of two is (inputs, targets), anything else is inputs as a whole; tensors in any nesting go
    to `state.device`.

    Args:
        batch: one item of the iterator.

    Returns: a tuple (inputs, targets). The first result that is not None wins.
    """


@notice
def on_batch_start(trainer: Trainer, state: State) -> None:
    """Change the batch before it is trained on: `state.inputs`, `state.targets` may be replaced.

    Implement it for augmentation on the device, mix-up, noise.

    Default: nothing.

    Returns: ignored.
    """


# ---------------------------------------------------------------------------------------------------- a training step


@stage()
def train_step(trainer: Trainer, state: State) -> bool:
    """Train on one batch.

    Implement it for an algorithm that needs more than one update after the other; call `trainer.run_update(update)`
    for each. Window scaling, the finite guard and the counters stay the core's.

    Default: `trainer.run_update(update)` for every update that is due.

    Returns: True. The first result that is not None wins.
    """


@stage()
def run_update(trainer: Trainer, state: State) -> bool:
    """Run one update, `state.update`, on the batch.

    Implement it for algorithms that look at the loss more than once (SAM) or make it differently (REINFORCE), with the
    building blocks `trainer.forward()`, `.compute_loss()`, `.backward()` and, once, `.maybe_step()`.

    Default: these four, one after the other.

    Returns: True. The first result that is not None wins.
    """


@stage(returns="outputs")
def forward(trainer: Trainer, state: State) -> Any:
    """Call the model on `state.inputs`.

    Wrap it for autocast or to time it. Implement it to call the model in another way.

    Default: `state.model(inputs)`, with a tuple or list spread over the arguments and a dict over the keywords; `state`
    goes along if the model's `forward` names it.

    Returns: the outputs: anything but None. The first result that is not None wins.
    """


@notice
def on_forward_end(trainer: Trainer, state: State) -> None:
    """Hear that `state.outputs` are there, in training and evaluation.

    Default: nothing.

    Returns: ignored.
    """


@stage(returns="loss")
def compute_loss(trainer: Trainer, state: State) -> Tensor:
    """Compute the loss of the batch from `state.outputs` and `state.targets`.

    Implement it for a loss that needs more than outputs and targets. Set `state.weight` to the number of terms the loss
    is a mean of, if it isn't the number of samples.

    Default: `loss_fn(outputs, targets)`, weighted by the number of terms the criterion averages over.

    Returns: a tensor with one element. The first result that is not None wins.
    """


@notice
def on_loss_end(trainer: Trainer, state: State) -> None:
    """Add penalties: `state.loss = state.loss + penalty`, in training and evaluation.

    Default: nothing.

    Returns: ignored.
    """


@stage()
def backward(trainer: Trainer, state: State, loss: Tensor) -> bool:
    """Run the backward pass.

    Wrap or implement it for gradient scaling: `scaler.scale(loss).backward()`.

    Default: `loss.backward()`.

    Args:
        loss: `state.loss`, scaled for its window; a window of one batch is not scaled.

    Returns: True. The first result that is not None wins.
    """


@notice
def on_backward_end(trainer: Trainer, state: State) -> None:
    """Hear that the gradients of this batch are added up. They are not final: see `on_step_start`.

    Default: nothing.

    Returns: ignored.
    """


@decision
def should_step(trainer: Trainer, state: State) -> bool:
    """Say whether to update the parameters now or to go on accumulating gradients.

    Default: True when the window is full: after `accumulate` batches.

    Returns: True or False. The first result that is not None wins.
    """


@stage(returns="bool")
def finish_gradients(trainer: Trainer, state: State) -> bool:
    """Make the gradients final: unscale them, reduce them over ranks.

    Default: True; there is nothing to do.

    Returns: True, or False to skip this step. The first result that is not None wins.
    """


@notice
def on_step_start(trainer: Trainer, state: State) -> None:
    """Clip gradients, log their norm (`state.update.gradient_norm()`): they are final, and finite unless the guard is off.

    Not called for a step that is skipped.

    Default: nothing.

    Returns: ignored.
    """


@stage()
def optimizer_step(trainer: Trainer, state: State) -> bool:
    """Update the parameters of `state.update`.

    Default: `optimizer.step()` for each optimizer of the update.

    Returns: True. The first result that is not None wins.
    """


@notice
def on_step_end(trainer: Trainer, state: State) -> None:
    """Hear that one real update is done; `state.step` counts it already. The place for schedules per step.

    Not called for a step that is skipped.

    Default: nothing.

    Returns: ignored.
    """


@stage()
def zero_grad(trainer: Trainer, state: State) -> bool:
    """Clear the gradients of `state.update`, after a step or a skipped one.

    Default: `optimizer.zero_grad()` for each optimizer of the update.

    Returns: True. The first result that is not None wins.
    """


@notice
def on_batch_end(trainer: Trainer, state: State) -> None:
    """Look at a batch for the last time: its inputs, outputs and loss are released after this.

    Default: nothing.

    Returns: ignored.
    """


@notice
def on_safe_point(trainer: Trainer, state: State) -> None:
    """Save, act on a signal, act on a request to stop: nothing is half done here.

    Called after every training batch and after every epoch; `state.position` tells the two apart.

    Default: nothing.

    Returns: ignored.
    """


@notice
def on_train_epoch_end(trainer: Trainer, state: State) -> None:
    """Hear that the training pass of an epoch is over, also when a stop cut it short.

    Default: nothing.

    Returns: ignored.
    """


# ---------------------------------------------------------------------------------------------------- evaluation


@notice
def on_eval_start(trainer: Trainer, state: State) -> None:
    """Hear that a pass over validation, test or prediction data begins.

    Implement it to evaluate another module: set `state.model`. Eval mode is set after this notice.

    Default: nothing.

    Returns: ignored.
    """


@notice
def on_eval_batch_start(trainer: Trainer, state: State) -> None:
    """Change a batch before it is evaluated: `state.inputs`, `state.targets` may be replaced.

    Default: nothing.

    Returns: ignored.
    """


@stage()
def eval_step(trainer: Trainer, state: State) -> bool:
    """Evaluate one batch.

    Implement it to reach outputs or loss in another way, with `trainer.forward()` and `trainer.compute_loss()`.

    Default: `trainer.forward()` and, but for a prediction, `trainer.compute_loss()`.

    Returns: True. The first result that is not None wins.
    """


@notice
def on_eval_batch_end(trainer: Trainer, state: State) -> None:
    """Look at an evaluated batch for the last time.

    Default: nothing.

    Returns: ignored.
    """


@notice
def on_eval_end(trainer: Trainer, state: State) -> None:
    """Hear that the pass is over; `state.row` holds its values, with their prefix.

    Default: nothing.

    Returns: ignored.
    """


# ---------------------------------------------------------------------------------------------------- endings


@notice
def on_epoch_end(trainer: Trainer, state: State, row: Any) -> None:
    """Read the row: every number of the epoch is there.

    The place for early stopping, tables, schedules per epoch.

    Default: nothing.

    Args:
        row: a read-only mapping: `{"epoch": 1, "loss": ..., "val_loss": ..., "lr": ..., "seconds": ...}`.

    Returns: ignored.
    """


@closing
def on_exception(trainer: Trainer, state: State, exception: BaseException) -> None:
    """Hear that the run, the evaluation or the prediction ends with an exception.

    Default: nothing.

    Args:
        exception: what was raised; `KeyboardInterrupt` is one like any other.

    Returns: ignored. Every plugin hears it, even if another raises; no wrappers.
    """


@closing
def on_fit_end(trainer: Trainer, state: State) -> None:
    """Hear that a call of `fit` ends, in whatever way: close what `on_fit_start` opened.

    Default: nothing.

    Returns: ignored. Every plugin hears it, even if another raises; no wrappers.
    """


@closing
def on_teardown(trainer: Trainer, state: State) -> None:
    """Release what `on_setup` took.

    Default: nothing.

    Returns: ignored. Every plugin hears it, even if another raises; no wrappers.
    """


@stage(returns="module")
def export_model(trainer: Trainer, state: State) -> nn.Module:
    """Say whose weights a weights-only file gets.

    Implement it to export averaged weights.

    Default: `trainer.model`.

    Returns: an `nn.Module`. The first result that is not None wins.
    """


@notice
def on_log(trainer: Trainer, state: State, entries: list[LogEntry]) -> None:
    """Send numbers somewhere: the one hook a tracker needs.

    Called at every flush: each `log_every` steps, at the end of a pass, at the end of the run.

    Default: nothing.

    Args:
        entries: `LogEntry(step, epoch, phase, time, values)` in the order of their making; the values are floats.

    Returns: ignored.
    """


@notice
def on_show(trainer: Trainer, state: State, name: str, item: Any) -> None:
    """Send a picture, a figure or a table somewhere.

    Default: nothing.

    Args:
        name: what it shows, such as `"samples"`.
        item: one of the items in `fit_core.items`.

    Returns: ignored.
    """


def specs_in(namespace: Any) -> dict[str, Callable[..., Any]]:
    """Return the hook specifications in a module or class, by name. In a class they are methods with `self`."""
    return {name: getattr(namespace, name) for name, function in vars(namespace).items() if hasattr(function, "fit_kind")}


def arguments_of(spec: Callable[..., Any]) -> list[str]:
    """Return the names of a hook's arguments, in the order in which it is called with them."""
    return [name for name in inspect.signature(spec).parameters if name != "self"]


SPECS: dict[str, Callable[..., Any]] = {name: value for name, value in globals().items() if hasattr(value, "fit_kind")}
"""Every hook of the core by name, in call order."""

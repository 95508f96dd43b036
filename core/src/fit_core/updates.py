"""Updates: each one optimizer's (or several optimizers') share of a training algorithm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fit_core.criterion import Criterion
from fit_core.errors import FitError, whole
from fit_core.norm import GradientNorm
from fit_core.optimizers import build_optimizers, has_own_zero_grad, names_of, needs_closure, tensor_of
from fit_core.window import Window

if TYPE_CHECKING:
    from fit_core.call import Length, Origin
    from fit_core.state import State
    from fit_core.trainer import Trainer

PREFIXES = ("val_", "test_")
"""How the names of evaluated values begin in the row."""


class Update:
    """What one optimizer trains, by which loss and how often; and how far it has come.

    Args:
        name: its name in `state.updates`, and before its numbers in the row.
        optimizer: a torch optimizer; a callable that makes one of `params`; or a list of them, which step together.
        params: what a callable is given; None: what the hook `param_groups` gives. A ready optimizer knows its own.
        loss_fn: `loss_fn(outputs, targets)`, as the trainer's; None: the trainer's.
        every: due in every so many batches: when `state.batch_count` is a multiple.
        accumulate: how many of the batches in which it is due make one step; None: as the trainer says.

    Attributes:
        name: see above; "main" for the only update of a plain run.
        every: see above.
        optimizers: whose `step` makes the update; empty before the first `fit`.
        steps: how many steps are finished.
        steps_total: an estimate of `steps` at the end of this call of `fit`; None if unknown.
        lr: the learning rate of the last step, of the first parameter group; before it, of the next.
        window: the batches whose gradients are added up for the next step.
        norm: of its gradients.
        has_own_zero_grad: whether an optimizer clears its gradients in a way of its own.
        needs_closure: whether its optimizer's `step` evaluates the batch itself, as LBFGS does.
        shares_forward: whether the model is called once for all updates.
        told: whether the guard has left a flag with its optimizers.
        loss_names: under which its loss is in the row.
        is_ordinary: whether it is the only one, and its optimizers need no closure.
        is_first: whether it is the one whose steps are `state.step`, and whose loss is `loss`.
        closure: what `optimizer_step` hands to an optimizer that evaluates the batch itself; None at any other time.

    Raises:
        FitError: a number is below 1, or the name cannot stand in the row.
    """

    def __init__(
        self,
        name: str,
        optimizer: Any,
        params: Iterable[Any] | None = None,
        *,
        loss_fn: Callable[..., Tensor] | None = None,
        every: int = 1,
        accumulate: int | None = None,
    ) -> None:
        if not name.isidentifier():
            raise FitError(f"{name!r} is no name for an update: use letters, digits and underscores")
        if f"{name}_".startswith(PREFIXES):
            raise FitError(f"an update cannot be called {name!r}: the row has {name}_loss for something else")
        for what, number in (("every", every), ("accumulate", 1 if accumulate is None else accumulate)):
            if not isinstance(number, int) or number < 1:
                raise FitError(f"{what} of update {name!r} must be at least 1 and whole, not {number!r}")
        self.name = name
        self.every = every
        self.accumulate = accumulate
        self.loss_fn = loss_fn
        self.criterion = None if loss_fn is None else Criterion(loss_fn)
        self.given = optimizer
        self.given_params = None if params is None else list(params)
        self.optimizers: list[Optimizer] = []
        self.steps = 0
        self.steps_total: int | None = None
        self.window = Window()
        self.norm = GradientNorm()
        self.lr: float | Tensor = 0.0
        self.needs_closure = False
        self.has_own_zero_grad = False
        self.is_first = self.shares_forward = self.is_ordinary = False
        self.loss_names: tuple[str, ...] = ()
        self.told = False
        self.closure: Callable[[], Any] | None = None

    def build(self, groups: Callable[[], list[Any]], accumulate: int, sums: bool) -> list[Any]:
        """Make its optimizers and its window.

        Args:
            groups: returns what a callable optimizer is given.
            accumulate: of the trainer.
            sums: its losses are sums over samples.

        Returns:
            The parameter groups that a callable was given.

        Raises:
            FitError: an optimizer is not what it should be; or it needs a closure, and cannot accumulate or share an update.
        """
        self.optimizers, given = build_optimizers(self.given, groups)
        self.steps = 0
        accumulate = self.accumulate or accumulate
        self.has_own_zero_grad = any(map(has_own_zero_grad, self.optimizers))
        self.needs_closure = any(map(needs_closure, self.optimizers))
        if self.needs_closure and (accumulate > 1 or len(self.optimizers) > 1):
            what = f"accumulate {accumulate} batches" if accumulate > 1 else "share an update with another one"
            names = ", ".join(type(optimizer).__name__ for optimizer in self.optimizers if needs_closure(optimizer))
            raise FitError(f"{names} evaluates a batch several times in one step, so it cannot {what}")
        self.window = Window(accumulate, sums)
        self.norm = GradientNorm()
        self.lr = self.next_lr
        return given

    def steps_in(self, batches: int, batch_count: int, remainder: str) -> int:
        """Return how many steps it makes in an epoch of so many batches, of which others came before."""
        due = (batch_count + batches) // self.every - batch_count // self.every
        return due // self.window.accumulate if remainder == "drop" else -(-due // self.window.accumulate)

    def batches_until(self, steps: float, batch_count: int, batches: int) -> int:
        """Return after how many batches of an epoch it has made so many steps; all of them if it makes fewer."""
        due = steps * self.window.accumulate
        last = (batch_count // self.every + due) * self.every - batch_count
        return int(min(last, batches))

    def due(self, batch_count: int) -> bool:
        """Whether it runs on this batch, counted over all epochs."""
        return batch_count % self.every == 0

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer, where there is one only; else the first."""
        return self.optimizers[0]

    @property
    def next_lr(self) -> float | Tensor:
        """The learning rate that the next step will use, of the first parameter group."""
        lr: float | Tensor = self.optimizers[0].param_groups[0]["lr"]
        return lr.clone() if isinstance(lr, Tensor) else lr  # schedulers write into a tensor

    @property
    def params(self) -> list[Tensor]:
        """The parameters that the optimizers own now."""
        found: list[Tensor] = []
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                found += group["params"]
        return found

    def zero_grad(self) -> None:
        """Clear every gradient; what is counted of the window stays, for a `run_update` that looks at the loss more than once."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def begin_window(self) -> None:
        """Clear every gradient, and begin a new window."""
        self.zero_grad()
        self.window.clear()
        self.norm.forget()

    def gradients(self) -> list[Tensor]:
        """The gradients there are, in the order of the parameters."""
        found = []
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    gradient = p.grad
                    if gradient is not None:
                        found.append(gradient)
        return found

    def gradient_norm(self) -> Tensor:
        """Return the Euclidean norm of all gradients together, a tensor without dimensions, as torch's `get_total_norm` does.

        On the CPU the look at gradients before a step (`finite`) is one at this norm as soon as anybody asks for it, and those who ask in
        `on_step_start`, with nobody before them who may change gradients, are given what it has computed.
        """
        return self.norm.of(self.gradients()).clone()  # so that it can be written to

    def multiply_gradients(self, factor: float | Tensor) -> None:
        """Multiply every gradient by a number, or by a tensor without dimensions."""
        by_device: dict[torch.device, list[Tensor]] = {}
        for gradient in map(values_of, self.gradients()):
            by_device.setdefault(gradient.device, []).append(gradient)
        for device, gradients in by_device.items():
            torch._foreach_mul_(gradients, factor.to(device, non_blocking=True) if isinstance(factor, Tensor) else factor)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of its optimizers, its counter and its learning rate."""
        return {"steps": self.steps, "lr": float(self.lr), "optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned.

        Raises:
            FitError: it was made with another number of optimizers.
        """
        if len(state["optimizers"]) != len(self.optimizers):
            raise FitError(f"update {self.name!r} was saved with {len(state['optimizers'])} optimizers, and has {len(self.optimizers)}")
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            try:
                optimizer.load_state_dict(saved)
            except ValueError as error:  # of torch: other groups
                raise FitError(f"the saved state of update {self.name!r} does not fit {type(optimizer).__name__}: {error}") from error
        self.steps = state["steps"]
        self.lr = state["lr"]

    def open_state(self) -> dict[str, Any]:
        """Return its window, and the gradients that are added up so far, by the place of their parameters."""
        gradients = {i: p.grad for i, p in enumerate(self.params) if p.grad is not None}
        return {"window": self.window.state_dict(), "gradients": gradients}

    def load_open_state(self, state: Mapping[str, Any]) -> None:
        """Take up what `open_state` returned."""
        self.window.load_state_dict(state["window"])
        params = self.params
        for i, gradient in state["gradients"].items():
            params[i].grad = gradient.to(params[i].device)

    def __repr__(self) -> str:
        extra = [f"every={self.every}"] * (self.every > 1) + [f"accumulate={self.window.accumulate}"] * (self.window.accumulate > 1)
        return f"Update({', '.join([repr(self.name), names_of(self.optimizers or self.given), *extra, f'steps={self.steps}'])})"


class Updates:
    """The updates of a training algorithm, in the order in which they run on a batch.

    Args:
        updates: one or more.
        shared_forward: call the model once per batch, with every gradient on; each update begins at `compute_loss`. What one
            update's loss leads back through and another one's parameters must be detached by it.

    Raises:
        FitError: there is none, or two of one name.
    """

    def __init__(self, updates: Iterable[Update], *, shared_forward: bool = False) -> None:
        self.shared_forward = shared_forward
        self.by_name: dict[str, Update] = {}
        for update in updates:
            if not isinstance(update, Update):
                raise FitError(f"Updates takes a list of Update, not of {type(update).__name__}; write Update('g', optimizer)")
            if update.name in self.by_name:
                raise FitError(f"two updates are called {update.name!r}")
            self.by_name[update.name] = update
        if not self.by_name:
            raise FitError("there is no update: give one optimizer at least")
        for update in self:
            update.is_first, update.shares_forward = update is self.first, shared_forward
            update.loss_names = ("loss",) * update.is_first + (f"{update.name}_loss",) * (len(self) > 1)

    @property
    def first(self) -> Update:
        """The one whose steps are `state.step`, and whose loss is `loss`."""
        return next(iter(self.by_name.values()))

    def __iter__(self) -> Iterator[Update]:
        return iter(self.by_name.values())

    def __len__(self) -> int:
        return len(self.by_name)

    def __repr__(self) -> str:
        return ", ".join(map(repr, self))

    def build(self, trainer: Trainer, state: State) -> None:
        """Make every optimizer, with nothing left in its gradients.

        Raises:
            FitError: one is not what it should be, or holds what it should not.
        """
        accumulate, given = whole("accumulate", trainer.accumulate), list[Any]()
        for update in self:
            state.update = update
            given += update.build(lambda: trainer.hooks.param_groups(trainer, state), accumulate, trainer.criterion_for(state).sums)
        state.update = None
        for update in self:
            update.is_ordinary = len(self) == 1 and not update.needs_closure and not self.shared_forward
        closures = [update.name for update in self if update.needs_closure]
        if closures and self.shared_forward:
            raise FitError(f"update {closures[0]!r} evaluates the batch itself, so that the updates cannot share a forward pass")
        self.check(trainer.modules(state.model), given)
        for update in self:
            update.begin_window()

    def rates(self) -> dict[str, float | Tensor]:
        """Return the learning rate of each update's last step, under its name in the row."""
        return {"lr" if len(self) == 1 else f"{update.name}_lr": update.lr for update in self}

    def row_names(self) -> set[str]:
        """Return the names that several updates take in the row."""
        return {f"{update.name}_{what}" for update in self for what in ("loss", "lr")} if len(self) > 1 else set()

    def size(self, batches: int | None, length: Length, remainder: str, origin: Origin) -> None:
        """Set how many steps each update will have made at the end of a run, as far as that is known.

        Args:
            batches: of an epoch; None if unknown.
            length: of the run.
            remainder: what becomes of short windows.
            origin: the counters at its beginning.
        """
        batch_count = origin.batch_count
        epochs, steps = length.epochs, math.inf if length.steps is None else length.steps
        if batches is None and length.steps is not None:  # as if it were one long epoch
            batches, epochs = length.steps * self.first.window.accumulate * self.first.every, 1
        if batches is None or math.isinf(min(epochs, steps)):
            for update in self:
                update.steps_total = None
            return
        period = math.lcm(*(update.every // math.gcd(update.every, batches) for update in self))  # of epochs, then all is as before
        each = self._steps(batches, period, math.inf, remainder, batch_count)
        periods = epochs if math.isinf(epochs) else epochs // period
        if not math.isinf(steps):
            periods = min(periods, (int(steps) - 1) // each[self.first.name] if each[self.first.name] else 0)
        left = self._steps(batches, epochs - periods * period, steps - periods * each[self.first.name], remainder, batch_count)
        for name, update in self.by_name.items():
            update.steps_total = origin.updates.get(name, 0) + int(periods) * each[name] + left[name]

    def _steps(self, batches: int, epochs: float, steps: float, remainder: str, batch_count: int) -> dict[str, int]:
        """Count the steps of each update over some epochs, or until the first has made so many."""
        made = dict.fromkeys(self.by_name, 0)
        epoch = 0
        while epoch < epochs and made[self.first.name] < steps:
            seen = self.first.batches_until(steps - made[self.first.name], batch_count, batches)
            now = {update.name: update.steps_in(seen, batch_count, remainder) for update in self}
            if not math.isinf(steps) and not now[self.first.name] and epoch >= self.first.every:
                break  # it never will
            made = {name: made[name] + count for name, count in now.items()}
            batch_count += batches
            epoch += 1
        return made

    def check(self, modules: Iterable[nn.Module], given: Iterable[Any]) -> None:
        """Refuse updates that train something else than the model, or the same thing twice.

        Args:
            modules: the model, and losses with parameters.
            given: further parameters, which a plugin gave.

        Raises:
            FitError: a parameter belongs to none of these, or to two optimizers.
        """
        known = {id(p) for module in modules for p in module.parameters()}
        known |= {id(tensor_of(p)) for group in given for p in (group["params"] if isinstance(group, dict) else [group])}
        owner: dict[int, str] = {}
        for update in self:
            check_known(update, known)
            for p in update.params:
                if id(p) in owner:
                    both = (
                        f"of update {update.name!r}" if owner[id(p)] == update.name else f"of updates {owner[id(p)]!r} and {update.name!r}"
                    )
                    raise FitError(f"two optimizers {both} hold the same parameter, of shape {tuple(p.shape)}; each needs its own")
                owner[id(p)] = update.name

    @contextmanager
    def only(self, update: Update) -> Iterator[None]:
        """Switch off the gradients of every other update's parameters: of those that are on, and put them back."""
        off = [p for other in self if other is not update for p in other.params if p.requires_grad] if len(self) > 1 else []
        for p in off:
            p.requires_grad = False  # lazy ones refuse requires_grad_
        try:
            yield
        finally:
            for p in off:
                p.requires_grad = True


def as_updates(optimizer: Any) -> Updates:
    """Return updates: as they are given, one for each entry of a dict, or one called "main".

    Raises:
        FitError: a dict has a callable, whose parameters nobody says.
    """
    if isinstance(optimizer, Updates):
        return optimizer
    if not isinstance(optimizer, Mapping):
        return Updates([optimizer if isinstance(optimizer, Update) else Update("main", optimizer)])
    updates = Updates(one if isinstance(one, Update) else Update(name, one) for name, one in optimizer.items())
    for update in updates:
        makers = [one for one in (update.given if isinstance(update.given, list) else [update.given]) if not isinstance(one, Optimizer)]
        if len(updates) > 1 and makers and update.given_params is None:
            raise FitError(
                f"the optimizer of update {update.name!r} is a callable, and nobody says which parameters it gets: "
                f"write Update({update.name!r}, partial(...), model.{update.name}.parameters()), or make the optimizer"
            )
    return updates


def check_known(update: Update, known: set[int]) -> None:
    """Refuse an update that holds parameters of something else."""
    params = update.params
    if not any(id(p) in known for p in params):
        raise FitError(
            f"the optimizer of update {update.name!r} holds none of the model's parameters; "
            "build it from model.parameters(), or pass partial(torch.optim.SGD, lr=0.1) and let fit do it"
        )
    foreign = [p for p in params if id(p) not in known]
    if foreign:
        raise FitError(
            f"the optimizer of update {update.name!r} holds {len(foreign)} parameters that are neither the model's nor the loss's, the "
            f"first of shape {tuple(foreign[0].shape)}; was the model changed after the optimizer was made?"
        )
    if not any(p.requires_grad for p in params):
        raise FitError(f"there is nothing to train: no parameter of update {update.name!r} requires a gradient")


def values_of(gradient: Tensor) -> Tensor:
    """Return what a gradient holds: the values of a sparse one, any other as it is."""
    return gradient._values() if gradient.is_sparse else gradient

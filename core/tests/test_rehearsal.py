"""`trainer.rehearse`: training that leaves nothing behind, to the bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.rehearsal import places_kept
from fit_core.testing import tiny_batches, tiny_trainer


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Samples with noise from three sources."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        noise = torch.randn(4) + random.random() + float(np.random.rand())
        return noise + i / 24, torch.tensor(i % 3)


class Steps:
    """Trains some batches, and stops; notes what it hears."""

    def __init__(self, batches: int = 5) -> None:
        self.batches = batches
        self.inputs: list[Tensor] = []

    @hookimpl
    def on_batch_end(self, trainer: Trainer, state: State) -> None:
        self.inputs.append(state.inputs.clone())
        with torch.no_grad():
            trainer.model[1].running_mean.add_(100)  # type: ignore[union-attr, operator]
        trainer.model[1].added = 1  # type: ignore[union-attr]
        if len(self.inputs) == self.batches:
            trainer.stop("enough")


class Tries:
    """Rehearses at the start of a run, or at a safe point."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.probes: list[Steps] = []

    @hookimpl
    def on_fit_start(self, trainer: Trainer) -> None:
        if self.at == 0:
            self.go(trainer)

    @hookimpl
    def on_safe_point(self, trainer: Trainer, state: State) -> None:
        if self.at == state.batch_count:
            self.go(trainer)

    def go(self, trainer: Trainer) -> None:
        self.probes.append(Steps())
        trainer.rehearse(self.probes[-1], without=[self])


class Counter:
    """An active plugin with a state."""

    def __init__(self) -> None:
        self.steps = 0
        self.heard: list[str] = []

    @hookimpl
    def on_step_end(self) -> None:
        self.steps += 1

    @hookimpl
    def on_epoch_end(self) -> None:
        self.heard.append("on_epoch_end")

    @hookimpl
    def on_fit_end(self) -> None:
        self.heard.append("on_fit_end")

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


class Listener:
    """A passive plugin: it must not hear of rehearsals."""

    passive = True

    def __init__(self) -> None:
        self.batches = 0
        self.entries: list[Any] = []

    @hookimpl
    def on_batch_end(self) -> None:
        self.batches += 1

    @hookimpl
    def on_log(self, entries: list[Any]) -> None:
        self.entries += entries


def loader(kind: str) -> Any:
    if kind == "generator":
        return DataLoader(Noisy(), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(5))
    return DataLoader(Noisy(), batch_size=4, shuffle=True)


def trained(at: int | None, kind: str, seed: int | None) -> tuple[Trainer, Tries, Counter, Listener]:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.2), nn.Linear(5, 3))
    tries, counter, listener = Tries(at), Counter(), Listener()
    trainer = tiny_trainer(
        model=model,
        optimizer=partial(torch.optim.AdamW, lr=0.01),
        train_data=loader(kind),
        plugins=[counter, listener, tries],
        seed=seed,
        accumulate=2,
        metrics=["accuracy"],
    )
    trainer.fit(epochs=2)
    trainer.fit(epochs=1)
    return trainer, tries, counter, listener


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("seed", [3, None])
@pytest.mark.parametrize("kind", ["generator", "global"])
@pytest.mark.parametrize("at", [0, 1, 4])
def test_a_run_is_as_if_nothing_had_been_tried(at: int, kind: str, seed: int | None) -> None:
    plain, _, counted, heard = trained(None, kind, seed)
    trainer, tries, counter, listener = trained(at, kind, seed)
    assert [len(probe.inputs) for probe in tries.probes] == [5] * (2 if at == 0 else 1)
    assert equal(dict(trainer.model.state_dict()), dict(plain.model.state_dict()))
    mine, theirs = (each.updates["main"].state_dict() for each in (trainer, plain))
    assert equal(mine["optimizers"][0]["state"], theirs["optimizers"][0]["state"])
    drop = {"seconds"}
    assert [{k: v for k, v in row.items() if k not in drop} for row in trainer.history] == [
        {k: v for k, v in row.items() if k not in drop} for row in plain.history
    ]
    assert (counter.steps, listener.batches, len(listener.entries)) == (counted.steps, heard.batches, len(heard.entries))
    assert counter.heard.count("on_epoch_end") == 3, "no epoch ends in a rehearsal"
    assert counter.heard.count("on_fit_end") == 2 + len(tries.probes)


def test_it_sees_the_batches_of_the_first_epoch() -> None:
    seen: list[Tensor] = []

    @hookimpl
    def on_batch_end(state: State) -> None:
        seen.append(state.inputs.clone())

    tries = Tries(0)
    tiny_trainer(
        model=nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)),
        train_data=loader("global"),
        seed=1,
        plugins=[tries, on_batch_end],
    ).fit(epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(tries.probes[0].inputs, seen[5:], strict=False))


def test_outside_of_a_run() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    trainer = tiny_trainer(model=model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    trainer.rehearse(Steps(3))
    assert equal(dict(model.state_dict()), before)
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert trainer.history == []
    assert trainer.current_state().step == 0
    assert trainer.updates["main"].steps == 0
    trainer.fit(epochs=1)


def test_everything_is_put_back_when_it_fails() -> None:
    class Fails(Steps):
        @hookimpl
        def on_step_end(self, state: State) -> None:
            if state.step == 2:
                raise ZeroDivisionError

    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    trainer = tiny_trainer(model=model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        trainer.rehearse(Fails())
    assert equal(dict(model.state_dict()), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_put_back_is_refused() -> None:
    def stream() -> Iterator[Any]:
        yield from tiny_batches(9)

    with pytest.raises(FitError, match="this data can be read only once"):
        tiny_trainer(train_data=stream()).rehearse(Steps())
    lazy = nn.Sequential(nn.LazyLinear(5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    with pytest.raises(FitError, match="before lazy parameters are initialised"):
        tiny_trainer(model=lazy).rehearse(Steps())

    class Early(Tries):
        @hookimpl
        def on_batch_end(self, trainer: Trainer) -> None:
            self.go(trainer)

    with pytest.raises(FitError, match="while a batch is at work: call it in on_fit_start or on_safe_point"):
        tiny_trainer(plugins=[Early(None)]).fit(epochs=1)


class Rehearses:
    """Tries some batches out: at the start of a run, or at a safe point."""

    def __init__(self, at: int | None) -> None:
        self.at = at

    @hookimpl
    def on_fit_start(self, trainer: Trainer) -> None:
        if self.at == 0:
            trainer.rehearse(Leaves(), without=[self])

    @hookimpl
    def on_safe_point(self, trainer: Trainer, state: State) -> None:
        if self.at == state.batch_count:
            trainer.rehearse(Leaves(), without=[self])


class Leaves:
    """Stops after some batches."""

    def __init__(self) -> None:
        self.batches = 0

    @hookimpl
    def on_batch_end(self, trainer: Trainer) -> None:
        self.batches += 1
        if self.batches == 5:
            trainer.stop("enough")


def losses_of(at: int | None, *plugins: Any, **changes: Any) -> list[float]:
    torch.manual_seed(1)
    made = {name: value() for name, value in changes.items()}
    settings = {"train_data": tiny_batches(8), "val_data": None, "plugins": [*(plugin() for plugin in plugins), Rehearses(at)], **made}
    return [row["loss"] for row in tiny_trainer(**settings).fit(epochs=2)]


class Begins:
    """A plugin that makes what it works with when a run starts, from its state if there is one."""

    def __init__(self) -> None:
        self.loaded = 0
        self.rate: float | None = None

    @hookimpl
    def on_fit_start(self, state: State) -> None:
        self.rate = 0.5 ** (self.loaded if state.resumed else 0)

    @hookimpl
    def on_loss_end(self, state: State) -> None:
        assert self.rate is not None, "it has begun"
        state.loss = state.loss * self.rate

    @hookimpl
    def on_step_end(self, state: State) -> None:
        self.loaded += 1
        self.rate = 0.5**self.loaded

    def state_dict(self) -> dict[str, int]:
        return {"loaded": self.loaded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.loaded, self.rate = state["loaded"], None


class Wraps:
    """Puts a module of its own, with a counter that nobody saves, around the model."""

    @hookimpl
    def prepare_model(self, state: State) -> nn.Module:
        return Counts(state.model)


class Counts(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.inner(x) * (1 + self.calls / 100)
        return out


class Brings:
    """Brings a parameter of its own."""

    def __init__(self) -> None:
        self.factor = nn.Parameter(torch.ones(()))

    @hookimpl(wrapper=True)
    def param_groups(self) -> Any:
        groups = yield
        return [*groups, self.factor]

    @hookimpl
    def on_loss_end(self, state: State) -> None:
        state.loss = state.loss * self.factor


class Holds:
    """Changes the rate in a group that it got hold of at the start."""

    @hookimpl(tryfirst=True)
    def on_fit_start(self, trainer: Trainer, state: State) -> None:
        if not trainer.is_rehearsal and not state.resumed:
            self.group = state.updates["main"].optimizer.param_groups[0]

    @hookimpl
    def on_step_start(self, trainer: Trainer) -> None:
        if not trainer.is_rehearsal:
            self.group["lr"] *= 0.9


class Remembers(nn.Linear):
    """Counts in an attribute, makes a buffer when it is first called, has one that is expanded."""

    calls = 0

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.register_buffer("expanded", torch.ones(1).expand(3))

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "seen"):
            self.seen: Tensor
            self.register_buffer("seen", torch.zeros(()))
        self.calls += 1
        self.seen += 1
        return super().forward(x) * (1 + self.calls / 100 + self.seen / 50)


@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize(
    "case",
    [
        {"plugins": [Begins]},
        {"plugins": [Wraps]},
        {"plugins": [Brings]},
        {"plugins": [Holds]},
        {"plugins": [], "model": Remembers},
    ],
    ids=["begins", "wraps", "brings", "holds", "remembers"],
)
def test_what_is_no_state_of_the_model_is_put_back_too(case: dict[str, Any], at: int) -> None:
    changes = {name: value for name, value in case.items() if name != "plugins"}
    assert losses_of(at, *case["plugins"], **changes) == losses_of(None, *case["plugins"], **changes)


def test_persistent_workers_that_are_at_work_are_not_disturbed() -> None:
    loader = DataLoader(Noisy(), batch_size=3, num_workers=1, persistent_workers=True)
    loader._iterator = at_work = object()  # type: ignore[assignment]
    with places_kept(loader):
        assert loader._iterator is None, "a pass over it would take the workers away"
        loader._iterator = object()  # type: ignore[assignment]
    assert loader._iterator is at_work
    loader._iterator = None

"""What may be given as optimizer, and whose parameters it may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

import pytest
import torch
from torch import nn
from torch._C._profiler import _ExperimentalConfig
from torch.optim import SGD, Adam
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from fit_core import FitError, Trainer, hookimpl
from fit_core.testing import tiny_trainer


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def test_a_list_is_one_update_with_one_forward() -> None:
    calls = []
    model = linear()
    model.register_forward_hook(lambda *_: calls.append(1))
    trainer = tiny_trainer(model=model, optimizer=[SGD([model.weight], lr=0.1), Adam([model.bias])], val_data=None)
    trainer.fit(epochs=1)
    assert len(calls) == 2
    assert list(trainer.updates) == ["main"]
    assert (trainer.updates["main"].steps, len(trainer.updates["main"].optimizers)) == (2, 2)
    assert "SGD, Adam" in repr(trainer)


def test_a_callable_in_a_list_gets_what_the_others_do_not_hold() -> None:
    model = linear()
    trainer = tiny_trainer(model=model, optimizer=[SGD([model.weight], lr=0.1), partial(Adam, lr=0.01)])
    assert "SGD, Adam" in repr(trainer)
    trainer.fit(epochs=1)
    sgd, adam = trainer.updates["main"].optimizers
    assert [id(p) for p in adam.param_groups[0]["params"]] == [id(model.bias)]
    assert sgd is trainer.optimizer[0]  # type: ignore[index]


class Scale(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, outputs: Any, targets: Any) -> Any:
        return nn.functional.cross_entropy(outputs * self.scale, targets)


def test_the_parameters_of_a_loss_may_be_trained() -> None:
    model, loss_fn = linear(), Scale()
    tiny_trainer(model=model, loss_fn=loss_fn, optimizer=SGD([*model.parameters(), loss_fn.scale], lr=0.1)).fit(epochs=1)
    assert loss_fn.scale.item() != 1


def test_a_plugin_may_give_parameters() -> None:
    free, named = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)

    @hookimpl
    def param_groups(trainer: Trainer) -> list[Any]:
        return [{"params": trainer.model.parameters()}, {"params": free, "lr": 0.5}, {"params": [("named", named)]}]

    def make(groups: list[Any]) -> SGD:
        assert [len(group["params"]) for group in groups] == [2, 1, 1]
        return SGD(groups[:2], lr=0.1)

    trainer = tiny_trainer(optimizer=make, plugins=[param_groups])
    trainer.fit(epochs=1)
    assert any(p is free for p in trainer.updates["main"].params)


def mistakes() -> dict[str, tuple[dict[str, Any], str]]:
    model, other = linear(), linear()
    changed = linear()
    before = SGD(changed.parameters(), lr=0.1)
    changed.weight = nn.Parameter(torch.zeros(3, 4))
    return {
        "foreign": (
            {"model": model, "optimizer": SGD([*model.parameters(), *other.parameters()], lr=0.1)},
            r"holds 2 parameters that are neither the model's nor the loss's, the first of shape \(3, 4\); was the model changed",
        ),
        "changed": ({"model": changed, "optimizer": before}, "holds 1 parameters that are neither .* was the model changed"),
        "overlap": (
            {"model": model, "optimizer": [SGD(model.parameters(), lr=0.1), Adam([model.bias])]},
            "two optimizers of update 'main' hold the same parameter",
        ),
        "two callables": ({"optimizer": [partial(SGD, lr=0.1), Adam]}, "a list of optimizers can have one callable"),
        "empty": ({"optimizer": []}, "the list of optimizers is empty"),
        "nothing left": (
            {"model": model, "optimizer": [SGD(model.parameters(), lr=0.1), partial(Adam, lr=0.1)]},
            "there is nothing to train",
        ),
    }


@pytest.mark.parametrize("name", mistakes())
def test_mistakes(name: str) -> None:
    changes, message = mistakes()[name]
    with pytest.raises(FitError, match=message):
        tiny_trainer(**changes).fit(epochs=1)


def test_a_model_that_a_plugin_puts_in_is_trained_or_refused_with_an_optimizer_of_another() -> None:
    @hookimpl
    def on_setup(trainer: Trainer) -> None:
        trainer.model = nn.Linear(4, 3)

    trainer = tiny_trainer(plugins=[on_setup])
    given = trainer.model
    trainer.fit(epochs=1)
    assert trainer.model is not given
    assert [id(p) for p in trainer.updates["main"].params] == [id(p) for p in trainer.model.parameters()]
    ready = torch.optim.SGD(given.parameters(), lr=0.1)
    with pytest.raises(FitError, match="holds none of the model's parameters"):
        tiny_trainer(model=given, optimizer=ready, plugins=[on_setup]).fit(epochs=1)


Seen = list[SGD]
Listener = Callable[[SGD, Seen], AbstractContextManager[None]]
WINDOWS = pytest.mark.parametrize("accumulate", [1, 2])


@contextmanager
def hooked(register: Callable[[Any], Any], seen: Seen) -> Iterator[None]:
    handle = register(lambda optimizer, *_: seen.append(optimizer))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def own_step(optimizer: SGD, seen: Seen) -> Iterator[None]:
    of_class = optimizer.step
    optimizer.step = lambda closure=None: (seen.append(optimizer), of_class(closure))  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del optimizer.step


@contextmanager
def of_the_class(step: Any) -> Iterator[None]:
    torchs = SGD.step
    SGD.step = step  # type: ignore[method-assign]
    try:
        yield
    finally:
        SGD.step = torchs  # type: ignore[method-assign]


def decorated(seen: Seen) -> Any:
    torchs = SGD.step

    @wraps(torchs)
    def around(self: SGD, *args: Any) -> Any:
        seen.append(self)
        return torchs(self, *args)

    return around


class Proxy:
    """Answers as the function does that it is around, as those of tracing libraries do."""

    def __init__(self, seen: Seen) -> None:
        self.__wrapped__, self.seen = SGD.step, seen

    def __get__(self, optimizer: SGD | None, owner: Any) -> Any:
        return self if optimizer is None else partial(self, optimizer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __call__(self, optimizer: SGD, *args: Any) -> Any:
        self.seen.append(optimizer)
        return self.__wrapped__(optimizer, *args)


LISTENERS: dict[str, Listener] = {
    "pre-hook": lambda optimizer, seen: hooked(optimizer.register_step_pre_hook, seen),
    "post-hook": lambda optimizer, seen: hooked(optimizer.register_step_post_hook, seen),
    "global pre-hook": lambda optimizer, seen: hooked(register_optimizer_step_pre_hook, seen),
    "global post-hook": lambda optimizer, seen: hooked(register_optimizer_step_post_hook, seen),
    "its own step": own_step,
    "a decorated class": lambda optimizer, seen: of_the_class(decorated(seen)),
    "a class with a proxy": lambda optimizer, seen: of_the_class(Proxy(seen)),
}


@WINDOWS
@pytest.mark.parametrize("listener", LISTENERS.values(), ids=LISTENERS)
def test_whoever_listens_to_an_optimizer_hears_every_step(listener: Listener, accumulate: int) -> None:
    """Torch's search for hooks may be left out only while there are none: also when one comes in the midst of a run, and goes."""
    model = linear()
    optimizer, seen, listening = SGD(model.parameters(), lr=0.1), list[SGD](), ExitStack()

    class Listens:
        @hookimpl
        def on_batch_start(self, state: Any) -> None:
            if state.batch == 3:
                listening.enter_context(listener(optimizer, seen))
            if state.batch == 7:
                listening.close()

    batches = [(torch.randn(4, 4), torch.randint(0, 3, (4,))) for _ in range(8)]
    trainer = tiny_trainer(model=model, optimizer=optimizer, train_data=batches, val_data=None, plugins=[Listens()], accumulate=accumulate)
    with listening:
        trainer.fit(epochs=1)
    assert seen == [optimizer] * (4 // accumulate)  # of batches 3 to 6
    assert trainer.updates["main"].steps == 8 // accumulate


def test_a_zero_grad_in_the_place_of_torchs_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    torchs, cleared = torch.optim.Optimizer.zero_grad, list[Any]()
    monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", lambda self, *args: (cleared.append(self), torchs(self, *args))[1])
    trainer = tiny_trainer(val_data=None)
    trainer.fit(epochs=1)
    assert len(cleared) >= trainer.updates["main"].steps == 2


@WINDOWS
@pytest.mark.parametrize("of_all_threads", [False, True])
def test_a_profiler_finds_every_step(of_all_threads: bool, accumulate: int) -> None:
    batches = [(torch.randn(4, 4), torch.randint(0, 3, (4,))) for _ in range(4)]
    how = _ExperimentalConfig(profile_all_threads=of_all_threads)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], experimental_config=how) as profiler:
        tiny_trainer(train_data=batches, val_data=None, accumulate=accumulate).fit(epochs=1)
    assert {each.key: each.count for each in profiler.key_averages()}["Optimizer.step#SGD.step"] == 4 // accumulate


def test_an_optimizer_around_another_is_asked() -> None:
    """It was not made as torch's are, so that nothing was put around its step."""

    class Around(SGD):
        def __init__(self, inner: SGD) -> None:
            self.inner, self.param_groups, self.state, self.defaults, self.steps = inner, inner.param_groups, inner.state, inner.defaults, 0

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            self.steps += 1
            self.inner.step(closure)

        def zero_grad(self, set_to_none: bool = True) -> None:
            self.inner.zero_grad(set_to_none)

    model = linear()
    before = model.weight.detach().clone()
    optimizer = Around(SGD(model.parameters(), lr=0.1))
    tiny_trainer(model=model, optimizer=optimizer, val_data=None).fit(epochs=1)
    assert optimizer.steps == 2
    assert not torch.equal(model.weight, before)

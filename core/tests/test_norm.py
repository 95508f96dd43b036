"""The norm of gradients: computed once, and again when somebody may have changed one of them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.utils._python_dispatch import TorchDispatchMode

from fit_core import State, Trainer, hookimpl
from fit_core.testing import tiny_batches, tiny_trainer


class CountNorms(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "norm" in str(func)
        return func(*args, **(kwargs or {}))


class Asks:
    """Asks for the norm, and compares it with torch's."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []

    @hookimpl
    def on_step_start(self, state: State) -> None:
        assert state.update is not None
        self.found.append(state.update.gradient_norm())
        assert torch.equal(self.found[-1], get_total_norm(state.update.gradients()))


class AsksAgain(Asks):
    pass


def new_ones(gradients: list[Tensor], params: list[nn.Parameter]) -> None:
    for p, gradient in zip(params, gradients, strict=True):
        p.grad = gradient * 2


CHANGES: dict[str, Callable[[list[Tensor], list[nn.Parameter]], Any]] = {
    "in place": lambda gradients, _: gradients[0].mul_(3),
    "one value": lambda gradients, _: gradients[0].view(-1)[0:1].fill_(7.0),
    "together": lambda gradients, _: torch._foreach_mul_(gradients, 0.5),
    "clipped": lambda _, params: nn.utils.clip_grad_norm_(params, 1e-3),
    "detached": lambda gradients, _: gradients[0].detach().zero_(),
    "behind torch's back": lambda gradients, _: gradients[0].data.clamp_(-1e-3, 1e-3),
    "new ones": new_ones,
    "one less": lambda _, params: setattr(params[0], "grad", None),
}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("is_wrapper", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_gradients_that_another_plugin_has_changed_are_looked_at_again(change: str, is_wrapper: bool, accumulate: int) -> None:
    class Changes:
        @hookimpl
        def on_step_start(self, trainer: Trainer, state: State) -> None:
            assert state.update is not None
            params = list(trainer.model.parameters())
            CHANGES[change](state.update.gradients(), params)

    class ChangesBeforeAll:
        @hookimpl(wrapper=True)
        def on_step_start(self, trainer: Trainer, state: State) -> Iterator[None]:
            Changes().on_step_start(trainer, state)
            return (yield)

    before, after = Asks(), AsksAgain()
    changes = ChangesBeforeAll() if is_wrapper else Changes()
    tiny_trainer(plugins=[before, changes, after], train_data=tiny_batches(6), accumulate=accumulate).fit(epochs=1)
    assert len(before.found) == len(after.found) == 6 // accumulate
    if not is_wrapper:
        assert all(not torch.equal(old, new) for old, new in zip(before.found, after.found, strict=True))


def test_a_passive_wrapper_sees_what_others_have_made_of_the_gradients() -> None:
    class Clamps:
        @hookimpl
        def on_step_start(self, trainer: Trainer) -> None:
            for p in trainer.model.parameters():
                p.grad.data.clamp_(-1e-3, 1e-3)

    class Looks(Asks):
        passive = True

        @hookimpl(wrapper=True)
        def on_step_start(self, state: State) -> Iterator[None]:
            yield
            Asks.on_step_start(self, state)

    looks = Looks()
    tiny_trainer(plugins=[looks, Clamps()], train_data=tiny_batches(3)).fit(epochs=1)
    assert len(looks.found) == 3
    assert max(looks.found) < 1e-2


def test_who_writes_to_the_norm_writes_to_their_own() -> None:
    class Logs:
        passive = True

        @hookimpl
        def on_step_start(self, state: State) -> None:
            assert state.update is not None
            state.update.gradient_norm().mul_(1e6)

    asks = Asks()
    tiny_trainer(plugins=[Logs(), asks], train_data=tiny_batches(3)).fit(epochs=1)
    assert len(asks.found) == 3


def test_gradients_without_version_counters_are_looked_at_each_time() -> None:
    class Inference:
        @hookimpl
        def backward(self, trainer: Trainer) -> bool:
            with torch.inference_mode():
                for p in trainer.model.parameters():
                    p.grad = torch.ones_like(p)
            return True

    asks = Asks()
    tiny_trainer(plugins=[Inference(), asks], train_data=tiny_batches(3)).fit(epochs=1)
    assert asks.found == [15**0.5] * 3


def test_gradients_that_one_has_changed_itself_are_looked_at_again() -> None:
    class Clips:
        @hookimpl
        def on_step_start(self, trainer: Trainer, state: State) -> None:
            assert state.update is not None
            before = state.update.gradient_norm()
            nn.utils.clip_grad_norm_(trainer.model.parameters(), 1e-3)
            found.append((float(before), float(state.update.gradient_norm())))

    found: list[tuple[float, float]] = []
    tiny_trainer(plugins=[Clips()], train_data=tiny_batches(3)).fit(epochs=1)
    assert len(found) == 3
    assert all(before > 1e-2 and after == pytest.approx(1e-3, rel=1e-3) for before, after in found)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("finite", ["stop", "off"])
def test_finished_gradients_are_looked_at_again(finite: Any, accumulate: int) -> None:
    """As those that torch's gradient scaler has divided by its scale, without counting that."""

    class Scales:
        @hookimpl
        def on_backward_end(self, state: State) -> None:
            assert state.update is not None
            state.update.gradient_norm()

        @hookimpl
        def finish_gradients(self, state: State) -> bool:
            assert state.update is not None
            torch._amp_foreach_non_finite_check_and_unscale_(state.update.gradients(), torch.zeros(()), torch.tensor(0.5))
            return True

    asks = Asks()
    tiny_trainer(plugins=[Scales(), asks], finite=finite, accumulate=accumulate, train_data=tiny_batches(4)).fit(epochs=1)
    assert len(asks.found) == 4 // accumulate


@pytest.mark.parametrize("finite", ["stop", "skip"])
def test_it_is_computed_once_for_all_who_ask_and_for_the_guard(finite: Any) -> None:
    class Reads:
        passive = True

        @hookimpl
        def on_step_start(self, state: State) -> None:
            assert state.update is not None
            state.update.gradient_norm()

    class Changes(Reads):
        passive = False

    with CountNorms() as norms:
        tiny_trainer(plugins=[Reads(), Changes()], finite=finite, train_data=tiny_batches(4), val_data=None).fit(epochs=1)
    first = 2 * 2  # by the guard, another look, without a norm; then by both
    assert norms.count == first + 3 * 2, "of each gradient, and of their norms"


@pytest.mark.parametrize("hook", ["on_step_start", "on_backward_end"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_no_gradient_is_kept_after_its_step(accumulate: int, hook: str) -> None:
    """The last place that holds it is the optimizer's parameter, which lets go of it."""

    class Holds:
        gradients: list[weakref.ref[Tensor]] = []

        @hookimpl(specname=hook)
        def ask(self, state: State) -> None:
            assert state.update is not None
            state.update.gradient_norm()
            self.gradients = [weakref.ref(gradient) for gradient in state.update.gradients()]

        @hookimpl
        def on_batch_end(self, state: State) -> None:
            if not state.updates["main"].window.batches:
                assert all(gradient() is None for gradient in self.gradients)

    held = Holds()
    tiny_trainer(plugins=[held], train_data=tiny_batches(4), accumulate=accumulate).fit(epochs=2)
    assert held.gradients

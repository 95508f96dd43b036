"""A step over several batches is the step over their samples in one batch, however they are cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import record_hooks, tiny_batches, tiny_trainer

SAMPLES = 24
generator = torch.Generator().manual_seed(0)
X = torch.randn(SAMPLES, 4, generator=generator, dtype=torch.float64)
Y = torch.randint(0, 3, (SAMPLES,), generator=generator)
REAL = torch.randn(SAMPLES, 3, generator=generator, dtype=torch.float64)
MASK = torch.rand(SAMPLES, generator=generator) < 0.5
HOLES = torch.where(torch.arange(SAMPLES) % 7 < 4, -100, Y)
CLASSES = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)


def masked(outputs: Tensor, targets: Any, state: State | None = None) -> Tensor:
    labels, mask = targets
    if state is not None:
        state.weight = mask.sum()
    return (F.cross_entropy(outputs, labels, reduction="none") * mask).sum() / mask.sum().clamp(min=1)


def total(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets, reduction="sum")


@dataclass
class Case:
    loss_fn: Callable[..., Tensor]
    targets: Any = Y
    penalty: bool = False

    def part(self, start: int, stop: int) -> Any:
        cut = slice(start, stop)
        return tuple(t[cut] for t in self.targets) if isinstance(self.targets, tuple) else self.targets[cut]


CASES = {
    "plain": Case(nn.CrossEntropyLoss()),
    "function": Case(F.cross_entropy),
    "classes weighted": Case(nn.CrossEntropyLoss(weight=CLASSES)),
    "ignored": Case(nn.CrossEntropyLoss(), HOLES),
    "ignored, weighted, smoothed": Case(nn.CrossEntropyLoss(weight=CLASSES, label_smoothing=0.1), HOLES),
    "elements": Case(nn.MSELoss(), REAL),
    "sum": Case(nn.MSELoss(reduction="sum"), REAL),
    "partial sum": Case(partial(F.mse_loss, reduction="sum"), REAL),
    "a weight of its own": Case(masked, (Y, MASK)),
    "penalty": Case(nn.CrossEntropyLoss(), penalty=True),
    "penalty, ignored": Case(nn.CrossEntropyLoss(), HOLES, penalty=True),
}


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def penalty(model: nn.Module) -> Any:
    return 0.1 * sum(p.square().sum() for p in model.parameters())


class Steps:
    """Adds the penalty, and keeps the gradients of every step."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.gradients: list[list[Tensor]] = []

    @hookimpl
    def on_loss_end(self, trainer: Trainer, state: State) -> None:
        if self.case.penalty and state.phase == "train":
            state.loss = state.loss + penalty(trainer.model)

    @hookimpl
    def on_step_start(self, trainer: Trainer) -> None:
        self.gradients.append([p.grad.clone() for p in trainer.model.parameters()])


def expected(case: Case, start: int, stop: int) -> list[Tensor]:
    """The gradients of the samples in one batch, as the plain loop has them."""
    model = network()
    loss = case.loss_fn(model(X[start:stop]), case.part(start, stop))
    if case.penalty:
        loss = loss + penalty(model)
    loss.backward()
    return [p.grad for p in model.parameters()]  # type: ignore[misc]


def pieces(cuts: list[int]) -> list[tuple[int, int]]:
    edges = [0, *sorted(set(cuts)), SAMPLES]
    return list(pairwise(edges))


def run(case: Case, parts: list[tuple[int, int]], plugins: list[Any] | None = None, unsized: bool = False, **arguments: Any) -> Trainer:
    batches = [(X[a:b], case.part(a, b)) for a, b in parts]
    trainer = Trainer(network(), case.loss_fn, partial(torch.optim.SGD, lr=0.0), plugins=plugins or [], quiet=True, **arguments)
    trainer.fit((batch for batch in batches) if unsized else batches, epochs=1)
    return trainer


def agree(found: list[Tensor], wanted: list[Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert (one - other).abs().max() <= 1e-12 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("name", CASES)
@given(cuts=st.lists(st.integers(1, SAMPLES - 1), max_size=12), accumulate=st.integers(2, 5), unsized=st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_gradient_of_a_step_does_not_depend_on_the_cutting(name: str, cuts: list[int], accumulate: int, unsized: bool) -> None:
    case, parts = CASES[name], pieces(cuts)
    steps = Steps(case)
    run(case, parts, [steps], unsized, accumulate=accumulate)
    windows = [parts[i : i + accumulate] for i in range(0, len(parts), accumulate)]
    assert len(steps.gradients) == len(windows)
    for found, window in zip(steps.gradients, windows, strict=True):
        start, stop = window[0][0], window[-1][1]
        if case.targets is HOLES and (HOLES[start:stop] == -100).all():
            agree(found, [torch.zeros_like(gradient) for gradient in found])  # weight 0: neither gradient nor NaN
        else:
            agree(found, expected(case, start, stop))


@given(cuts=st.lists(st.integers(1, SAMPLES - 1), max_size=12), closed=st.sets(st.integers(1, 13)))
@settings(max_examples=25, deadline=None)
def test_a_plugin_may_decide_where_windows_end(cuts: list[int], closed: set[int]) -> None:
    case, parts = CASES["ignored"], pieces(cuts)

    @hookimpl
    def should_step(state: State) -> bool:
        return state.batch in closed

    steps = Steps(case)
    run(case, parts, [steps, should_step])
    ends = [i for i in range(1, len(parts) + 1) if i in closed or i == len(parts)]
    assert len(steps.gradients) == len(ends)
    for found, first, last in zip(steps.gradients, [0, *ends], ends, strict=False):
        start, stop = parts[first][0], parts[last - 1][1]
        if not (HOLES[start:stop] == -100).all():
            agree(found, expected(case, start, stop))


@pytest.mark.parametrize("name", CASES)
@given(cuts=st.lists(st.integers(1, SAMPLES - 1), max_size=12), accumulate=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_what_is_reported_does_not_depend_on_the_cutting(name: str, cuts: list[int], accumulate: int) -> None:
    case = CASES[name]

    def seen(outputs: Tensor, targets: Any) -> Tensor:
        return outputs.argmax(1) == (targets[0] if isinstance(targets, tuple) else targets.argmax(1) if targets.dim() > 1 else targets)

    parts = pieces(cuts)
    trainer = run(case, parts, [Steps(case)], accumulate=accumulate, metrics=[seen])
    whole = run(case, [(0, SAMPLES)], [Steps(case)], metrics=[seen])
    assert trainer.history[0]["loss"] == pytest.approx(whole.history[0]["loss"], rel=1e-6)
    batches = [(X[a:b], case.part(a, b)) for a, b in parts]
    row, again = trainer.evaluate(batches), trainer.evaluate(batches)
    assert row == again
    assert row == pytest.approx(trainer.evaluate([(X, case.part(0, SAMPLES))]), rel=1e-6)


def test_a_short_window_is_stepped_before_the_end_of_the_pass_or_dropped() -> None:
    for remainder, steps in (("step", 3), ("drop", 2)):
        for data in (tiny_batches(5), iter(tiny_batches(5))):
            trainer = tiny_trainer(train_data=data, accumulate=2, remainder=remainder)
            with record_hooks(trainer) as calls:
                trainer.fit(epochs=1)
            assert trainer.updates["main"].steps == steps
            end = calls.hooks.index("on_train_epoch_end")
            stepped = ["finish_gradients", "on_step_start", "optimizer_step", "on_step_end"] if remainder == "step" else []
            last = ["on_safe_point", *stepped, "zero_grad", "on_safe_point"]
            assert calls.hooks[end - len(last) : end] == last


def test_the_number_of_steps_is_known_beforehand() -> None:
    for remainder, total_steps in (("step", 6), ("drop", 4)):
        found = []

        @hookimpl
        def on_fit_start(state: State) -> None:
            found.append(state.steps_total)  # noqa: B023

        trainer = tiny_trainer(train_data=tiny_batches(5), accumulate=2, remainder=remainder, plugins=[on_fit_start])
        trainer.fit(epochs=2)
        assert found == [total_steps]
        assert trainer.updates["main"].steps == total_steps


def test_steps_count_windows() -> None:
    trainer = tiny_trainer(train_data=tiny_batches(5), accumulate=2)
    rows = trainer.fit(steps=4)
    assert trainer.updates["main"].steps == 4
    assert len(rows) == 2


def test_a_window_does_not_outlive_a_stop() -> None:
    @hookimpl
    def on_batch_end(trainer: Trainer, state: State) -> None:
        if state.batch_count == 3:
            trainer.stop("enough")

    trainer, other = tiny_trainer(train_data=tiny_batches(4), accumulate=2, plugins=[on_batch_end]), tiny_trainer(accumulate=2)
    trainer.fit(epochs=1)
    assert trainer.updates["main"].steps == 1
    trainer.fit(tiny_batches(2, seed=3), epochs=1)
    other.fit(tiny_batches(2), epochs=1)
    other.fit(tiny_batches(2, seed=3), epochs=1)
    assert torch.equal(trainer.model.weight, other.model.weight)


def test_skips_inside_of_windows() -> None:
    @hookimpl
    def on_batch_start(trainer: Trainer, state: State) -> None:
        if state.batch == 2:
            trainer.skip_batch("not this one")

    trainer = tiny_trainer(train_data=tiny_batches(5), accumulate=2, plugins=[on_batch_start])
    trainer.fit(epochs=1)
    batches = tiny_batches(5)
    other = tiny_trainer(train_data=[batches[0], *batches[2:]], accumulate=2)
    other.fit(epochs=1)
    assert torch.equal(trainer.model.weight, other.model.weight)
    assert trainer.history[0]["loss"] == other.history[0]["loss"]

    @hookimpl
    def on_forward_end(trainer: Trainer, state: State) -> None:
        if state.batch == 1 and state.phase == "train":
            trainer.skip_step("not this window")

    trainer = tiny_trainer(train_data=tiny_batches(4), accumulate=2, plugins=[on_forward_end])
    trainer.fit(epochs=1)
    other = tiny_trainer(train_data=tiny_batches(4)[2:], accumulate=2)
    other.fit(epochs=1)
    assert torch.equal(trainer.model.weight, other.model.weight)


def test_gradients_left_over_are_cleared() -> None:
    fresh, left = tiny_trainer(), tiny_trainer()
    left.model(torch.ones(1, 4)).sum().backward()
    left.fit(epochs=1)
    fresh.fit(epochs=1)
    assert torch.equal(fresh.model.weight, left.model.weight)
    left.model(torch.ones(1, 4)).sum().backward()
    left.fit(epochs=1)
    fresh.fit(epochs=1)
    assert torch.equal(fresh.model.weight, left.model.weight)


def test_gradients_made_without_the_core_cannot_be_accumulated() -> None:
    @hookimpl
    def run_update(trainer: Trainer, state: State) -> bool:
        trainer.forward()
        trainer.compute_loss()
        state.loss.backward()
        trainer.maybe_step()
        return True

    tiny_trainer(plugins=[run_update]).fit(epochs=1)
    with pytest.raises(FitError, match=r"a window of 2 batches needs gradients of trainer.backward\(\), which scales them"):
        tiny_trainer(plugins=[run_update], accumulate=2).fit(epochs=1)


def test_sparse_and_half_gradients_are_scaled() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.EmbeddingBag(10, 3, sparse=True)
            self.head = nn.Linear(3, 3).bfloat16()

        def forward(self, words: Tensor) -> Tensor:
            return self.head(self.embedding(words).bfloat16()).float()

    words = torch.arange(30).reshape(6, 5) % 10
    batches = [(words[:4], Y[:4]), (words[4:], Y[4:6])]
    found = []

    @hookimpl
    def on_step_start(trainer: Trainer) -> None:
        found.append(trainer.model.embedding.weight.grad.to_dense())

    for data, accumulate in ((batches, 2), ([(words, Y[:6])], 1)):
        torch.manual_seed(0)
        Trainer(
            Words(), nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1), plugins=[on_step_start], accumulate=accumulate, quiet=True
        ).fit(data, epochs=1)
    assert torch.allclose(found[0], found[1], atol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"accumulate": 0}, "accumulate must be at least 1 and whole, not 0"), ({"remainder": "keep"}, "remainder must be 'step' or 'drop'")],
)
def test_mistakes(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        tiny_trainer(**arguments)


@pytest.mark.parametrize(
    ("samples", "sizes", "accumulate", "true"),
    [(13, [2] * 6 + [1], 3, [3.5, 9.5, 13.0]), (8, [3, 3, 2], 3, [4.5])],
    ids=["a short window", "ragged"],
)
def test_the_figures_of_the_page(samples: int, sizes: list[int], accumulate: int, true: list[float]) -> None:
    """The gradient of `mean(w * x)` for x = 1, 2, 3, ...: docs/windows.md compares trainers by it."""
    values = torch.arange(1.0, samples + 1)[:, None]
    found: list[float] = []

    @hookimpl
    def on_step_start(trainer: Trainer) -> None:
        found.append(trainer.model.weight.grad.item())

    trainer = Trainer(
        nn.Linear(1, 1, bias=False),
        lambda outputs, _: outputs.mean(),
        partial(torch.optim.SGD, lr=0.0),
        plugins=[on_step_start],
        accumulate=accumulate,
        quiet=True,
    )
    trainer.fit([(part, None) for part in values.split(sizes)], epochs=1)
    assert found == pytest.approx(true, rel=1e-6)


def test_a_window_that_begins_lightly_does_not_overflow_in_half_precision() -> None:
    """Of the first batch all targets but one are ignored: scaled by its weight, the second one's loss would be 4000 times as large."""

    def batch(counted: int) -> tuple[Tensor, Tensor]:
        targets = torch.zeros(4000, dtype=torch.long)
        targets[counted:] = -100
        return torch.full((4000, 2), 100.0).half(), targets

    model = nn.Linear(2, 2).half()
    for p in model.parameters():
        nn.init.zeros_(p)
    optimizer = partial(torch.optim.SGD, lr=1e-3)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, accumulate=2, train_data=[batch(1), batch(4000)], quiet=True)
    assert trainer.fit(epochs=1)
    assert trainer.current_state().step == 1
    assert bool((model.bias != 0).all())


def test_a_replaced_update_may_clear_gradients_without_losing_count() -> None:
    """As one does that looks at the loss twice, and keeps what it wants of the first look."""

    @hookimpl
    def run_update(trainer: Trainer, state: State) -> bool:
        assert state.update is not None
        kept = [gradient.clone() for gradient in state.update.gradients()]
        for look in range(2):
            trainer.forward()
            trainer.compute_loss()
            state.update.zero_grad()
            if look:
                for p, gradient in zip(state.update.params, kept, strict=False):
                    p.grad = gradient
            trainer.backward()
        trainer.maybe_step()
        return True

    twice, once = (tiny_trainer(plugins=plugins, train_data=tiny_batches(8), accumulate=2) for plugins in ([run_update], []))
    twice.fit(epochs=1)
    once.fit(epochs=1)
    assert twice.updates["main"].steps == 4
    assert torch.equal(twice.model.weight, once.model.weight)

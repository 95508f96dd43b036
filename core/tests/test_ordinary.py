"""A batch that is trained on in one piece is trained on as the building blocks do it; and errors say whose they are on every way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fit_core import FitError, State, Trainer, Update, Updates, hookimpl
from fit_core.errors import TrainingError
from fit_core.testing import tiny_batches, tiny_trainer

HEARD = [
    "on_batch_start",
    "on_forward_end",
    "on_loss_end",
    "on_backward_end",
    "on_step_start",
    "on_step_end",
    "on_batch_end",
    "on_safe_point",
]
BATCHES = 5
BLAMED_ON_BLOCKS = r"(?<=raised in hook run_update )of plugin 'by-blocks' \([^)]*\)"  # whose the stage is, there


class Boom(Exception):
    pass


def skip_batch(trainer: Trainer, state: State) -> None:
    trainer.skip_batch("drawn")


def skip_step(trainer: Trainer, state: State) -> None:
    trainer.skip_step("drawn")


def stop(trainer: Trainer, state: State) -> None:
    trainer.stop("drawn")


def end_epoch(trainer: Trainer, state: State) -> None:
    trainer.end_epoch("drawn")


def fail(trainer: Trainer, state: State) -> None:
    raise Boom


def leave_early(trainer: Trainer, state: State) -> None:
    raise StopIteration


def penalise(trainer: Trainer, state: State) -> None:
    if state.loss is not None:
        state.loss = state.loss * 1.5


def spoil(trainer: Trainer, state: State) -> None:
    if state.loss is not None:
        state.loss = state.loss * float("nan")


def clip(trainer: Trainer, state: State) -> None:
    nn.utils.clip_grad_norm_(state.model.parameters(), 0.01)


def weigh(trainer: Trainer, state: State) -> None:
    state.weight = 3


ACTS: list[Callable[[Trainer, State], None]] = [
    skip_batch, skip_step, stop, end_epoch, fail, leave_early, penalise, spoil, clip, weigh,
]  # fmt: skip


class Acts:
    """Does what was drawn, where it was drawn, and notes all it hears."""

    def __init__(self, drawn: dict[tuple[str, int], Callable[[Trainer, State], None]], heard: tuple[str, ...]) -> None:
        self.drawn, self.log = drawn, list[Any]()
        for name in heard:
            setattr(self, name, hookimpl(specname=name)(partial_hook(self, name)))


def partial_hook(acts: Acts, name: str) -> Any:
    def hear(trainer: Trainer, state: State) -> None:
        update = None if state.update is None else (state.update.steps, state.update.lr, state.update.window.batches)
        values = [None if value is None else value.detach().clone() for value in (state.outputs, state.loss)]
        acts.log.append((name, state.epoch, state.batch, state.step, update, values, len(trainer.requests)))
        act = acts.drawn.get((name, state.batch_count))
        if act:
            act(trainer, state)

    return hear


class ByBlocks:
    """Runs every update with the building blocks, as a plugin does that replaces the stage."""

    @hookimpl
    def run_update(self, trainer: Trainer) -> bool:
        trainer.forward()
        trainer.compute_loss()
        trainer.backward()
        trainer.maybe_step()
        return True


class Around:
    """Changes nothing, and takes care that the plan is asked for the default."""

    @hookimpl(wrapper=True)
    def run_update(self) -> Iterator[None]:
        return (yield)


class Stages:
    """Replaces single stages by what the core does."""

    @hookimpl
    def forward(self, state: State) -> Tensor:
        outputs: Tensor = state.model(state.inputs)
        return outputs

    @hookimpl
    def backward(self, loss: Tensor) -> bool:
        loss.backward()
        return True

    @hookimpl
    def should_step(self, state: State) -> bool:
        assert state.update is not None
        return state.update.window.batches >= 2

    @hookimpl
    def finish_gradients(self, state: State) -> bool:
        return state.batch_count % 3 != 0

    @hookimpl
    def optimizer_step(self, state: State) -> bool:
        assert state.update is not None
        state.update.optimizer.step()
        return True

    @hookimpl
    def zero_grad(self, state: State) -> bool:
        assert state.update is not None
        state.update.zero_grad()
        return True


def told(trainer: Trainer, acts: Acts) -> Any:
    """Run, and return all that can be seen of it."""
    error: BaseException | None = None
    try:
        trainer.fit(epochs=2)
    except (Boom, RuntimeError, FitError) as raised:
        error = raised
    rows = [{name: repr(value) for name, value in row.items() if name != "seconds"} for row in trainer.history]
    said = None if error is None else (type(error), str(error), getattr(error, "__notes__", None))
    grads = [p.grad for p in trainer.model.parameters()]
    asked = [(each.kind, each.reason, each.where, each.count) for each in trainer.requests]
    return rows, said, [p.detach().clone() for p in trainer.model.parameters()], grads, asked, acts.log


@settings(max_examples=60, deadline=None)
@given(
    drawn=st.dictionaries(
        st.tuples(st.sampled_from(HEARD), st.integers(1, 2 * BATCHES)), st.sampled_from(ACTS), max_size=3
    ),
    every=st.sampled_from([1, 1, 2]),
    finite=st.sampled_from(["stop", "skip", "off"]),
    accumulate=st.sampled_from([1, 1, 2, 3]),
    stages=st.booleans(),
    other=st.sampled_from([ByBlocks, Around]),
)  # fmt: skip
@example(drawn={("on_loss_end", 1): spoil}, every=1, finite="stop", accumulate=1, stages=False, other=ByBlocks)
def test_in_one_piece_or_in_blocks_it_is_the_same(
    drawn: dict[tuple[str, int], Callable[[Trainer, State], None]], every: int, finite: Any, accumulate: int, stages: bool, other: type
) -> None:
    def run(*plugins: Any) -> Any:
        acts = Acts(drawn, tuple(HEARD))
        update = Update("main", partial(torch.optim.SGD, lr=0.1, momentum=0.9), every=every)
        trainer = tiny_trainer(
            train_data=tiny_batches(BATCHES),
            optimizer=Updates([update]),
            plugins=[acts, *([Stages()] if stages else []), *plugins],
            finite=finite,
            accumulate=accumulate,
            metrics=["accuracy"],
        )
        return told(trainer, acts)

    one_piece, blocks = run(), run(other())
    for ours, theirs in zip(one_piece, blocks, strict=True):
        assert repr(ours) == re.sub(BLAMED_ON_BLOCKS, "of the core's default", repr(theirs))


@pytest.mark.parametrize("plugins", [[], [ByBlocks()]], ids=["in one piece", "in blocks"])
def test_a_batch_enters_its_window_once(plugins: list[Any]) -> None:
    class Steps:
        @hookimpl
        def on_backward_end(self, trainer: Trainer) -> None:
            trainer.maybe_step()

    with pytest.raises(FitError, match="came to trainer.maybe_step\\(\\) twice"):
        tiny_trainer(plugins=[Steps(), *plugins]).fit(epochs=1)


def test_an_ordinary_run_hears_nothing_of_a_plan() -> None:
    """Where nobody acts, no generated function of a hook within a batch is called."""
    import sys

    called = set[str]()

    def watch(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith("<fit plan"):
            called.add(frame.f_code.co_name)

    trainer = tiny_trainer(val_data=None)
    sys.setprofile(watch)
    try:
        trainer.fit(epochs=2)
    finally:
        sys.setprofile(None)
    assert "on_epoch_end" in called
    within = {name for name, plan in trainer.hooks.plans.items() if name in HEARD or plan.kind in ("stage", "decision")}
    assert called & within == {"prepare_model", "param_groups", "iter_batches", "on_safe_point"}  # the last one after an epoch


class FailingModel(nn.Module):
    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.linear, self.error = nn.Linear(4, 3), error

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.error is not Boom:
            raise self.error("spoilt")
        result: Tensor = self.linear(inputs)
        return result


def failing_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    raise Boom("spoilt")


class FailingGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise Boom("spoilt")


class FailingSGD(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:
        raise Boom("spoilt")


class StubbornSGD(torch.optim.SGD):
    has_failed = False

    def zero_grad(self, set_to_none: bool = True) -> None:
        has_gradients = any(p.grad is not None for group in self.param_groups for p in group["params"])
        if has_gradients and not self.has_failed:
            self.has_failed = True
            raise Boom("spoilt")


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "prepare_batch": ("batch 1 (train)", {"train_data": [(1, 2, 3)]}),
    "forward": ("batch 1 (train)", {"model": FailingModel(ValueError)}),
    "compute_loss": ("batch 1 (train)", {"loss_fn": failing_loss}),
    "backward": ("batch 1 (train)", {"loss_fn": lambda outputs, targets: FailingGradient.apply(outputs).sum()}),
    "optimizer_step": ("batch 1 (train)", {"optimizer": partial(FailingSGD, lr=0.1)}),
    "zero_grad": ("batch 1 (train)", {"optimizer": partial(StubbornSGD, lr=0.1)}),
}
WAYS: dict[str, dict[str, Any]] = {
    "in one piece": {},
    "in blocks": {"plugins": [Around()]},
    "by a plugin": {"plugins": [ByBlocks()]},
    "in a window of two": {"accumulate": 2, "train_data": tiny_batches(1)},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stage", CASES)
def test_a_default_that_raises_is_named(stage: str, way: str) -> None:
    where, changes = CASES[stage]
    trainer = tiny_trainer(**{"train_data": tiny_batches(1)} | changes | WAYS[way] | ({} if stage != "prepare_batch" else changes))
    with pytest.raises((Boom, ValueError, FitError)) as caught:
        trainer.fit(epochs=1)
    notes = [note for note in caught.value.__notes__ if note.startswith("raised in hook")]
    assert notes == [f"raised in hook {stage} of the core's default, in epoch 1, {where}"]


def test_a_default_that_raises_in_an_evaluation_is_named() -> None:
    trainer = tiny_trainer(model=FailingModel(Boom))
    with pytest.raises(Boom) as caught:
        trainer.fit(epochs=1)
    assert caught.value.__notes__ == ["raised in hook forward of the core's default, in epoch 1, batch 1 (validate)"]


@pytest.mark.parametrize("plugins", [[], [Around()], [ByBlocks()]], ids=["in one piece", "in blocks", "by a plugin"])
def test_a_model_that_stops_an_iteration_ends_no_epoch(plugins: list[Any]) -> None:
    trainer = tiny_trainer(model=FailingModel(StopIteration), plugins=plugins)
    with pytest.raises(RuntimeError, match="StopIteration was raised") as caught:
        trainer.fit(epochs=1)
    assert caught.value.__notes__ == ["raised in hook forward of the core's default, in epoch 1, batch 1 (train)"]
    assert trainer.history == []


def test_a_refused_gradient_is_the_updates() -> None:
    trainer = tiny_trainer(loss_fn=lambda outputs, targets: outputs.sum() * float("nan"))
    with pytest.raises(TrainingError) as caught:
        trainer.fit(epochs=1)
    assert caught.value.__notes__ == ["raised in hook run_update of the core's default, in epoch 1, batch 1 (train)"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("weight", [None, torch.tensor([0.2, 1.0, 3.0])], ids=["plain", "weighted"])
def test_terms_that_torch_has_counted_are_those_of_the_targets(dtype: torch.dtype, weight: Tensor | None) -> None:
    """The loss of an epoch is that of all its samples at once; bfloat16 cannot count to 257."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 300, 4, generator=generator).to(dtype)
    targets = torch.randint(0, 3, (3, 300), generator=generator)
    targets[0, :290], targets[1, ::3] = -100, -100
    loss_fn = nn.CrossEntropyLoss(weight=None if weight is None else weight.to(dtype))
    model = nn.Linear(4, 3, dtype=dtype)
    trainer = Trainer(model, loss_fn, partial(torch.optim.SGD, lr=0.0), train_data=list(zip(inputs, targets, strict=True)), quiet=True)
    row = trainer.fit(epochs=1)[0]
    wide = nn.CrossEntropyLoss(weight=None if weight is None else weight.to(dtype).double(), reduction="sum")
    outputs = model(inputs.flatten(0, 1)).double()
    counts = torch.ones(3).double() if weight is None else weight.to(dtype).double()
    kept = targets.flatten() >= 0
    expected = wide(outputs, targets.flatten()) / counts[targets.flatten()[kept]].sum()
    assert row["loss"] == pytest.approx(expected.item(), rel=2e-2 if dtype == torch.bfloat16 else 1e-5)

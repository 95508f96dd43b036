"""What a step may not do: wait for the device, call idle plugins, keep a batch alive. No clock is needed to see it."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import Counter
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fit_core import State, Trainer, hookimpl
from fit_core.testing import tiny_batches, tiny_trainer
from fit_optim import Clip

OPTIMIZERS = [partial(torch.optim.SGD, lr=0.1, momentum=0.9), partial(torch.optim.Adam, lr=0.01)]


PLUGINS = ["logging", "schedulers"]


class Leave(Exception):
    pass


class LeaveAtThirdStep:
    @hookimpl
    def on_safe_point(self, state: State) -> None:
        if state.step == 3:
            raise Leave


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "adam"])
def test_three_steps_on_meta_read_nothing(optimizer: Any, accumulate: int, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """On the meta device there is nothing to read: any wait raises."""
    trainer = tiny_trainer(
        model=nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).to("meta"),
        optimizer=optimizer,
        metrics=["accuracy"],
        plugins=[*PLUGINS, "clip", LeaveAtThirdStep()],
        run_dir=tmp_path,
        train_data=tiny_batches(5 * accumulate),
        accumulate=accumulate,
    )
    with pytest.raises(Leave):
        trainer.fit(epochs=1)


class CountReads(TorchDispatchMode):
    """Counts `.item()`, `float(tensor)`, `bool(tensor)`: each is a wait on an accelerator."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class ReadsPerStep:
    def __init__(self, counter: CountReads) -> None:
        self.counter = counter
        self.at: list[int] = []

    @hookimpl
    def on_safe_point(self, state: State) -> None:
        if state.position == "batch":
            self.at.append(self.counter.reads)


@pytest.mark.parametrize(("finite", "extra"), [("stop", 1), ("off", 0)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "adam"])
def test_reads_per_step_are_those_of_the_plain_loop_and_one_of_the_guard(
    finite: Any, extra: int, optimizer: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = tiny_batches(6)
    loss_fn = nn.CrossEntropyLoss()
    model = nn.Linear(4, 3)
    theirs = optimizer(model.parameters())
    with CountReads() as plain:
        for inputs, targets in batches:
            loss_fn(model(inputs), targets).backward()
            theirs.step()
            theirs.zero_grad()
    counter = CountReads()
    watch = ReadsPerStep(counter)
    plugins = [*PLUGINS, watch]
    trainer = tiny_trainer(optimizer=optimizer, metrics=["accuracy"], plugins=plugins, finite=finite, run_dir=tmp_path, train_data=batches)
    with counter:
        trainer.fit(epochs=1)
    per_step = {after - before for before, after in zip(watch.at, watch.at[1:], strict=False)}
    assert per_step == {plain.reads // len(batches) + extra}


@pytest.mark.parametrize(
    ("plugins", "accumulate", "expected"),
    [
        ([], 1, 6),
        ([], 3, 2 + 6 * 2),  # of the guard for each step; what each batch of a window weighs, to scale it and to add it up
        (["mixed-precision", "clip"], 1, 2 + 5 * 3),  # the norm in clip, and with the loss in the guard
        (["mixed-precision", "clip"], 2, 2 + 2 * 3 + 6 * 2),
        (["grad-scaler"], 1, 12),  # it must know of each step whether it overflowed
        (["grad-scaler"], 2, 6 + 6 * 2),
    ],
)
def test_windows_scaling_and_clipping_read_what_waits_for_nothing(plugins: list[Any], accumulate: int, expected: int) -> None:
    """On the CPU; on meta they read nothing, see above."""
    counter = CountReads()
    watch = ReadsPerStep(counter)
    trainer = tiny_trainer(plugins=[*plugins, watch], accumulate=accumulate, train_data=tiny_batches(6, size=5), val_data=None)
    with counter:
        trainer.fit(epochs=1)
    assert watch.at[-1] == expected


@pytest.mark.parametrize("accumulate", [2, 3])
def test_windows_on_meta_read_nothing(accumulate: int) -> None:
    trainer = tiny_trainer(
        model=nn.Linear(4, 3, device="meta"), plugins=["clip", LeaveAtThirdStep()], accumulate=accumulate, train_data=tiny_batches(9)
    )
    with pytest.raises(Leave):
        trainer.fit(epochs=1)


class Idle:
    """Hears nothing within a step."""

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def on_epoch_end(self) -> None:
        pass

    @hookimpl
    def on_fit_start(self) -> None:
        pass


def calls_in_a_step(plugins: list[Any]) -> Counter[str]:
    """Count the Python calls between two safe points."""
    calls: Counter[str] = Counter()

    class Profile:
        @hookimpl
        def on_safe_point(self, state: State) -> None:
            counting = state.step == 2
            sys.setprofile(
                (lambda frame, event, _: calls.update([frame.f_code.co_name]) if event == "call" else None) if counting else None
            )

    gc.disable()  # what is collected in a step is chance
    try:
        tiny_trainer(plugins=[Profile(), *plugins], train_data=tiny_batches(4)).fit(epochs=1)
    finally:
        gc.enable()
    return calls


def test_idle_plugins_cost_no_call() -> None:
    alone = calls_in_a_step([])
    assert alone.total() > 10
    assert calls_in_a_step([Idle(f"idle-{i}") for i in range(20)]) == alone


class AtSteps:
    """Calls a function at the safe point after each step, and none of its own within one."""

    def __init__(self, then: Any) -> None:
        self.then = then

    @hookimpl
    def on_safe_point(self, state: State) -> None:
        if state.position == "batch":
            self.then(state.step)


def fits_calls(**changes: Any) -> Counter[str]:
    """Count the calls of fit's own functions in the third step, without those around the safe points that watch."""
    calls: Counter[str] = Counter()

    def count(frame: Any, event: str, _: Any) -> None:
        if event == "call" and "fit_" in frame.f_code.co_filename:
            calls.update([frame.f_code.co_qualname])

    def watch(step: int) -> None:
        sys.setprofile(count if step == 2 else None)

    gc.disable()
    try:
        tiny_trainer(plugins=[AtSteps(watch), *changes.pop("plugins", [])], train_data=tiny_batches(4), **changes).fit(epochs=1)
    finally:
        gc.enable()
    return calls - Counter(["Fit.safe_point", "Trainer.interrupted", "State.position", "State.step"])


BARE = {"fetched", "Ordinary.train", "Criterion.__call__", "step", "clear_gradients", "WeightedMean.add_loss", "State.clear_batch"}
GUARD = {"Guard.admits", "Update.gradients"}
NORM = {"GradientNorm.keep", "are_alike", "_norm_of_alike", "GradientNorm.forget"}  # instead of the guard's own look
CLIP = {"Clip.on_step_start", "Update.gradients", "GradientNorm.of", "clip_with_norm_", "Trainer.log"}
SCHEDULE = {"Scheduled.on_step_end", "Scheduled._advance", "GroupSlot.seen", "GroupSlot.set"}
LINE = {"Course.go_to", "Multiples.at", "cosine.<locals>.<lambda>"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"finite": "off"}, Counter(BARE)),
        ({}, Counter(BARE | GUARD)),
        ({"plugins": [Idle(f"idle-{i}") for i in range(20)]}, Counter(BARE | GUARD)),
        ({"metrics": ["accuracy"]}, Counter(BARE | GUARD | {"Meter.add", "Block.offer"})),
        ({"plugins": [Clip(norm=100.0)]}, Counter(BARE | GUARD) + Counter(NORM) + Counter(CLIP)),
        ({"plugins": ["lr"]}, Counter(BARE | GUARD | SCHEDULE | LINE)),
    ],
    ids=["off", "default", "20 idle plugins", "accuracy", "clip", "lr"],
)
def test_calls_of_a_step(changes: dict[str, Any], expected: Counter[str]) -> None:
    """Each call takes about half a microsecond: one more must be worth it."""
    assert fits_calls(**changes) == expected


class CountOps(TorchDispatchMode):
    """Counts every operation of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ops[str(func)] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"finite": "off"}, ["aten.detach.default"]),  # of the loss
        ({}, ["aten.detach.default"] * 2 + ["aten._amp_foreach_non_finite_check_and_unscale_.default", "aten._local_scalar_dense.default"]),
    ],
    ids=["off", "default"],
)
def test_operations_of_a_step(changes: dict[str, Any], more: list[str]) -> None:
    """What fit asks of torch in a step, beside what the plain loop does."""
    batches, loss_fn, model = tiny_batches(4), nn.CrossEntropyLoss(), nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    plain = Counter[str]()
    for inputs, targets in batches:
        with CountOps() as counted:
            loss_fn(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        plain = counted.ops  # of the last step: the first one makes the momentum
    counter, ours = CountOps(), Counter[str]()

    def watch(step: int) -> None:
        if step == 3:
            ours.update(counter.ops - before[2])
        before[step] = Counter(counter.ops)

    before: dict[int, Counter[str]] = {}
    with counter:
        tiny_trainer(plugins=[AtSteps(watch)], train_data=batches, val_data=None, **changes).fit(epochs=1)
    mark = ["profiler._record_function_enter_new.default", "profiler._record_function_exit._RecordFunction"]
    assert ours == plain + Counter(more) - Counter(mark * 2)  # of torch's own step and zero_grad


def test_what_a_run_keeps_is_bounded() -> None:
    """Losses wait to be folded, 256 at a time: then there are as many objects as before."""
    tensors: dict[int, int] = {}
    blocks: dict[int, int] = {}

    def watch(step: int) -> None:
        if step in (3, 255, 259, 515, 771):
            gc.collect()  # torch leaves a cycle of one object behind at each backward
            tensors[step] = sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())
            blocks[step] = sys.getallocatedblocks()

    trainer = tiny_trainer(train_data=tiny_batches(772, size=2), plugins=[AtSteps(watch)], metrics=["accuracy"], val_data=None)
    trainer.fit(epochs=1)
    assert tensors[255] - tensors[3] <= 4 * 252  # loss, its weight, outputs and targets
    assert tensors[259] == tensors[515] == tensors[771]
    assert tensors[259] < tensors[3] + 10
    assert abs(blocks[771] - blocks[515]) < 50


def test_nothing_of_a_batch_outlives_it() -> None:
    alive: list[int] = []

    class Watch:
        def __init__(self) -> None:
            self.references: list[weakref.ref[Any]] = []

        @hookimpl
        def on_batch_end(self, state: State) -> None:
            self.references += [weakref.ref(x) for x in (state.inputs, state.targets, state.outputs, state.loss)]

        @hookimpl
        def on_eval_batch_end(self, state: State) -> None:
            self.on_batch_end(state)

        @hookimpl
        def on_safe_point(self) -> None:
            alive.append(sum(reference() is not None for reference in self.references))

    def batches() -> Any:
        for inputs, targets in tiny_batches(3):
            yield inputs.clone(), targets.clone()

    class Fresh:
        def __iter__(self) -> Any:
            return batches()

    gc.disable()
    try:
        Trainer(
            nn.Linear(4, 3),
            nn.CrossEntropyLoss(),
            partial(torch.optim.SGD, lr=0.1),
            metrics=["accuracy"],
            plugins=[Watch()],
            quiet=True,
        ).fit(Fresh(), Fresh(), epochs=2)
    finally:
        gc.enable()
    assert alive == [0] * 8

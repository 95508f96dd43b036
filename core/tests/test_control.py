"""stop, end_epoch, skip_batch, skip_step: what is still computed, and what everyone still hears."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.hookspecs import SPECS
from fit_core.testing import Outcome, record_hooks, tiny_batches, tiny_trainer

OF_A_STEP = [
    "prepare_batch", "on_batch_start", "train_step", "run_update", "forward", "on_forward_end", "compute_loss", "on_loss_end",
    "backward", "on_backward_end", "should_step", "finish_gradients", "on_step_start", "optimizer_step", "on_step_end", "zero_grad",
    "on_batch_end", "on_safe_point",
]  # fmt: skip


def asking(hook: str, what: str, batch: int = 2) -> Any:
    """Return a plugin that asks for something in a hook of one batch: as a wrapper of stages, plainly in notices."""
    stage = SPECS[hook].fit_kind in ("stage", "decision")  # type: ignore[attr-defined]
    source = f"@hookimpl(specname={hook!r}, wrapper={stage})\ndef asking(trainer, state):\n"
    source += f"    if state.batch_count == {batch} and state.phase == 'train' and state.position == 'batch':\n"
    source += f"        trainer.{what}('because')\n"
    source += "    return (yield)\n" if stage else ""
    space: dict[str, Any] = {"hookimpl": hookimpl}
    exec(source, space)
    return space["asking"]


def hooks_of_batch(trainer: Trainer, number: int) -> list[str]:
    """Return the hooks called in one batch of a run over three batches."""
    with record_hooks(trainer) as calls:
        trainer.fit(tiny_batches(3), None, epochs=1)
    starts = [i for i, hook in enumerate(calls.hooks) if hook == "prepare_batch"]
    starts.append(calls.hooks.index("on_train_epoch_end"))
    return calls.hooks[starts[number - 1] : starts[number]]


def trained_on(*batches: int) -> Any:
    trainer = tiny_trainer()
    all_batches = tiny_batches(3)
    trainer.fit([all_batches[i - 1] for i in batches], None, epochs=1)
    return trainer.model.weight


@pytest.mark.parametrize(
    ("hook", "still"),
    [
        ("prepare_batch", ["prepare_batch", "on_batch_start"]),
        ("on_batch_start", ["prepare_batch", "on_batch_start"]),
        ("train_step", ["prepare_batch", "on_batch_start", "train_step"]),
        ("run_update", OF_A_STEP[:4]),
        ("forward", OF_A_STEP[:6]),
        ("on_forward_end", OF_A_STEP[:6]),
        ("compute_loss", OF_A_STEP[:8]),
        ("on_loss_end", OF_A_STEP[:8]),
    ],
)
def test_skip_batch(hook: str, still: list[str]) -> None:
    trainer = tiny_trainer(plugins=[asking(hook, "skip_batch")])
    assert hooks_of_batch(trainer, 2) == [*still, "on_batch_end", "on_safe_point"]
    assert torch.equal(trainer.model.weight, trained_on(1, 3))
    assert (trainer._progress.batch_count, trainer._progress.step) == (3, 2)
    asked = trainer.requests[0]
    assert (asked.kind, asked.reason, asked.where, asked.count) == ("skip_batch", "because", "in epoch 1, batch 2 (train)", 1)


@pytest.mark.parametrize("hook", OF_A_STEP[8:-2])
def test_skip_batch_is_too_late_after_backward(hook: str) -> None:
    with pytest.raises(FitError, match=r"skip_batch does nothing in epoch 1, batch 2 \(train\): it is too late for it"):
        tiny_trainer(plugins=[asking(hook, "skip_batch")], train_data=tiny_batches(3)).fit(epochs=1)


def test_a_skipped_batch_enters_no_number() -> None:
    plain = tiny_trainer(train_data=[tiny_batches(3)[0], tiny_batches(3)[2]], metrics=["accuracy"])
    skipping = tiny_trainer(train_data=tiny_batches(3), metrics=["accuracy"], plugins=[asking("on_loss_end", "skip_batch")])
    first, second = plain.fit(epochs=1)[0], skipping.fit(epochs=1)[0]
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_skip_batch_in_evaluation() -> None:
    class Skip:
        @hookimpl
        def on_eval_batch_start(self, trainer: Trainer, state: State) -> None:
            if state.batch == 2:
                trainer.skip_batch("spoilt")

    batches = tiny_batches(3)
    trainer = tiny_trainer(plugins=[Skip()])
    with record_hooks(trainer) as calls:
        values = trainer.evaluate(batches)
    assert calls.hooks.count("on_eval_batch_end") == 3
    assert calls.hooks.count("eval_step") == 2
    assert values == tiny_trainer().evaluate([batches[0], batches[2]])
    assert len(trainer.predict(batches)) == 16


@pytest.mark.parametrize("hook", OF_A_STEP[:12])
def test_skip_step(hook: str) -> None:
    trainer = tiny_trainer(plugins=[asking(hook, "skip_step")])
    hooks = hooks_of_batch(trainer, 2)
    left_out = {"on_step_start", "optimizer_step", "on_step_end"} | ({"finish_gradients"} if hook != "finish_gradients" else set())
    assert hooks == [hook for hook in OF_A_STEP if hook not in left_out]
    assert torch.equal(trainer.model.weight, trained_on(1, 3))
    assert trainer._progress.step == 2


@pytest.mark.parametrize("hook", ["on_step_start", "optimizer_step", "on_step_end", "zero_grad", "on_batch_end", "on_safe_point"])
def test_skip_step_is_too_late_once_it_is_made(hook: str) -> None:
    with pytest.raises(FitError, match="skip_step does nothing in epoch 1, batch 2"):
        tiny_trainer(plugins=[asking(hook, "skip_step")], train_data=tiny_batches(3)).fit(epochs=1)


@pytest.mark.parametrize("hook", ["on_epoch_start", "on_eval_batch_start", "on_epoch_end", "on_fit_start"])
@pytest.mark.parametrize("what", ["skip_step", "skip_batch"])
def test_where_no_batch_is_trained_there_is_nothing_to_skip(hook: str, what: str) -> None:
    if (hook, what) == ("on_eval_batch_start", "skip_batch"):
        return  # there, it is the batch of evaluation that is skipped: tested above
    space: dict[str, Any] = {"hookimpl": hookimpl}
    exec(f"@hookimpl(specname={hook!r})\ndef asking(trainer):\n    trainer.{what}('because')", space)
    with pytest.raises(FitError, match=f"{what} does nothing .*: there is no training batch at work"):
        tiny_trainer(plugins=[space["asking"]]).fit(epochs=1)


@pytest.mark.parametrize("hook", OF_A_STEP)
def test_end_epoch_completes_the_epoch_early(hook: str) -> None:
    trainer = tiny_trainer(plugins=[asking(hook, "end_epoch")], train_data=tiny_batches(3))
    with record_hooks(trainer) as calls:
        rows = trainer.fit(epochs=2)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert "val_loss" in rows[0]
    assert calls.hooks.count("on_batch_end") == 2 + 3
    assert calls.hooks.count("on_epoch_end") == 2


def asking_always(hook: str, what: str) -> Any:
    space: dict[str, Any] = {"hookimpl": hookimpl}
    exec(f"@hookimpl(specname={hook!r})\ndef asking(trainer):\n    trainer.{what}('because')", space)
    return space["asking"]


@pytest.mark.parametrize("hook", ["on_fit_start", "on_train_epoch_end", "on_eval_start", "on_epoch_end"])
def test_end_epoch_outside_of_training_is_an_error(hook: str) -> None:
    with pytest.raises(FitError, match="end_epoch does nothing .*: no training pass is going on"):
        tiny_trainer(plugins=[asking_always(hook, "end_epoch")]).fit(epochs=1)


@pytest.mark.parametrize("hook", ["on_epoch_start", "on_train_epoch_start"])
def test_end_epoch_before_the_first_batch_trains_none(hook: str) -> None:
    trainer = tiny_trainer(plugins=[asking_always(hook, "end_epoch")])
    rows = trainer.fit(epochs=2)
    assert len(rows) == 2
    assert trainer._progress.batch_count == 0


def test_stop_needs_something_that_is_trained() -> None:
    with pytest.raises(FitError, match="stop does nothing .*: nothing is being trained"):
        tiny_trainer(plugins=[asking_always("on_eval_start", "stop")]).evaluate()


def test_a_request_to_skip_a_step_does_not_outlive_its_batch() -> None:
    class Ask:
        @hookimpl
        def on_batch_start(self, trainer: Trainer, state: State) -> None:
            if state.batch == 2:
                trainer.skip_step("first this")
                trainer.skip_batch("then that")

    trainer = tiny_trainer(plugins=[Ask()], train_data=tiny_batches(4))
    trainer.fit(epochs=1)
    assert trainer._progress.step == 3
    trainer.fit(epochs=1)
    assert [asked.count for asked in trainer.requests] == [1, 1], "requests are those of one call"


def test_when_every_batch_is_skipped() -> None:
    class SkipAll:
        @hookimpl
        def on_batch_start(self, trainer: Trainer) -> None:
            trainer.skip_batch("all")

        @hookimpl
        def on_eval_batch_start(self, trainer: Trainer) -> None:
            trainer.skip_batch("all")

    flushes: list[int] = []

    class Tracker:
        @hookimpl
        def on_log(self, entries: Any) -> None:
            flushes.append(len(entries))

    trainer = tiny_trainer(plugins=[SkipAll(), Tracker()], train_data=tiny_batches(6))
    assert "loss" not in trainer.fit(epochs=1)[0]
    assert flushes == [1], "no flush per batch while no step is made"
    with pytest.raises(FitError, match="there are no predictions: every batch was skipped"):
        trainer.predict(tiny_batches(2))


@pytest.mark.parametrize("hook", OF_A_STEP)
def test_stop_lets_the_batch_end_and_everyone_hear(hook: str) -> None:
    trainer = tiny_trainer(plugins=[asking(hook, "stop")], train_data=tiny_batches(3))
    with record_hooks(trainer) as calls:
        assert trainer.fit(epochs=2) == []
    end = calls.hooks.index("on_train_epoch_end")
    assert calls.hooks[end - len(OF_A_STEP) : end] == OF_A_STEP, "the batch is done in full"
    assert calls.hooks[end:] == ["on_train_epoch_end", "on_fit_end"]
    assert trainer.unfinished is not None
    assert trainer.unfinished["loss"] > 0


def test_reasons_are_in_the_message_and_the_manifest(run_script: Callable[..., Outcome]) -> None:
    done = run_script(
        """
    from fit_core import hookimpl
    from fit_core.testing import tiny_batches, tiny_trainer
    class Ask:
        @hookimpl
        def on_batch_start(self, trainer, state):
            if state.batch == 2:
                trainer.skip_batch("the second is spoilt")
            if state.batch_count == 7:
                trainer.stop("seven are enough")
    def build_trainer():
        return tiny_trainer(epochs=3, plugins=[Ask()], train_data=tiny_batches(4), quiet=False)
    """
    )
    assert done.code == 0, done.stderr
    assert "skip_batch 2 times, first in epoch 1, batch 2 (train): the second is spoilt" in done.stdout
    assert "stopped in epoch 2, batch 3 (train): seven are enough (so far: loss " in done.stdout
    assert [(asked["kind"], asked["reason"], asked["count"]) for asked in done.manifest["requests"]] == [
        ("skip_batch", "the second is spoilt", 2),
        ("stop", "seven are enough", 1),
    ]
    assert done.manifest["unfinished"]["loss"] > 0
    assert done.manifest["epochs"] == 1

"""`fit train --profile`, `--trace-hooks` and `--forbid-sync`: what they say, and that they change nothing."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fit_core import State, StateKey, Trainer, TrainingError, hookimpl
from fit_core.testing import Outcome, tiny_batches, tiny_trainer
from fit_core.traced.around import traced
from fit_core.traced.calls import Calls
from fit_core.traced.profile import WARM_UP, Profile, as_text
from fit_core.traced.waits import ForbidWaits

NOTE: StateKey[Tensor] = StateKey("note")


class Slow:
    """Takes its time, in a wrapper too, and reads a number from the device twice."""

    @hookimpl
    def on_step_end(self, state: State) -> None:
        time.sleep(0.004)
        assert float(state.loss.detach()) + state.loss.item() > 0

    @hookimpl(wrapper=True)
    def compute_loss(self) -> Iterator[None]:
        time.sleep(0.001)
        loss = yield
        time.sleep(0.001)
        return loss


class Slower:
    """Takes the place of the loss, and ten times as long."""

    @hookimpl
    def compute_loss(self, state: State) -> Tensor:
        time.sleep(0.02)
        return torch.nn.functional.cross_entropy(state.outputs, state.targets)


def profile_of(*plugins: Any, batches: int = 25, **changes: Any) -> tuple[Profile, dict[tuple[str, str], dict[str, Any]], Trainer]:
    profile = Profile()
    trainer = tiny_trainer(plugins=plugins, train_data=tiny_batches(batches), **changes)
    with traced(trainer, profile):
        trainer.fit(epochs=1)
    return profile, {(row["plugin"], row["hook"]): row for row in profile.rows()}, trainer


def test_what_is_logged_is_no_wait_but_what_is_read_for_it_is() -> None:
    class Logs:
        @hookimpl
        def on_step_end(self, trainer: Trainer, state: State) -> None:
            trainer.log({"kept": state.loss, "twice": state.loss * 2})

        @hookimpl
        def on_batch_end(self, trainer: Trainer, state: State) -> None:
            trainer.log({"read": state.loss.item()})

        @hookimpl
        def on_log(self) -> None:
            pass

    _, rows, _ = profile_of(("logs", Logs()))
    assert rows["logs", "on_step_end"]["waits"] == 0
    assert rows["logs", "on_batch_end"]["waits"] == 1


def test_times_calls_and_waits_by_plugin_and_hook() -> None:
    profile, rows, _ = profile_of(("slow", Slow()), ("slower", Slower()))
    assert (profile.batches, profile.counted) == (20, WARM_UP)
    slow, loss = rows["slow", "on_step_end"], rows["slow", "compute_loss"]
    assert slow["calls"] == 20
    assert slow["per_batch"] >= 4000
    assert 2000 <= loss["per_batch"] < rows["slower", "compute_loss"]["per_batch"], "both halves of a wrapper, without what is in between"
    assert slow["waits"] == 2
    assert rows["the core", "run_update"]["waits"] == 1, "the guard"
    assert rows["the core", "forward"]["waits"] == 0
    assert rows["the core", "forward"]["calls"] == 21, "and one of validation"
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1.0)
    table = as_text(profile)
    assert table.splitlines()[0].startswith("20 training batches of ")
    assert re.search(r"^slow +on_step_end +\d+\.\d% +\d+\.\d +2 +20 +\d+\.\d ms$", table, re.MULTILINE), table


def test_waiting_for_data() -> None:
    class Loader:
        def __len__(self) -> int:
            return 12

        def __iter__(self) -> Iterator[Any]:
            for batch in tiny_batches(12):
                time.sleep(0.003)
                yield batch

    profile = Profile()
    trainer = tiny_trainer(train_data=Loader(), val_data=None)
    with traced(trainer, profile):
        trainer.fit(epochs=1)
    rows = {row["hook"]: row for row in profile.rows()}
    assert rows["waiting for batches"]["per_batch"] >= 3000
    assert rows["waiting for batches"]["calls"] == 8, "of seven batches, and of the end"


def test_too_short_a_run_says_so() -> None:
    profile, _, _ = profile_of(batches=3)
    assert as_text(profile) == "--profile: nothing was measured: the first 5 batches are for counting waits; train for longer"


@pytest.mark.parametrize("tracer", [Profile, lambda: Calls(str), ForbidWaits], ids=["profile", "trace-hooks", "forbid-sync"])
def test_nothing_changes(tracer: Callable[[], Any]) -> None:
    def make() -> Trainer:
        return tiny_trainer(train_data=tiny_batches(12), metrics=["accuracy"], accumulate=2, seed=1, log_every=3, plugins=[Listens()])

    plain, watched = make(), make()
    functions = [getattr(watched.hooks, name) for name in watched.hooks.plans]
    plain.fit(epochs=2)
    with traced(watched, tracer()):
        watched.fit(epochs=2)
    for mine, theirs in zip(watched.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    keep = [{k: v for k, v in row.items() if k != "seconds"} for row in watched.history]
    assert keep == [{k: v for k, v in row.items() if k != "seconds"} for row in plain.history]
    names = [function.__code__.co_filename for function in functions]
    assert [getattr(watched.hooks, name).__code__.co_filename for name in watched.hooks.plans] == names, "the plan is built anew without it"


class Listens:
    """Hears numbers, so that the log is flushed within epochs."""

    @hookimpl
    def on_log(self, entries: list[Any]) -> None:
        assert entries


# ------------------------------------------------------------------------------------------------------ forbid-sync


def trained_without_waits(*plugins: Any, **changes: Any) -> None:
    trainer = tiny_trainer(plugins=[*plugins, Listens()], train_data=tiny_batches(4), log_every=2, **changes)
    with traced(trainer, ForbidWaits()):
        trainer.fit(epochs=1)


def test_what_the_core_does_itself_is_no_offence() -> None:
    for optimizer in (torch.optim.SGD, torch.optim.Adam):
        model = torch.nn.Linear(4, 3)
        trained_without_waits(model=model, optimizer=optimizer(model.parameters(), lr=0.1), metrics=["accuracy"], accumulate=2)


def waits_in_hook(state: State) -> None:
    assert state.loss.item() > 0


def masked(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs[targets > 0].square().mean()


class Model(torch.nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        assert bool(x.isfinite().all())
        return super().forward(x)


@pytest.mark.parametrize(
    ("changes", "line", "operation"),
    [
        ({"plugins": [hookimpl(specname="on_loss_end")(waits_in_hook)]}, waits_in_hook.__code__.co_firstlineno + 1, "_local_scalar_dense"),
        ({"loss_fn": masked}, masked.__code__.co_firstlineno + 1, "index"),
        ({"model": Model(4, 3)}, Model.forward.__code__.co_firstlineno + 1, "_local_scalar_dense"),
    ],
    ids=["hook", "loss", "model"],
)
def test_a_wait_is_an_error_at_its_line(changes: dict[str, Any], line: int, operation: str) -> None:
    with pytest.raises(TrainingError, match=rf"a training step waits for the device at .*test_traced.py:{line} \(({operation})\)"):
        trained_without_waits(*changes.pop("plugins", []), **changes)
    assert float(torch.tensor(1.0)) == 1.0, "nobody looks any more"


def test_waits_between_steps_are_allowed() -> None:
    class Reads:
        @hookimpl
        def on_epoch_end(self, trainer: Trainer) -> None:
            assert next(trainer.model.parameters()).sum().item()

        @hookimpl
        def on_eval_batch_end(self, state: State) -> None:
            assert state.loss.item() > 0

        @hookimpl
        def on_safe_point(self, trainer: Trainer) -> None:
            assert next(trainer.model.parameters()).sum().item()

    trained_without_waits(Reads())


# ------------------------------------------------------------------------------------------------------ trace-hooks


def test_every_call_is_told_with_what_it_changes() -> None:
    class Doubles:
        @hookimpl
        def on_loss_end(self, state: State) -> None:
            state.loss = state.loss * 2
            state[NOTE] = torch.zeros(5)

    lines: list[str] = []
    trainer = tiny_trainer(plugins=[("doubles", Doubles())], train_data=tiny_batches(3))
    with traced(trainer, Calls(lines.append)):
        trainer.fit(epochs=2)
    told = [re.sub(r" +\d+ us", "", line).rstrip() for line in lines]
    (changed,) = [line.split(maxsplit=4)[2:] for line in told if line.startswith("train 1.1 ") and "on_loss_end" in line]
    assert changed == ["on_loss_end", "doubles", "loss = float32 (), note = float32 (5,)"]
    hooks = [line.split()[2] for line in told if line.startswith("train 1.1 ")]
    assert hooks == [
        "prepare_batch", "train_step", "run_update", "forward", "compute_loss", "on_loss_end", "backward", "should_step",
        "finish_gradients", "optimizer_step", "zero_grad",
    ]  # fmt: skip
    assert not [line for line in told if line.startswith("train 1.2")]
    assert [line.split()[1] for line in told if "prepare_batch" in line and "train" in line] == ["1.1", "2.1"]


# --------------------------------------------------------------------------------------------------- the command line

SCRIPT = """
from fit_core import hookimpl
from fit_core.testing import tiny_batches, tiny_trainer

@hookimpl
def on_loss_end(state):
    assert state.loss.item() > -1  # a wait

def build_trainer(epochs: int = 1):
    return tiny_trainer(train_data=tiny_batches(20), epochs=epochs, quiet=False)
"""


def test_profile_on_the_command_line(run_script: Callable[..., Outcome]) -> None:
    done = run_script(SCRIPT, "--profile")
    assert done.code == 0, done.stderr
    assert "15 training batches of" in done.stdout
    found = json.loads((done.run_dir / "profile.json").read_text())
    assert found["batches"] == 15
    (mine,) = [row for row in found["hooks"] if row["plugin"] == "script"]
    assert (mine["hook"], mine["waits"], mine["calls"]) == ("on_loss_end", 1.0, 16)


def test_a_trace_of_torch_has_hooks_and_plugins(run_script: Callable[..., Outcome]) -> None:
    done = run_script(SCRIPT, "--profile=torch")
    assert done.code == 0, done.stderr
    events = json.loads((done.run_dir / "trace.json").read_text())["traceEvents"]
    assert len([event for event in events if event.get("name") == "script: on_loss_end" and event.get("ph") == "X"]) >= 10
    assert f"trace in {Path('runs')}" in done.stdout


def test_forbid_sync_and_trace_hooks_on_the_command_line(run_script: Callable[..., Outcome]) -> None:
    done = run_script(SCRIPT, "--forbid-sync", "--trace-hooks")
    assert done.code == 1
    assert re.search(r"a training step waits for the device at .*script\.py:7 \(_local_scalar_dense\)", done.stderr), done.stderr
    assert re.search(r"^train 1\.1 +forward +the core", done.stderr, re.MULTILINE)
    assert run_script(SCRIPT, "--profile", "--forbid-sync").code == 2

"""The checks of the test kit: a good plugin passes all, and each bad one fails exactly the check it is bad at."""

from __future__ import annotations

import os
import pickle
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from fit_core import Every, FitError, State, Trainer, hookimpl
from fit_core.testing import CHECKS, CheckFailed, check_plugin, failures


class Good:
    def __init__(self) -> None:
        self.seen = 0

    @hookimpl
    def on_batch_start(self, trainer: Trainer, state: State) -> None:
        noise = torch.randn(state.inputs.shape, generator=trainer.generator(self))
        state.inputs = state.inputs + 0.01 * noise.to(state.device)

    @hookimpl
    def on_batch_end(self, trainer: Trainer, state: State) -> None:
        self.seen += 1
        trainer.record("mean", state.outputs.mean())

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


class Misspelt:
    @hookimpl
    def on_batch_ends(self) -> None:
        pass


class Growing:
    def __init__(self) -> None:
        self.losses: list[Any] = []

    @hookimpl
    def on_batch_end(self, state: State) -> None:
        self.losses.append(state.batch)
        sorted(self.losses, key=lambda batch: -batch)


class Waiting:
    @hookimpl
    def on_batch_end(self, state: State) -> None:
        state.loss.item()


class WaitingOtherwise:
    @hookimpl
    def on_batch_end(self, state: State) -> None:
        state.outputs.detach().cpu().numpy()


class WaitingInEvaluation:
    @hookimpl
    def on_eval_batch_end(self, state: State) -> None:
        state.loss.item()


class Seeding:
    @hookimpl
    def on_fit_start(self) -> None:
        torch.manual_seed(0)


class LeakingFiles:
    def __init__(self) -> None:
        self.files: list[Any] = []

    @hookimpl
    def on_epoch_end(self) -> None:
        self.files.append(open(os.devnull))  # noqa: PTH123, SIM115
        KEPT.extend(self.files)


KEPT: list[Any] = []


@pytest.fixture(autouse=True)
def close_what_a_bad_plugin_left_open() -> Iterator[None]:
    yield
    while KEPT:
        KEPT.pop().close()


class WithoutLoad(Good):
    load_state_dict = property()  # type: ignore[assignment]


class Broken:
    @hookimpl
    def on_fit_start(self) -> None:
        raise ValueError("broken")


class Forgetful(Good):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Alias:
    def __init__(self) -> None:
        self.state: dict[str, int] = {"seen": 0}

    @hookimpl
    def on_batch_end(self) -> None:
        self.state["seen"] += 1

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


class Leaking:
    @hookimpl
    def on_fit_start(self) -> None:
        self.done = threading.Event()
        threading.Thread(target=self.done.wait, args=(60,), daemon=True).start()

    @hookimpl
    def on_epoch_end(self, state: State) -> None:
        if state.epoch == 2:
            self.done.set()


class Hiding:
    @hookimpl
    def on_exception(self) -> None:
        os._exit  # noqa: B018

    @hookimpl(wrapper=True)
    def on_batch_end(self) -> Any:
        try:
            return (yield)
        except Exception:
            return None


class Drawing:
    @hookimpl
    def on_batch_start(self, state: State) -> None:
        state.inputs = state.inputs + torch.randn_like(state.inputs)


class Environment:
    @hookimpl
    def on_fit_start(self) -> None:
        os.environ["FIT_TEST_LEFT_BEHIND"] = "1"


class SeedingInside:
    """Puts back what it sets, but the model has drawn from it by then."""

    @hookimpl(wrapper=True)
    def forward(self) -> Any:
        before = torch.get_rng_state()
        torch.manual_seed(0)
        outputs = yield
        torch.set_rng_state(before)
        return outputs


class Loud:
    @hookimpl
    def on_fit_end(self) -> None:
        print("done")


class Beside:
    @hookimpl
    def on_epoch_end(self, trainer: Trainer, row: Any) -> None:
        if not trainer.quiet:
            print(row)


class Display(Beside):
    replaces = ("console",)
    passive = True


class Grabbing:
    @hookimpl
    def backward(self, loss: torch.Tensor) -> bool:
        loss.backward()  # type: ignore[no-untyped-call]
        return True


class GrabbingFirst(Grabbing):
    runs_before = ("grad-scaler",)


class Objects:
    """Saves an object of its own class."""

    def __init__(self) -> None:
        self.interval = Every("2 epochs")

    @hookimpl
    def on_epoch_end(self) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {"interval": self.interval}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.interval = state["interval"]


class Pickled(Objects):
    def state_dict(self) -> dict[str, Any]:
        return {"inner": [pickle.dumps("2 epochs")]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.interval = Every(pickle.loads(state["inner"][0]))


class OneUpdate:
    @hookimpl
    def on_step_start(self, state: State) -> None:
        state.updates["main"].gradients()


class RefusesUpdates(OneUpdate):
    @hookimpl
    def on_fit_start(self, state: State) -> None:
        if len(state.updates) > 1:
            raise FitError("it is made for one update")


class StopsEarly:
    """Ends a run between the steps that are compared."""

    def __init__(self) -> None:
        self.batches = 0

    @hookimpl
    def on_batch_end(self, trainer: Trainer) -> None:
        self.batches += 1
        if self.batches >= 20:
            trainer.stop("enough")

    def state_dict(self) -> dict[str, int]:
        return {"batches": self.batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches = state["batches"]


class Stopping:
    """Ends a run in its second epoch, so that some hooks are not reached there."""

    @hookimpl
    def on_batch_end(self, trainer: Trainer, state: State) -> None:
        if state.epoch == 2:
            trainer.stop("that is enough")


class RefusesLate(OneUpdate):
    @hookimpl
    def on_step_start(self, state: State) -> None:
        if len(state.updates) > 1:
            raise FitError("it is made for one update")


class ForgetsTheWindow:
    """Counts the batches of a window, which are lost when a run is interrupted inside of one."""

    def __init__(self) -> None:
        self.batches = 0

    @hookimpl
    def on_loss_end(self, state: State) -> None:
        if state.phase == "train":
            self.batches += 1
            state.loss = state.loss * self.batches

    @hookimpl
    def on_step_end(self) -> None:
        self.batches = 0


class NotPassive:
    passive = True

    @hookimpl
    def on_loss_end(self, state: State) -> None:
        state.loss = state.loss / 2


class Unsaved:
    """Lowers the loss more and more, and does not say how far it is."""

    def __init__(self) -> None:
        self.count = 0

    @hookimpl
    def on_loss_end(self, state: State) -> None:
        self.count += 1
        state.loss = state.loss / self.count


BAD = {
    Unsaved: "resumes",
    ForgetsTheWindow: "windows",
    OneUpdate: "windows",
    RefusesLate: "windows",
    NotPassive: "passive",
    Objects: "plain state",
    Pickled: "plain state",
    SeedingInside: "random numbers",
    Loud: "prints",
    Beside: "prints",
    Grabbing: "conflicts",
    Misspelt: "registers",
    Broken: "registers",
    WaitingOtherwise: "no waits",
    WaitingInEvaluation: "no waits",
    WithoutLoad: "state round trip",
    LeakingFiles: "torn down",
    Seeding: "random numbers",
    Growing: "calls per step",
    Waiting: "no waits",
    Forgetful: "state round trip",
    Alias: "state round trip",
    Leaking: "torn down",
    Hiding: "torn down",
    Drawing: "random numbers",
    Environment: "global state",
}


GOOD = {"object": Good(), "class": Good, "function": lambda: Good(), "name": "console"}
GOOD |= {each.__name__: each for each in (Display, GrabbingFirst, RefusesUpdates, Stopping, StopsEarly)}


@pytest.mark.parametrize("plugin", GOOD.values(), ids=GOOD)
def test_a_good_plugin_passes(plugin: Any) -> None:
    check_plugin(plugin)


@pytest.mark.parametrize("plugin", BAD, ids=lambda plugin: plugin.__name__)
def test_a_bad_plugin_fails_exactly_its_check(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIT_TEST_LEFT_BEHIND", raising=False)
    with pytest.raises(CheckFailed) as failed:
        check_plugin(plugin)
    assert [line.partition(": ")[0] for line in str(failed.value).splitlines() if line.partition(": ")[0] in CHECKS] == [BAD[plugin]]


SAYS = {
    Misspelt: "did you mean 'on_batch_end'",
    Drawing: "changed the random state of torch in on_batch_start.*trainer.generator.self",
    SeedingInside: "torch in forward",
    Objects: "cannot save plugin 'objects'.'interval'.: it is fit_core.cadence.Every; return numbers",
    Pickled: "plugin 'pickled'.'inner'..0. is pickled",
    Loud: "although the trainer is quiet: ask trainer.quiet.*'done'",
    Beside: "in every epoch .on_epoch_end., and so does 'console': say replaces",
    Grabbing: "the stage backward, as 'grad-scaler' does.*runs_before or runs_after = .'grad-scaler',.",
    Waiting: "on meta tensors .raised in hook on_batch_end of plugin 'waiting'.*; use trainer.record",
    NotPassive: "first in epoch 1, batch 1",
}


@pytest.mark.parametrize("plugin", SAYS, ids=lambda plugin: plugin.__name__)
def test_a_failed_check_says_what_to_do(plugin: Any) -> None:
    assert re.search(SAYS[plugin], failures(plugin, only=[BAD[plugin]])[BAD[plugin]])


def test_a_check_can_be_run_alone() -> None:
    assert failures(Beside, only=["resumes"]) == {}
    with pytest.raises(FitError, match="no check 'print'; did you mean 'prints'?"):
        failures(Beside, only=["print"])


def test_every_check_has_a_plugin_that_fails_it() -> None:
    assert set(BAD.values()) == set(CHECKS)
    assert all(check.__doc__ for check in CHECKS.values())

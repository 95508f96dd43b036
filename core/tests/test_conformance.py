"""The checks of the test kit: a good plugin passes all, and each bad one fails exactly the check it is bad at."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from fit_core import State, Trainer, hookimpl
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
    Misspelt: "registers",
    Broken: "registers",
    WaitingOtherwise: "no waits",
    WaitingInEvaluation: "no waits",
    WithoutLoad: "state round trip",
    LeakingFiles: "torn down",
    Seeding: "global state",
    Growing: "calls per step",
    Waiting: "no waits",
    Forgetful: "state round trip",
    Alias: "state round trip",
    Leaking: "torn down",
    Hiding: "torn down",
    Drawing: "global state",
    Environment: "global state",
}


def test_a_good_plugin_passes() -> None:
    check_plugin(Good())
    check_plugin(Good)
    check_plugin("console")
    check_plugin(lambda: Good())


@pytest.mark.parametrize("plugin", BAD, ids=lambda plugin: plugin.__name__)
def test_a_bad_plugin_fails_exactly_its_check(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIT_TEST_LEFT_BEHIND", raising=False)
    assert list(failures(plugin)) == [BAD[plugin]]
    monkeypatch.delenv("FIT_TEST_LEFT_BEHIND", raising=False)
    with pytest.raises(CheckFailed, match=f"^{BAD[plugin]}: "):
        check_plugin(plugin)


def test_every_check_has_a_plugin_that_fails_it() -> None:
    assert set(BAD.values()) == set(CHECKS)

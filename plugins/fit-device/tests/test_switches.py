"""Switches of the process: set while a trainer works, and put back whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import check_plugin, tiny_batches, tiny_trainer
from fit_device import Deterministic, Precision
from fit_device.flags import FLAGS, put_back


def found() -> dict[str, Any]:
    return {name: flag.read() for name, flag in FLAGS.items()}


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    before = found()
    yield
    after = found()
    put_back(before)
    assert after == before


WANTED = {
    "matmul": ("medium", ["tf32", "bf16"]),
    "cudnn tf32": (False, ["ieee", "ieee"]),
    "cudnn benchmark": False,
    "cudnn deterministic": True,
    "deterministic": (True, True),
}
BOTH = ["precision:matmul=medium,conv=false", Deterministic(warn_only=True)]


class Watch:
    """Notes the switches, and raises in a hook."""

    def __init__(self, at: str = "") -> None:
        self.seen: list[dict[str, Any]] = []
        self.at = at
        self.inside = False

    def note(self, hook: str) -> None:
        self.seen.append(found())
        if hook == self.at:
            raise ValueError("here")

    @hookimpl
    def on_fit_start(self) -> None:
        self.note("on_fit_start")

    @hookimpl
    def on_batch_start(self) -> None:
        self.note("on_batch_start")

    @hookimpl
    def on_eval_start(self) -> None:
        self.note("on_eval_start")

    @hookimpl
    def on_eval_batch_start(self) -> None:
        self.note("on_eval_batch_start")

    @hookimpl
    def on_eval_end(self, trainer: Trainer, state: State) -> None:
        if state.phase == "test" and not self.inside:
            self.inside = True
            trainer.evaluate(tiny_batches(1), prefix="inner_")  # a pass in a pass
            self.inside = False
            self.note("on_eval_end")


def test_set_in_training_and_evaluation_and_put_back() -> None:
    before, watch = found(), Watch()
    trainer = tiny_trainer(plugins=[watch, *BOTH])
    for work in (lambda: trainer.fit(epochs=1), trainer.evaluate, lambda: trainer.predict(tiny_batches(1)), lambda: trainer.fit(epochs=1)):
        watch.seen.clear()
        work()
        assert watch.seen
        assert all(seen == WANTED for seen in watch.seen)
        assert found() == before


@pytest.mark.parametrize("hook", ["on_fit_start", "on_batch_start", "on_eval_start", "on_eval_batch_start", "on_eval_end"])
@pytest.mark.parametrize("alone", [True, False])
def test_put_back_after_an_exception(hook: str, alone: bool) -> None:
    before, watch = found(), Watch(at=hook)
    trainer = tiny_trainer(plugins=[watch, *BOTH])
    inside = hook not in (["on_fit_start", "on_batch_start"] if alone else ["on_eval_end"])
    if inside:
        with pytest.raises(ValueError, match="here"):
            trainer.evaluate() if alone else trainer.fit(epochs=1)
        assert watch.seen[-1] != before
    assert found() == before


def test_settings_of_the_newer_interface_are_put_back_too() -> None:
    backends: Any = torch.backends
    untouched = found()
    backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision = "tf32", "ieee"
    with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
        torch.get_float32_matmul_precision()
    before = found()
    tiny_trainer(plugins=BOTH).fit(epochs=1)
    assert [backends.cuda.matmul.fp32_precision, backends.mkldnn.matmul.fp32_precision] == ["tf32", before["matmul"][1][1]]
    assert [backends.cudnn.conv.fp32_precision, backends.cudnn.rnn.fp32_precision] == ["ieee", "tf32"]
    torch.set_float32_matmul_precision("highest")
    backends.cudnn.allow_tf32 = True
    put_back(untouched)


def test_a_benchmark_is_not_deterministic() -> None:
    assert Precision(benchmark=True).values == {"matmul": "high", "cudnn tf32": True, "cudnn benchmark": True}
    with pytest.raises(FitError, match="two plugins set cudnn benchmark, one of them '(precision|deterministic)'; leave one of them out"):
        tiny_trainer(plugins=[Precision(benchmark=True), Deterministic()]).fit(epochs=1)
    with pytest.raises(FitError, match="matmul must be 'highest', 'high' or 'medium', not 'low'"):
        Precision("low")  # type: ignore[arg-type]


def test_an_operation_without_a_deterministic_way_is_refused() -> None:
    class Fill(torch.nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs.put_(torch.tensor([0]), torch.tensor([1.0]), accumulate=False))

    with pytest.raises(RuntimeError, match="put_ does not have a deterministic implementation"):
        tiny_trainer(model=Fill(4, 3), plugins=["deterministic"]).fit(epochs=1)
    with pytest.warns(UserWarning, match="put_ does not have a deterministic implementation"):
        tiny_trainer(model=Fill(4, 3), plugins=["deterministic:warn_only=true"]).fit(epochs=1)


def test_cublas_must_be_told_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = tiny_trainer()
    trainer.fit(epochs=1)
    state = trainer.current_state()
    state.device = torch.device("cuda")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with pytest.raises(FitError, match="export CUBLAS_WORKSPACE_CONFIG=:4096:8"):
        Deterministic().check(state)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    Deterministic().check(state)


@pytest.mark.parametrize("plugin", ["precision", "deterministic"])
def test_conformance(plugin: str) -> None:
    check_plugin(plugin)

"""An exception in any hook ends the run as itself, says whose it is, and everyone hears of the end."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils.data import DataLoader, Dataset

from fit_core import hookimpl
from fit_core.hookspecs import SPECS
from fit_core.testing import tiny_batches, tiny_trainer

IN_A_RUN = [name for name in SPECS if name not in ("on_exception", "on_fit_end", "on_teardown", "export_model", "on_show")]


class Spoilt(Exception):
    pass


def bomb(hook: str, error: BaseException) -> Any:
    space: dict[str, Any] = {"__name__": __name__, "hookimpl": hookimpl, "error": error}
    exec(f"@hookimpl(specname={hook!r}, tryfirst=True)\ndef bomb():\n    raise error", space)
    return space["bomb"]


class Ending:
    def __init__(self, name: str, heard: list[str], bad: bool = False) -> None:
        self.name, self.heard, self.bad = name, heard, bad

    def hear(self, hook: str) -> None:
        self.heard.append(f"{self.name} {hook}")
        if self.bad:
            raise RuntimeError(f"{self.name} cannot even end")

    @hookimpl
    def on_exception(self) -> None:
        self.hear("exception")

    @hookimpl
    def on_fit_end(self) -> None:
        self.hear("end")

    @hookimpl
    def on_teardown(self) -> None:
        self.hear("down")


@pytest.mark.parametrize("error", [Spoilt("x"), KeyboardInterrupt()], ids=["exception", "interrupt"])
@pytest.mark.parametrize("hook", IN_A_RUN)
def test_every_hook(hook: str, error: BaseException) -> None:
    heard: list[str] = []
    plugins = [Ending("a", heard), Ending("b", heard, bad=True), Ending("c", heard), bomb(hook, type(error)("x"))]
    with pytest.raises(type(error)) as caught, tiny_trainer(plugins=plugins) as trainer:
        trainer.fit(epochs=1)
    assert heard == [f"{name} {moment}" for moment in ("exception", "end", "down") for name in "abc"]
    notes = caught.value.__notes__
    assert notes[0].startswith(f"raised in hook {hook} of plugin 'bomb' ({__file__}), ")
    assert sum(note.startswith("raised in hook") for note in notes) == 1, "only the innermost is blamed"
    assert sum("b cannot even end" in note for note in notes) == 3


@pytest.mark.parametrize("hook", ["on_exception", "on_fit_end"])
def test_closing_hooks_that_raise_do_not_hide_what_came_first(hook: str) -> None:
    with pytest.raises(Spoilt, match="first") as caught:
        tiny_trainer(plugins=[bomb(hook, ValueError("second")), ("other", bomb("on_batch_end", Spoilt("first")))]).fit(epochs=1)
    assert any("ValueError: second" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("hook", IN_A_RUN)
def test_a_stop_iteration_from_a_hook_is_an_error(hook: str) -> None:
    with pytest.raises(RuntimeError, match="StopIteration was raised"):
        tiny_trainer(plugins=[bomb(hook, StopIteration())]).fit(epochs=1)


class Short(Dataset[Any]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        if index == 5:
            raise StopIteration
        inputs, targets = tiny_batches(1)[0]
        return inputs[index], targets[index]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stop_iteration_from_a_dataset_is_an_error(workers: int) -> None:
    loader = DataLoader(Short(), batch_size=2, num_workers=workers)
    with pytest.raises(Exception, match=r"look for a StopIteration raised in its dataset|Caught StopIteration|StopIteration"):
        tiny_trainer(train_data=loader).fit(epochs=1)


def test_a_hook_of_evaluation_that_raises_is_heard_of_once() -> None:
    heard: list[str] = []
    trainer = tiny_trainer(plugins=[Ending("a", heard), bomb("on_eval_batch_end", Spoilt())])
    with pytest.raises(Spoilt):
        trainer.evaluate()
    assert heard == ["a exception"]
    with pytest.raises(Spoilt):
        trainer.fit(epochs=1)
    assert heard == ["a exception", "a exception", "a end"]

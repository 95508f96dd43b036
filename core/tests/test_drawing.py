"""The drawing of the loop in hookspecs.py is what really runs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from fit_core import Trainer, hookspecs
from fit_core.hookspecs import SPECS
from fit_core.testing import record_hooks, tiny_trainer

EPOCHS, TRAIN_BATCHES, EVAL_BATCHES = 2, 2, 1


@dataclass
class Line:
    text: str
    inside: list[Line] = field(default_factory=list)

    def calls(self, loops: dict[str, int]) -> list[str]:
        """Unroll a line and what is inside into the hooks that are called."""
        inside = [
            call
            for line in self.inside
            for call in line.calls(
                loops if self.text != "for each pass over validation data" else {**loops, "for each batch": EVAL_BATCHES}
            )
        ]
        if self.text in loops:
            return inside * loops[self.text]
        return [self.text, *inside] if self.text in SPECS else inside


def drawing() -> list[Line]:
    """Read the drawing: what is indented deeper is inside."""
    text = re.search(r"```text\n(.*?)```", inspect.getdoc(hookspecs) or "", re.DOTALL)
    assert text is not None
    root = Line("")
    open_lines = [(-1, root)]
    for raw in text[1].splitlines():
        indent = len(raw) - len(raw.lstrip())
        line = Line(raw.strip().rstrip(":") if raw.rstrip().endswith(":") else raw.split()[0])
        while open_lines[-1][0] >= indent:
            open_lines.pop()
        open_lines[-1][1].inside.append(line)
        open_lines.append((indent, line))
    return root.inside


def names(lines: list[Line]) -> list[str]:
    return [name for line in lines for name in [line.text, *names(line.inside)] if name in SPECS]


def expected_calls() -> list[str]:
    loops = {"for each epoch": EPOCHS, "for each batch": TRAIN_BATCHES, "for each pass over validation data": 1}
    told_apart = ("on_exception", "export_model", "on_log", "on_show")  # not part of a run that goes well and shows nothing
    return [call for line in drawing() for call in line.calls(loops) if call not in told_apart]


def recorded_calls(trainer: Trainer) -> list[str]:
    with record_hooks(trainer) as calls, trainer:
        trainer.fit(epochs=EPOCHS)
    return calls.hooks


def test_every_hook_is_drawn_and_every_drawn_hook_exists() -> None:
    assert set(names(drawing())) == set(SPECS)


def test_every_hook_is_specified_in_the_order_of_the_drawing() -> None:
    first_mention = list(dict.fromkeys(names(drawing())))
    evaluation_first = [name for name in first_mention if name != "on_epoch_end"]
    specified = [name for name in SPECS if name != "on_epoch_end"]
    assert specified == evaluation_first


def test_a_run_calls_what_is_drawn() -> None:
    assert recorded_calls(tiny_trainer()) == expected_calls()


def test_evaluation_alone_calls_one_pass() -> None:
    trainer = tiny_trainer()
    with record_hooks(trainer) as calls:
        trainer.evaluate()
    passes = next(line for line in drawing()[4].inside if line.text == "for each pass over validation data")
    assert calls.hooks == ["on_setup", "prepare_model", *passes.calls({"for each pass over validation data": 1})]


@pytest.mark.parity("T23")
def test_predictions_compute_no_loss() -> None:
    trainer = tiny_trainer(loss_fn=None, optimizer=None)
    with record_hooks(trainer) as calls:
        trainer.predict(trainer.test_data)
    assert "forward" in calls.hooks
    assert "compute_loss" not in calls.hooks
    assert "on_loss_end" not in calls.hooks


@pytest.mark.parametrize("name", SPECS)
def test_every_hook_is_documented_in_five_parts(name: str) -> None:
    function: Callable[..., Any] = SPECS[name]
    text = inspect.getdoc(function) or ""
    first, *_ = text.split("\n")
    assert first.endswith("."), "what it is for, in one sentence"
    assert "\nDefault: " in text
    assert re.search(r"\nReturns: .+", text)
    extra = set(inspect.signature(function).parameters) - {"trainer", "state"}
    for argument in extra:
        assert re.search(rf"^ +{argument}: ", text, re.MULTILINE), argument
    if function.fit_kind in ("stage", "decision"):  # type: ignore[attr-defined]
        assert "The first result that is not None wins." in text

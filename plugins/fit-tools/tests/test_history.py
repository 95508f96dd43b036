"""Rows from files and checkpoints, whole and damaged."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from fit_core import State, Trainer, hookimpl
from fit_core.testing import tiny_trainer
from fit_tools.history import rows_in, rows_of_csv, rows_of_json_lines

CSV = {
    "whole": ("epoch,loss\n1,0.5\n2,nan\n", [(1, 0.5), (2, math.nan)], []),
    "an empty cell": ("epoch,loss,a\n1,0.5,\n2,0.4,1\n", [(1, 0.5), (2, 0.4)], []),
    "torn": ("epoch,loss\n1,0.5\n2,0.4", [(1, 0.5)], ["the last line is torn"]),
    "half a heading": ("epoch,lo", [], ["the last line is torn"]),
    "nothing": ("", [], []),
    "text": ("epoch,loss\n1,0.5\n2,low\n", [(1, 0.5)], ["line 3: 'low' of 'loss' is no number"]),
    "no epoch": ("step,loss\n1,0.5\n", [], ["line 2 has no epoch"]),
    "half an epoch": ("epoch,loss\n1.5,0.5\n", [], ["line 2 has no epoch"]),
    "too many cells": ("epoch,loss\n1,0.5,7,8\n", [(1, 0.5)], []),
}


@pytest.mark.parametrize("name", CSV)
def test_csv(name: str) -> None:
    text, rows, problems = CSV[name]
    found, said = rows_of_csv(text)
    assert repr([(row["epoch"], row["loss"]) for row in found]) == repr(rows)
    assert said == problems


def test_json_lines() -> None:
    text = '{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": null}\n[3]\n{"epoch": 4, "loss": true}\n{"epoch": 5, "lo'
    rows, problems = rows_of_json_lines(text)
    assert repr(rows) == repr([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": math.nan}])
    assert problems == ["line 5 is no JSON", "line 3 has no epoch", "line 4: True of 'loss' is no number"]


@hookimpl
def on_safe_point(trainer: Trainer, state: State) -> None:
    if state.position == "epoch":
        trainer.checkpoints.save()


def test_the_newest_checkpoint_that_is_whole(tmp_path: Path) -> None:
    rows = tiny_trainer(run_dir=tmp_path, plugins=[on_safe_point]).fit(epochs=3)
    assert rows_in(tmp_path) == (rows, [])
    newest = tmp_path / "checkpoints" / "step-00000006"
    os.truncate(newest / "model.safetensors", 10)
    assert rows_in(tmp_path) == (rows, []), "rows need no weights"
    os.truncate(newest / "state.json", 10)
    assert rows_in(tmp_path) == (rows[:2], ["checkpoints/step-00000006 is damaged: state.json is not as it was written"])


def test_files_come_before_checkpoints(tmp_path: Path) -> None:
    tiny_trainer(run_dir=tmp_path, plugins=[on_safe_point]).fit(epochs=1)
    (tmp_path / "history.jsonl").write_text('{"epoch": 1, "loss": 2}\n')
    assert rows_in(tmp_path)[0] == [{"epoch": 1, "loss": 2}]
    (tmp_path / "history.csv").write_text("epoch,loss\n1,3\n")
    assert rows_in(tmp_path)[0] == [{"epoch": 1, "loss": 3}]
    (tmp_path / "history.csv").write_bytes(b"\xff\xfe")
    rows, (problem,) = rows_in(tmp_path)
    assert rows == []
    assert problem.startswith("history.csv cannot be read ('utf-8' codec")
    assert rows_in(tmp_path / "nothing") == ([], [])

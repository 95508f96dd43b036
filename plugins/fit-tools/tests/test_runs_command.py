"""`fit runs`: one line per run, whatever is left of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fit_core import FitError
from fit_core.cli import main
from fit_tools.best import At, Extremes, by_value, chosen, direction, extremes
from fit_tools.differing import differing, shown
from fit_tools.found import Found, found, runs_below
from fit_tools.overview import lines, ordered
from fit_tools.table import Column, fitting, lines_of


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What `fit runs --format json` says, by the name of the folder."""
    assert main(["runs", *words, "--format", "json"]) == 0
    return {Path(each["run"]).name: each for each in json.loads(capsys.readouterr().out)}


def made(rows: list[dict[str, float]], folder: str = "run", **manifest: Any) -> Found:
    return Found(Path(folder), "done", (), {"script": {"path": "script.py"}, **manifest}, rows, None)


def test_each_run_has_a_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    head, *rest = capsys.readouterr().out.splitlines()
    columns = head.split()
    assert columns[:5] == ["run", "status", "began", "took", "epochs"]
    assert columns[5:10] == ["val_loss", "val_accuracy", "test_loss", "test_accuracy", "loss"]
    assert columns[-2:] == ["lr", "at_the_end"], "neither the seed nor the length differs"
    assert [line.split()[0] for line in rest[:3]] == [f"runs/script/{name}" for name in ("fail", "kill", "look")], "the newest is first"
    assert [line.split()[1] for line in rest[:3]] == ["failed", "killed", "done"]


def test_everything_for_programs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys)
    done = found["look"]
    assert (done["status"], done["epochs"], done["seed"], done["problems"]) == ("done", 3, 5, [])
    assert done["options"] == {"lr": "0.1", "at_the_end": "look"}
    assert {each["total_epochs"] for each in found.values()} == {3}
    assert [row["epoch"] for row in done["rows"]] == [1, 2, 3]
    value = done["values"]["val_accuracy"]
    assert value["more_is_better"] is True
    assert value["best"] == value["max"]
    assert value["best"]["value"] == max(row["val_accuracy"] for row in done["rows"])
    assert done["values"]["interval_x"] == {
        "more_is_better": None,
        "best": None,
        "min": {"value": 1.0, "epoch": 1},
        "max": {"value": 3.0, "epoch": 3},
    }
    assert done["test"].keys() == {"test_loss", "test_accuracy"}
    assert 0 < done["seconds"] < 60
    assert (found["kill"]["epochs"], found["fail"]["epochs"]) == (2, 2), "of a run that died, what its last checkpoint has"
    assert 0 < found["kill"]["seconds"] < 60, "until it last wrote something"


def test_one_that_is_going_on(runs: Path) -> None:
    (seen,) = json.loads((runs / "seen.json").read_text())
    assert seen["status"] == "running"
    assert seen["seconds"] > 0


def test_sorted(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_loss = listed(capsys, "--sort", "val_loss")
    best = [each["values"]["val_loss"]["best"]["value"] for each in by_loss.values()]
    assert best == sorted(best)
    by_accuracy = listed(capsys, "--sort", "val_accuracy")
    best = [each["values"]["val_accuracy"]["best"]["value"] for each in by_accuracy.values()]
    assert best == sorted(best, reverse=True)
    assert next(iter(listed(capsys, "--sort", "interval_x", "--mode", "max"))) == "look"
    assert list(listed(capsys, "--sort", "lr")) == ["fail", "look", "kill"]
    assert list(listed(capsys, "--sort", "began")) == ["fail", "kill", "look"]
    assert next(iter(listed(capsys, "--sort", "epochs"))) == "look"


MISTAKES = {
    "no folder": (["nowhere"], "there is no folder nowhere; name a run folder, or one with runs below"),
    "no runs": (["empty"], "there are no runs in empty; name a run folder, or one with runs below"),
    "no metric": (["--metric", "los"], "no run has a value 'los' (there are: accuracy, epoch, "),
    "no column": (["--sort", "statsu"], "cannot sort by 'statsu' (there are: run, status, began, took, epochs, "),
    "no direction": (
        ["--sort", "interval_x"],
        "it is not known of every run whether more of 'interval_x' is better; say so: --mode min or --mode max",
    ),
    "one run": (["compare", "runs/script/look"], "compare needs two runs or more: fit runs compare RUN RUN"),
    "no run": (["compare", "runs/script/look", "empty"], "there is no run in empty; name its folder: `fit runs` lists what there is"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "empty").mkdir()
    words, expected = MISTAKES[name]
    assert main(["runs", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fit: {expected}")


def test_what_is_damaged_is_listed_with_what_is_wrong(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harmed = runs / "runs" / "harmed"
    text = (runs / "runs/script/look/manifest.json").read_text()
    manifests = {
        "half": text[:300],
        "empty": "",
        "list": "[]",
        "other": '{"name": "an app"}',
        "odd": json.dumps({**json.loads(text), "options": 3, "plugins": ["x"], "started": "yesterday", "seconds": None, "test": {"a": {}}}),
        "elsewhere": json.dumps({**json.loads(text), "status": "running", "process": {"host": "moon", "pid": 1}}),
    }
    for name, written in manifests.items():
        (harmed / name).mkdir(parents=True)
        (harmed / name / "manifest.json").write_text(written)
    (harmed / "history").mkdir()
    (harmed / "history" / "history.csv").write_text("epoch,loss\n1,0.5\n2,0.4")
    (harmed / "draft").mkdir()
    (harmed / "draft" / ".manifest.json.123").write_text("{")
    os.truncate(next((runs / "runs/script/look/checkpoints").glob("*/state.json")), 10)
    found = listed(capsys)
    assert {name: found[name]["status"] for name in (*manifests, "history", "draft", "look")} == {
        **dict.fromkeys(["half", "empty", "list", "other", "history", "draft"], "damaged"),
        "odd": "done",
        "elsewhere": "running",
        "look": "done",
    }
    problems = {name: found[name]["problems"][0] for name in found if found[name]["problems"]}
    assert problems["half"].startswith("manifest.json cannot be read (")
    assert problems["list"] == problems["other"] == "manifest.json is not that of a run"
    assert problems["history"] == problems["draft"] == "there is no manifest.json"
    assert problems["odd"] == "manifest.json: 'options' is not what fit writes there"
    assert problems["elsewhere"] == "whether it still runs can be told only on moon"
    assert problems["look"].endswith("is damaged: state.json is not as it was written")
    assert found["history"]["rows"] == [{"epoch": 1, "loss": 0.5}]
    assert main(["runs", "--sort", "loss"]) == 0
    said = capsys.readouterr().out
    assert "runs/harmed/history: history.csv: the last line is torn" in said
    assert all(f"runs/harmed/{name}: " in said for name in ("half", "list", "odd", "elsewhere", "draft"))


def test_torch_is_not_imported_if_rows_are_in_files(runs: Path) -> None:
    for folder in (runs / "runs" / "script").iterdir():
        (folder / "history.csv").write_text("epoch,loss\n1,0.5\n")
    code = "import sys; from fit_core.cli import main; main(['runs']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_directions_are_recorded_or_asked_for_and_never_guessed() -> None:
    run = made([{"epoch": 1, "x": 2.0}], directions={"x": None, "val_x": True, "odd_loss": None, "odd": "yes"})
    assert [direction(run, name) for name in ("x", "val_x", "odd_loss", "kl_loss", "loss", "odd", "lossy", "interval_x")] == [
        *(None, True, None, False, False, None, None, None)
    ]
    assert [direction(run, name, "max") for name in ("x", "val_x", "kl_loss")] == [True, True, False]
    runs = [run, made([{"epoch": 1, "x": 1.0}], directions={"x": True})]
    with pytest.raises(FitError, match="--mode min or --mode max"):
        by_value(runs, "x", None)
    assert by_value(runs, "x", "max")[0] is run


def test_extremes() -> None:
    nan = float("nan")
    rows = [{"epoch": epoch, "x": value, "n": nan} for epoch, value in enumerate((nan, 2.0, 1.0, 2.0), 1)]
    run = made(rows, directions={"x": True}, test={"test_x": 3.0})
    assert extremes(run, "x") == Extremes(At(1.0, 3), At(2.0, 2), True)
    assert [extremes(run, name).text(name) for name in ("x", "n", "test_x")] == ["2.0000 @2", "nan @1", "3.0000"]  # type: ignore[union-attr]
    assert extremes(run, "y") is None
    assert extremes(made(rows), "x").text("x") == "1.0000 @3 to 2.0000 @2"  # type: ignore[union-attr]
    assert chosen([made([{"epoch": 1, "d_lr": 0.1, "lr": 1, "loss": 1, "val_x": 1, "seconds": 1, "interval_x": 1}])], ()) == [
        *("val_x", "loss", "interval_x")
    ]


def test_options_differ_within_a_script_and_among_runs_with_the_plugin() -> None:
    es = {"name": "early-stopping", "options": {"patience": "5", "mode": "'min'"}}
    one = made([], options={"lr": 0.1, "same": 1}, plugins=[es], seed=1)
    two = made([], options={"lr": 0.2, "same": 1}, plugins=[], seed=1)
    other = made([], options={"width": 3}, plugins=[], seed=1, script={"path": "other.py"})
    damaged = Found(Path("damaged"), "damaged", ("there is no manifest.json",), {}, [], None)
    runs = [one, two, other, damaged]
    assert differing(runs) == ["lr", "plugins"]
    assert [shown(runs, name) for name in ("lr", "plugins")] == [["0.1", "0.2", "-", "-"], ["early-stopping", "-", "-", "-"]]
    assert one.options["early-stopping.mode"] == "min"


@pytest.mark.parametrize("width", [60, 80, 160, 240])
def test_lines_fit_the_terminal(width: int, runs: Path) -> None:
    found_ = runs_below(Path("runs"), time.time())
    said = lines(found_, (), width)
    assert max(map(len, said)) <= width
    assert [line.split()[:2] for line in said[:4]] == [
        ["run", "status"],
        *([str(run.folder), run.status] for run in found_),
    ]
    assert "val_loss" in said[0]
    assert "lr" in said[0]
    assert any(line.startswith("no room for: ") for line in said) is (width < 240)


def test_a_table_leaves_out_what_tells_least() -> None:
    columns = [Column("run", ["a" * 50], 0, from_right=True), Column("b", ["1234567890"], 2), Column("c", ["x"], 1)]
    shown_, hidden = fitting(columns, 35)
    assert (lines_of(shown_), hidden) == ([f"{'run':21}  c", f"...{'a' * 18}  x"], ["b"])
    assert fitting(columns, None) == (columns, [])


def test_ordering_by_options_is_by_numbers() -> None:
    runs = [made([], options={"lr": lr}) for lr in (10, 9, "big", 0.1)] + [made([])]
    assert [run.options.get("lr") for run in ordered(runs, "lr", None)] == ["0.1", "9", "10", "big", None]


def test_a_run_folder_alone(runs: Path) -> None:
    alone = found(runs / "runs/script/look", time.time())
    assert [run.folder for run in runs_below(alone.folder, time.time())] == [alone.folder]

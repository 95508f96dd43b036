"""`fit replay`: rows of a run that is over, sent to plugins."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fit_core.cli import main
from fit_core.testing import Outcome
from fit_tools.found import run_at
from fit_tools.history import rows_in
from fit_tools.replay import directions, moments, steps_per_epoch, times, validation

LOOK = "runs/script/look"
PLUGIN = """
import json
from fit_core import hookimpl

class Noting:
    def __init__(self):
        self.heard = []

    @hookimpl
    def on_log(self, trainer, entries):
        for entry in entries:
            self.heard.append({"step": entry.step, "epoch": entry.epoch, "time": entry.time, "values": dict(entry.values)})
        (trainer.ensure_run_dir() / "heard.json").write_text(json.dumps(self.heard))

    @hookimpl
    def on_epoch_end(self, trainer, state, row):
        directions = {metric.name: metric.higher_is_better for metric in trainer.metrics}
        self.heard.append({"row": dict(row), "epochs": state.epochs, "directions": directions, "validation": state.validation})

    @hookimpl
    def on_teardown(self, trainer):
        (trainer.ensure_run_dir() / "heard.json").write_text(json.dumps(self.heard))
"""


def contents(folder: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("**/*") if path.is_file()}


@pytest.fixture
def noting(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin `noting`, in a distribution of its own."""
    (runs / "noting.py").write_text(PLUGIN)
    info = runs / "noting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fit.plugins]\nnoting = noting:Noting\n")
    monkeypatch.syspath_prepend(runs)
    return runs


@pytest.mark.parity("T24")
def test_rows_are_sent_and_nothing_of_the_run_changes(noting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, rows = contents(noting / LOOK), rows_in(noting / LOOK)[0]
    assert main(["replay", LOOK, "--plugins", "noting", "--run-dir", "runs/again"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert last == "files in runs/again"
    assert contents(noting / LOOK) == before
    heard = json.loads((noting / "runs/again/heard.json").read_text())
    logged, noted = heard[::2], heard[1::2]
    assert [each["row"] for each in noted] == rows
    assert (noted[0]["epochs"], noted[0]["directions"], noted[0]["validation"]) == (3, {"accuracy": True}, ["val_"])
    assert [(each["step"], each["epoch"]) for each in logged] == [(2, 1), (4, 2), (6, 3)]
    assert logged[0]["values"] == {f"epoch/{name}": value for name, value in rows[0].items() if name != "epoch"}
    began = run_at(noting / LOOK, 0.0).began
    assert began is not None
    assert logged[0]["time"] == pytest.approx(began.timestamp() + rows[0]["seconds"])


def test_what_is_written_is_known_to_be_a_replay(noting: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", LOOK, "-p", "noting", "--run-dir", "runs/again", "-q"]) == 0
    assert capsys.readouterr().out == ""
    manifest = json.loads((noting / "runs/again/manifest.json").read_text())
    assert (manifest["status"], manifest["replayed"]["run"], manifest["options"]["lr"]) == ("replayed", LOOK, 0.1)
    assert [plugin["name"] for plugin in manifest["plugins"]] == ["noting"]
    assert main(["runs", "runs/again"]) == 0
    assert "runs/again  replayed  " in capsys.readouterr().out


def test_without_a_plugin_that_writes_nothing_is_written(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(runs)
    assert main(["replay", LOOK, "--run-dir", "runs/again"]) == 0
    assert capsys.readouterr().out.startswith("epoch 1/3  loss ")
    assert contents(runs) == before


MISTAKES = {
    "no run": (["nowhere"], "there is no run in nowhere; name its folder: `fit runs` lists what there is"),
    "itself": ([LOOK, "--run-dir", LOOK], f"{LOOK} is in the run that is replayed, whose files stay as they are; choose another --run-dir"),
    "inside": ([LOOK, "--run-dir", f"{LOOK}/x"], f"{LOOK}/x is in the run that is replayed, whose files"),
    "another run": ([LOOK, "--run-dir", "runs/script/kill"], "runs/script/kill holds a run already; choose another --run-dir"),
    "no plugin": ([LOOK, "--plugins", "consol"], "no plugin named 'consol' (installed: "),
    "no rows": (["runs/rowless"], "runs/rowless has no rows to send: neither a history nor a checkpoint has one"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "runs" / "rowless").mkdir()
    (runs / "runs" / "rowless" / "manifest.json").write_bytes((runs / LOOK / "manifest.json").read_bytes())
    words, expected = MISTAKES[name]
    assert main(["replay", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fit: {expected}")


def test_the_command_as_a_process(runs: Path, run_fit: Callable[..., Outcome]) -> None:
    done = run_fit("replay", "runs/script/kill", cwd=runs)
    assert done.code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2, "what its last checkpoint has"


def test_steps_are_counted_where_every_epoch_has_as_many() -> None:
    assert steps_per_epoch({"steps": 20, "epochs": 4}) == 5
    assert [steps_per_epoch(manifest) for manifest in ({}, {"steps": 21, "epochs": 4}, {"steps": 0, "epochs": 0}, {"steps": 3})] == [1] * 4
    assert steps_per_epoch({"steps": 20, "epochs": 4, "unfinished": {"loss": 1.0}}) == 1


def test_times_and_names(runs: Path) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    assert times([{"epoch": 1, "seconds": 2.0}, {"epoch": 2}, {"epoch": 3, "seconds": 1.0}], began) == [
        began.timestamp() + seconds for seconds in (2, 2, 3)
    ]
    run = run_at(runs / LOOK, 0.0)
    assert (directions(run), validation(run)) == ({"accuracy": True}, ("val_",))
    assert [moment.step for moment in moments(run)] == [2, 4, 6]

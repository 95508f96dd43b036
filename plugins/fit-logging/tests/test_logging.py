"""progress and csv, through the trainer."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import TINY_SCRIPT, Outcome
from fit_logging import CSV, Progress
from fit_logging.rows import read_rows, write_rows
from fit_logging.table import Table

TinyTrainer = Callable[..., Trainer]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_bundle_shows_progress_and_writes_a_file(run_script: Callable[..., Outcome]) -> None:
    done = run_script(TINY_SCRIPT, "--plugins", "logging")
    assert done.code == 0, done.stderr
    heading, first, second, *_ = done.stdout.splitlines()
    assert heading.split() == ["epoch", "loss", "val_loss", "lr", "seconds"]
    assert (first.split()[0], second.split()[0]) == ("1/2", "2/2")
    assert len(heading) == len(first) == len(second)
    assert [row["epoch"] for row in done.rows] == ["1", "2"]
    assert float(done.rows[1]["val_loss"]) == pytest.approx(done.manifest["last_row"]["val_loss"])
    assert [plugin["name"] for plugin in done.manifest["plugins"]] == ["progress", "csv", "save-last"]


def test_every_row_is_in_the_file_when_its_epoch_ends(tiny_trainer: TinyTrainer, tmp_path: Path) -> None:
    counted = []

    class Reader:
        @hookimpl
        def on_safe_point(self, state: State) -> None:
            if state.position == "epoch":
                counted.append(len(rows_of(tmp_path / "history.csv")))

    trainer = tiny_trainer(plugins=[CSV(), Reader()], run_dir=tmp_path)
    trainer.fit(epochs=3)
    assert counted == [1, 2, 3]
    trainer.fit(epochs=1)
    rows = rows_of(tmp_path / "history.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"], "a second fit goes on in the same file"
    assert float(rows[2]["loss"]) == trainer.history[2]["loss"], "numbers are written in full"


def test_a_column_that_appears_later(tiny_trainer: TinyTrainer, tmp_path: Path) -> None:
    class Late:
        @hookimpl
        def on_batch_end(self, trainer: Trainer, state: State) -> None:
            if state.epoch == 2:
                trainer.record("late", 1.0)

    tiny_trainer(plugins=["csv", Late()], run_dir=tmp_path).fit(epochs=3)
    rows = rows_of(tmp_path / "history.csv")
    assert [row["late"] for row in rows] == ["", "1.0", ""]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"], "no draft is left"


def test_evaluate_and_predict_leave_the_file_alone(tiny_trainer: TinyTrainer, tmp_path: Path) -> None:
    trainer = tiny_trainer(plugins=["csv"], run_dir=tmp_path)
    trainer.fit(epochs=2)
    before = (tmp_path / "history.csv").read_bytes()
    trainer.evaluate()
    trainer.predict(trainer.test_data)
    assert (tmp_path / "history.csv").read_bytes() == before


def test_an_older_run_is_never_overwritten(tiny_trainer: TinyTrainer, tmp_path: Path) -> None:
    tiny_trainer(plugins=["csv"], run_dir=tmp_path).fit(epochs=1)
    with pytest.raises(FitError, match=r"history.csv exists already; choose another run folder or path, so that no run is lost"):
        tiny_trainer(plugins=["csv"], run_dir=tmp_path).fit(epochs=1)
    assert len(rows_of(tmp_path / "history.csv")) == 1


def test_without_a_run_folder_one_is_made(tiny_trainer: TinyTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainers = [tiny_trainer(plugins=["csv"]) for _ in range(2)]
    for trainer in trainers:
        trainer.fit(epochs=1)
    folders = [trainer.run_dir for trainer in trainers]
    assert len(set(folders)) == 2, "two runs never write one file"
    assert all(folder is not None and (folder / "history.csv").exists() for folder in folders)


def test_a_path_of_ones_own(tiny_trainer: TinyTrainer, tmp_path: Path) -> None:
    tiny_trainer(plugins=[f"csv:path={tmp_path}/deep/mine.csv"]).fit(epochs=1)
    assert rows_of(tmp_path / "deep" / "mine.csv")


def test_progress_prints_a_table(tiny_trainer: TinyTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    class Stop:
        @hookimpl
        def on_epoch_end(self, trainer: Trainer, state: State) -> None:
            if state.epoch == 2:
                trainer.stop("enough")

    trainer = tiny_trainer(plugins=[Progress(), Stop()], quiet=False)
    assert "console" not in trainer.plugins
    trainer.fit(epochs=3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[-1] == "stopped at the end of epoch 2: enough"
    assert not re.search(r"[^ -~]", "".join(lines)), "plain text where there is no terminal"


def test_quiet_silences_progress(tiny_trainer: TinyTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_trainer(plugins=["progress"], quiet=True).fit(epochs=1)
    assert capsys.readouterr().out == ""


def test_a_table_repeats_its_heading_when_columns_change() -> None:
    table = Table()
    assert table.lines({"a": "1", "long_name": "2"}) == ["       a  long_name", "       1          2"]
    assert table.lines({"a": "3", "long_name": "4"}) == ["       3          4"]
    assert table.lines({"a": "5"}) == ["       a", "       5"]


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    assert read_rows(path) == []
    rows: list[dict[str, Any]] = [{"a": 1, "b": 'x,"y"'}, {"a": float("nan")}]
    write_rows(path, ["a", "b"], rows[:1])
    write_rows(path, ["a", "b"], rows[1:], append=True)
    assert read_rows(path) == [{"a": "1", "b": 'x,"y"'}, {"a": "nan", "b": ""}]

"""progress and csv, through the trainer."""

from __future__ import annotations

import csv
import logging
import math
import random
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import TINY_SCRIPT, Outcome, tiny_batches
from fit_core.testing import tiny_trainer as make_tiny
from fit_logging import CSV, JSONL, Progress, StepLog, TextLog
from fit_logging.row_file import RowFile
from fit_logging.rows import append_rows, read_rows, write_rows
from fit_logging.table import Table

TinyTrainer = Callable[..., Trainer]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_bundle_shows_progress_and_writes_a_file(run_script: Callable[..., Outcome]) -> None:
    done = run_script(TINY_SCRIPT, "--plugins", "logging")
    assert done.code == 0, done.stderr
    heading, first, second, blank, best, *_ = done.stdout.splitlines()
    assert heading.split() == ["epoch", "loss", "val_loss", "lr", "seconds"]
    assert (first.split()[0], second.split()[0]) == ("1/2", "2/2")
    assert len(heading) == len(first) == len(second)
    assert (blank, best.split()) == ("", ["best", "of", "epoch", "last"])
    assert re.search(r"^2 epochs, \d+ steps in 0:0\d$", done.stdout, re.MULTILINE)
    assert [row["epoch"] for row in done.rows] == ["1", "2"]
    assert float(done.rows[1]["val_loss"]) == pytest.approx(done.manifest["last_row"]["val_loss"])
    assert [plugin["name"] for plugin in done.manifest["plugins"]] == ["progress", "csv", "save-last"]


@pytest.mark.parity("C14")
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


@pytest.mark.parity("B16")
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


@pytest.mark.parity("P1", "P3")
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
    assert [line.split()[0] for line in lines[:3]] == ["epoch", "1/3", "2/3"]
    assert lines[-1] == "stopped at the end of epoch 2: enough"
    assert not re.search(r"[^ -~]", "".join(lines)), "plain text where there is no terminal"


def test_quiet_silences_progress(tiny_trainer: TinyTrainer, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_trainer(plugins=["progress"], quiet=True).fit(epochs=1)
    assert capsys.readouterr().out == ""


def test_a_table_repeats_its_heading_when_columns_change() -> None:
    table = Table()
    assert table.lines({"a": "1", "long_name": "2"}) == ["       a  long_name", "       1          2"]
    assert table.lines({"a": "3", "long_name": "4"}) == ["       3          4"]
    assert table.lines({"a": "5", "b": "6"}, best=["a"]) == ["       a         b", "       5*        6"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_rows_are_read_as_they_were_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert read_rows(path) == []
    rows: list[dict[str, Any]] = [{"a": 1, "b": 'x,"y"\nz'}, {"a": math.nan}, {"a": 0.1, "b": math.inf}]
    write_rows(path, ["a", "b"], rows[:1])
    append_rows(path, ["a", "b"], rows[1:])
    read = read_rows(path)
    if name == "rows.csv":
        assert read == [{"a": "1", "b": 'x,"y"\nz'}, {"a": "nan", "b": ""}, {"a": "0.1", "b": "inf"}]
    else:
        assert read == [{"a": 1, "b": 'x,"y"\nz'}, {"a": None}, {"a": 0.1, "b": None}]
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert read_rows(path) == read[:2], "a row that is cut off is no row"


def test_json_lines_and_the_numbers_of_every_step(tmp_path: Path) -> None:
    class Logs:
        @hookimpl
        def on_step_end(self, trainer: Trainer, state: State) -> None:
            if state.step == 3:
                trainer.log({"late": 3.0})

    trainer = make_tiny(
        plugins=["jsonl", "step-log", "step-log-2=step-log:path=steps.jsonl", Logs()],
        run_dir=tmp_path,
        train_data=tiny_batches(4),
        log_every=3,
    )
    rows = trainer.fit(epochs=2)
    trainer.evaluate(tiny_batches(2))
    trainer.close()
    assert read_rows(tmp_path / "history.jsonl") == rows
    steps = read_rows(tmp_path / "steps.csv")
    assert [row["step"] for row in steps if row["loss"]] == [str(i) for i in range(1, 9)]
    assert [row["step"] for row in steps if row["late"]] == ["3"]
    assert {row["phase"] for row in steps} == {"train"}
    assert [float(row["epoch/loss"]) for row in steps if row["epoch/loss"]] == [row["loss"] for row in rows]
    assert list(steps[0])[:4] == ["step", "epoch", "phase", "time"]
    as_json = read_rows(tmp_path / "steps.jsonl")
    assert [row["loss"] for row in as_json if "loss" in row] == [float(row["loss"]) for row in steps if row["loss"]]
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix in (".csv", ".jsonl")) == [
        "history.jsonl",
        "steps.csv",
        "steps.jsonl",
    ]


def test_a_file_is_written_by_one_run_at_a_time(tmp_path: Path) -> None:
    program = f"""
    import sys
    from pathlib import Path
    from fit_logging.row_file import RowFile
    file = RowFile(Path({str(tmp_path / "history.csv")!r}))
    file.begin()
    file.add([{{"a": 1}}])
    print("ready", flush=True)
    sys.stdin.read()
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        file = RowFile(tmp_path / "history.csv")
        with pytest.raises(FitError, match=r"history.csv is being written by another run; choose another run folder or path"):
            file.go_on([{"a": 1}])
        other.kill()
    file.go_on([{"a": 1}, {"a": 2}])
    assert read_rows(tmp_path / "history.csv") == [{"a": "1"}, {"a": "2"}], "a lock dies with its process"
    file.close()


@pytest.mark.parametrize("every", [3, 50])
def test_files_of_a_run_that_was_interrupted_go_on(tmp_path: Path, every: int) -> None:
    """Neither row nor step is doubled or missing, wherever the run goes on."""
    plugins = ["csv", "jsonl", "step-log"]

    def train(folder: Path, halt: int | None) -> None:
        class Halt:
            passive = True

            @hookimpl
            def on_batch_end(self, state: State) -> None:
                if state.batch_count == halt:
                    raise RuntimeError("halt")

        class Save:
            passive = True

            @hookimpl
            def on_safe_point(self, trainer: Trainer, state: State) -> None:
                if state.batch_count == 7 and halt:
                    trainer.save(folder / "saved")

        with make_tiny(
            plugins=[*plugins, Halt(), Save()], run_dir=folder, train_data=tiny_batches(5), seed=1, accumulate=2, log_every=every
        ) as trainer:
            if halt is None and (folder / "saved").exists():
                trainer.fit(epochs=3, resume=folder / "saved")
            elif halt is None:
                trainer.fit(epochs=3)
            else:
                with pytest.raises(RuntimeError, match="halt"):
                    trainer.fit(epochs=3)

    train(tmp_path / "whole", None)
    train(tmp_path / "parts", 13)
    train(tmp_path / "parts", None)
    for name in ("history.csv", "history.jsonl", "steps.csv"):
        whole, parts = (read_rows(tmp_path / part / name) for part in ("whole", "parts"))
        for row in [*whole, *parts]:
            for clock in ("time", "seconds", "epoch/seconds"):
                row.pop(clock, None)
        assert parts == whole, name


def test_a_text_log_listens_to_one_logger(tmp_path: Path) -> None:
    mine, other = logging.getLogger("mine"), logging.getLogger("other")

    class Talks:
        @hookimpl
        def on_batch_end(self, state: State) -> None:
            logging.getLogger("mine.part").info("batch %s", state.batch)
            mine.debug("not this")
            other.error("nor this")

    before = (mine.level, list(mine.handlers), logging.getLogger().level, list(logging.getLogger().handlers))
    with make_tiny(plugins=["text-log:logger=mine", Talks()], run_dir=tmp_path, train_data=tiny_batches(2)) as trainer:
        trainer.fit(epochs=1)
    text = (tmp_path / "log.txt").read_text()
    assert [line.rsplit("  ", 1)[1] for line in text.splitlines()[:3]] == ["begun", "batch 1", "batch 2"]
    assert "not this" not in text
    assert "nor this" not in text
    assert re.search(r"INFO +mine  epoch 1/1  loss 1\.\d+", text)
    assert (mine.level, mine.handlers, logging.getLogger().level, logging.getLogger().handlers) == before
    mine.error("after the end")
    assert "after the end" not in (tmp_path / "log.txt").read_text()


def test_a_text_log_keeps_what_went_wrong(tmp_path: Path) -> None:
    class Fails:
        @hookimpl
        def on_batch_end(self) -> None:
            raise ValueError("no more")

    trainer = make_tiny(plugins=["text-log", Fails()], run_dir=tmp_path)
    with pytest.raises(ValueError, match="no more"):
        trainer.fit(epochs=1)
    trainer.close()
    assert "ERROR   fit  ValueError: no more" in (tmp_path / "log.txt").read_text()


def test_pandas_reads_the_files(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    rows = make_tiny(plugins=["csv", "jsonl"], run_dir=tmp_path).fit(epochs=2)
    assert pandas.read_csv(tmp_path / "history.csv")["loss"].tolist() == pytest.approx([row["loss"] for row in rows])
    assert pandas.read_json(tmp_path / "history.jsonl", lines=True)["loss"].tolist() == pytest.approx([row["loss"] for row in rows])


def test_every_row_that_was_written_survives_a_kill(tmp_path: Path) -> None:
    """Rows are written as fast as can be, with a column more now and then; whoever kills finds all that were reported."""
    program = """
    import itertools, sys
    from pathlib import Path
    from fit_logging.row_file import RowFile
    file = RowFile(Path(sys.argv[1]))
    file.begin()
    for i in itertools.count():
        file.add([{"i": i, **({f"late{i // 50}": i} if i % 50 == 0 else {}), "long": "x" * 500}])
        print(i, flush=True)
    """
    chooser = random.Random(3)
    for name in ("history.csv", "history.jsonl") * 3:
        path = tmp_path / f"{chooser.random()}" / name
        command = [sys.executable, "-c", textwrap.dedent(program), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chooser.random() / 5)
            process.kill()
            reported = process.stdout.read().split()
        last = int(reported[-1]) if reported else 0
        rows = read_rows(path)
        assert [int(row["i"]) for row in rows][: last + 1] == list(range(last + 1))
        assert len(rows) <= last + 2
        assert all(row["long"] == "x" * 500 for row in rows)


@pytest.mark.parity("B20", "B22")
@pytest.mark.parametrize("how", ["stop", "error"])
def test_however_a_run_ends_its_files_are_closed(tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    class Ends:
        @hookimpl
        def on_batch_end(self, trainer: Trainer, state: State) -> None:
            if state.batch_count == 3:
                if how == "error":
                    raise KeyboardInterrupt
                trainer.stop("enough")

    trainer = make_tiny(plugins=["logging", "step-log", Ends()], run_dir=tmp_path, train_data=tiny_batches(2), quiet=False)
    if how == "error":
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(epochs=3)
    else:
        trainer.fit(epochs=3)
        assert "loss" in (trainer.unfinished or {})
        assert re.search(
            r"^stopped in epoch 2, batch 1 \(train\): enough \(so far: loss [01]\.\d+\)$", capsys.readouterr().out, re.MULTILINE
        )
    for name in ("history.csv", "steps.csv"):
        file = RowFile(tmp_path / name)
        file.open()  # nobody has it any more
        file.close()
    assert len(rows_of(tmp_path / "history.csv")) == 1
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("plugin", "name"), [(CSV, "mine.csv"), (JSONL, "mine.jsonl"), (StepLog, "mine.csv"), (TextLog, "mine.txt")])
def test_a_path_may_be_text(plugin: Any, name: str, tmp_path: Path) -> None:
    make_tiny(plugins=[plugin(name)], run_dir=tmp_path).fit(epochs=1)
    assert (tmp_path / name).read_text()

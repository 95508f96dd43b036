"""What people see: on a terminal of any width, in a notebook, in a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyte
import pytest

from fit_core import FitError
from fit_core.testing import tiny_trainer
from fit_logging import Progress
from fit_logging.best import Best
from fit_logging.status import Status, clock
from fit_logging.table import Table

SCRIPT = """
import time, torch
from functools import partial
from torch import nn
from fit_core import Trainer, hookimpl

class Slow:
    passive = True

    @hookimpl
    def on_batch_end(self):
        time.sleep(0.03)

    @hookimpl
    def on_epoch_start(self, state):
        if state.epoch == 2:
            print("a line of the user's own")

def build_trainer(epochs: int = 2):
    x = torch.randn(480, 8)
    y = (x[:, 0] > 0).long()
    return Trainer(
        nn.Linear(8, 2), nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1), metrics=["accuracy"],
        train_data=(x[:320], y[:320]), val_data=(x[320:], y[320:]), test_data=(x[320:], y[320:]), epochs=epochs, plugins=[Slow()],
    )
"""


class Seen:
    """What a terminal has shown.

    Attributes:
        raw: everything that was written to it.
        lines: what stands on it in the end.
        moments: every different last line that was there in between.
    """

    def __init__(self, command: list[str], cwd: Path, width: int, **environment: str) -> None:
        screen = pyte.Screen(width, 60)
        stream = pyte.ByteStream(screen)
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 60, width, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        variables = {**inherited, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color", **environment}
        process = subprocess.Popen(command, cwd=cwd, stdin=side, stdout=side, stderr=side, env=variables)
        os.close(side)
        self.raw, self.moments = b"", list[str]()
        while select.select([main], [], [], 60)[0]:
            try:
                read = os.read(main, 65536)
            except OSError:  # the other end is closed
                break
            self.raw += read
            stream.feed(read)
            shown = [line.rstrip() for line in screen.display if line.strip()]
            if shown and (not self.moments or self.moments[-1] != shown[-1]):
                self.moments.append(shown[-1])
        os.close(main)
        assert process.wait() == 0, self.raw.decode()
        self.lines = [line.rstrip() for line in screen.display if line.strip()]


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    (tmp_path / "script.py").write_text(SCRIPT)
    return [sys.executable, "-P", "-m", "fit_core", "train", "script.py", "--plugins", "progress", "--seed", "1"]


@pytest.mark.parity("P1", "P2", "T8")
@pytest.mark.parametrize("width", [60, 80, 160])
def test_a_terminal(script: list[str], tmp_path: Path, width: int) -> None:
    seen = Seen(script, tmp_path, width)
    assert max(map(len, seen.lines)) <= width
    running = [line for line in seen.moments if re.match(r"1/2  [━─]+  \d+/10", line)]
    assert running, seen.moments
    assert any(" left  loss 0." in line for line in running), running
    assert not any("━" in line for line in seen.lines), "nothing of the line is left in the end"
    assert "a line of the user's own" in seen.lines
    text = "\n".join(seen.lines)
    assert re.search(r"^ *1/2 ", text, re.MULTILINE)
    assert re.search(r"^ *2/2 ", text, re.MULTILINE)
    assert re.search(r"^val_accuracy +0\.\d+ +[12] +0\.\d+$", text, re.MULTILINE)
    assert re.search(r"^2 epochs, 20 steps in 0:0\d$", text, re.MULTILINE)
    assert seen.lines[-1].startswith("files in runs/script/")


def test_colours_can_be_switched_off(script: list[str], tmp_path: Path) -> None:
    colours = re.compile(rb"\x1b\[[0-9;]*3[0-7](;[0-9;]*)?m")
    assert colours.search(Seen(script, tmp_path, 100).raw)
    assert not colours.search(Seen(script, tmp_path, 100, NO_COLOR="1").raw)


def test_a_terminal_that_can_do_nothing(script: list[str], tmp_path: Path) -> None:
    assert b"\x1b" not in Seen(script, tmp_path, 100, TERM="dumb").raw


def test_a_pipe_and_standard_output_of_any_encoding(script: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1"}
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, env=environment, check=True)
    assert b"\x1b" not in done.stdout + done.stderr
    assert len([line for line in done.stdout.splitlines() if re.match(rb" *[12]/2 ", line)]) == 2


def test_evaluate_and_predict_say_how_far_they_are(script: list[str], tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(
        SCRIPT.replace("on_batch_end", "on_eval_batch_end")
        + "\ntrainer = build_trainer()\nfrom fit_logging import Progress\n"
        + "trainer = Trainer(trainer.model, trainer.loss_fn, metrics=['accuracy'], plugins=[Progress(), Slow()])\n"
        + "x = torch.randn(640, 8)\nprint(trainer.evaluate((x, (x[:, 0] > 0).long())))\nprint(len(trainer.predict(x)))\n"
    )
    seen = Seen([sys.executable, "look.py"], tmp_path, 80)
    assert any(re.match(r"testing  [━─]+  \d+/20  \d:\d\d left  loss \d\.", line) for line in seen.moments), seen.moments
    assert any(re.match(r"predicting  [━─]+  \d+/20", line) for line in seen.moments)
    assert [line[:12] for line in seen.lines] == ["{'test_loss'", "640"]


def test_a_notebook() -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    code = SCRIPT + (
        "\nbuilt = build_trainer()\ntrainer = Trainer(built.model, built.loss_fn, built.optimizer, train_data=built.train_data, "
        "plugins=['progress', Slow()])\nrows = trainer.fit(epochs=2)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    shown: list[str] = []

    class Client(nbclient.NotebookClient):  # type: ignore[misc]
        def process_message(self, message: Any, *arguments: Any) -> Any:
            if message["msg_type"] in ("display_data", "update_display_data"):
                shown.append(message["content"]["data"]["text/plain"])
            return super().process_message(message, *arguments)

    Client(notebook, timeout=60).execute()
    [cell] = notebook.cells
    text = "".join(output.get("text", "") for output in cell.outputs)
    assert re.search(r"^ *2/2 ", text, re.MULTILINE)
    assert [output["data"]["text/plain"] for output in cell.outputs if output["output_type"] == "display_data"] == [""]
    assert any(line.startswith("1/2  ━") for line in shown), shown


# --------------------------------------------------------------------------------------------------------------- parts


def test_what_does_not_fit_is_left_out() -> None:
    status = Status("train", "3/10", 30, 60, 75.0, {"loss": "0.1234", "accuracy": "0.9000"})
    lines = {width: "".join(status.line(width)) for width in (10, 20, 30, 44, 60, 100)}
    assert all(len(line) <= width for width, line in lines.items())
    assert lines[100] == "3/10  ━━━━━━━━━━━━────────────  30/60  1:15 left  loss 0.1234  accuracy 0.9000"
    assert lines[60] == "3/10  ━━━━━━━━━━━━───────────  30/60  1:15 left  loss 0.1234"
    assert lines[20] == "3/10  30/60"
    unknown = Status("validate", "3/10", 30, None, None, {})
    assert "".join(unknown.line(60)) == "3/10  validating  30"
    assert "".join(Status("test", "", 1, 2).line(40)) == "testing  ━━━━━━━━━━━━────────────  1/2"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (86400, "24:00:00"), (200000, "2 d 7 h")]
)
def test_times(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_best_so_far() -> None:
    best = Best({"accuracy": True, "interval_val_x": True, "gap": None}, ("val_", "val_other_"))
    assert best.take({"epoch": 1, "loss": 2.0, "val_loss": 3.0, "accuracy": 0.5, "lr": 0.1, "gap": 1.0}) == {"loss", "val_loss", "accuracy"}
    assert best.take({"epoch": 2, "loss": 2.0, "val_loss": float("nan"), "accuracy": 0.6}) == {"accuracy"}, "equal is no better"
    assert best.take({"epoch": 3, "val_loss": 2.0, "val_accuracy": 0.1, "interval_val_x": 1.0}) == {
        "val_loss",
        "val_accuracy",
        "interval_val_x",
    }
    assert (best.records["val_loss"].epoch, best.records["accuracy"].value) == (3, 0.6)


def test_a_row_that_does_not_fit() -> None:
    table = Table(30)
    assert table.lines({"epoch": "1/2", "loss": "0.5", "val_loss": "0.25", "accuracy": "0.75"}, best=["loss"]) == [
        "1/2  loss 0.5*  val_loss 0.25",
        "     accuracy 0.75",
    ]


def test_columns_are_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    tiny_trainer(plugins=["progress:columns=[loss]"], metrics=["accuracy"], quiet=False).fit(epochs=1)
    heading, row, _, _, *rest = capsys.readouterr().out.splitlines()
    assert heading.split() == ["epoch", "loss"]
    assert len(row.split()) == 2
    assert [line.split()[0] for line in rest[:-1]] == ["loss"]
    with pytest.raises(FitError, match="refresh must be above 0 seconds, not 0"):
        Progress(refresh=0)


def test_the_device_is_read_only_for_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times a second at most, and never where nobody looks."""
    looks: list[float] = []

    class Looking:
        live = True
        width = 80

        def line(self, text: str) -> None:
            """Show nothing."""

        def status(self, status: Status) -> None:
            looks.append(time.perf_counter())
            assert set(status.values) == {"loss", "accuracy"}

        def close(self) -> None:
            """Do nothing."""

    monkeypatch.setattr("fit_logging.progress.screen", Looking)
    data = tiny_trainer().train_data
    began = time.perf_counter()
    tiny_trainer(plugins=["progress:refresh=0.05"], metrics=["accuracy"], quiet=False, train_data=list(data) * 400).fit(epochs=1)
    took = time.perf_counter() - began
    assert 1 <= len(looks) <= took / 0.05 + 2
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(looks))

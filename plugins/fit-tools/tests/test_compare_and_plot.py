"""`fit runs compare` and `fit runs plot`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from PIL import Image

from fit_core.cli import main
from fit_tools.canvas import canvas
from fit_tools.comparing import Comparison, comparison, difference, lines
from fit_tools.curves import COLOURS
from fit_tools.found import Found

LOOK, KILL, FAIL = (f"runs/script/{name}" for name in ("look", "kill", "fail"))


def test_compare(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "compare", LOOK, KILL]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"[1] {LOOK}\n[2] {KILL}\n\nrun     [1]  ")
    assert [line.split() for line in said.splitlines() if line.startswith(("status", "lr", "at_the_end"))] == [
        ["status", "done", "killed"],
        ["lr", "0.1", "0.3"],
        ["at_the_end", "look", "kill"],
    ]
    assert "\nseed" not in said
    assert "\nversions" not in said
    assert f"\nthe script of {KILL} differs from that of {LOOK}\n--- {LOOK} script.py\n+++ {KILL} script.py\n@@ " in said
    assert "\n-    optimizer = partial(torch.optim.SGD, lr=lr)\n+    optimizer = partial(torch.optim.SGD, lr=lr, momentum=0)" in said
    assert main(["runs", "compare", LOOK, KILL, FAIL, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["runs"], found["sections"]["options"]["lr"]) == ([LOOK, KILL, FAIL], ["0.1", "0.3", "0.1"])
    assert list(found["scripts"]) == [KILL, FAIL]


def test_compare_says_what_is_wrong(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / FAIL / "history.csv").write_text("epoch,loss\n1,0.5\n2,")
    assert main(["runs", "compare", LOOK, FAIL]) == 0
    assert capsys.readouterr().err == f"fit: {FAIL}: history.csv: the last line is torn\n"
    (runs / FAIL / "manifest.json").unlink()
    assert main(["runs", "compare", LOOK, FAIL]) == 2
    assert capsys.readouterr().err == f"fit: {FAIL}: there is no manifest.json, so nobody can tell what was run\n"


def test_differences_say_what_they_mean() -> None:
    assert [difference("x", value, more) for value, more in ((0.5, True), (0.5, False), (-0.5, False), (0.0, True), (math.nan, True))] == [
        *("+0.5000 better", "+0.5000 worse", "-0.5000 better", "equal", "nan")
    ]


def test_sections() -> None:
    def run(loss: float, torch: str, length: int, patience: int) -> Found:
        plugin = {"name": "es", "distribution": "fit-schedulers 0.1.0", "options": {"patience": str(patience)}}
        manifest = {"versions": {"torch": torch}, "data": {"train": {"type": "list", "length": length}, "val": None}, "plugins": [plugin]}
        return Found(Path(f"run-{loss}"), "done", (), manifest, [{"epoch": 1, "loss": loss, "y": loss}], 1.0)

    found = comparison([run(1.0, "2", 10, 3), run(0.5, "3", 20, 4)])
    assert found.sections == {
        "plugins": {"es": ["patience=3", "patience=4"]},
        "versions": {"torch": ["2", "3"]},
        "data": {"train": ["list, 10 long", "list, 20 long"]},
        "best values": {"loss": ["1.0000 @1", "0.5000 @1 (-0.5000 better)"], "y": ["1.0000 @1", "0.5000 @1"]},
    }
    assert found.scripts == {}
    assert "loss         1.0000 @1  0.5000 @1 (-0.5000 better)" in lines(found)
    assert lines(found, 40)[-6:] == [
        *("  loss", "    [1] 1.0000 @1", "    [2] 0.5000 @1 (-0.5000 better)", "  y", "    [1] 1.0000 @1", "    [2] 0.5000 @1")
    ]


def test_a_long_difference_is_cut() -> None:
    found = Comparison(["a", "b"], {}, {"b": [f"+{n}" for n in range(30)]})
    assert lines(found)[-2:] == ["+19", "... 10 more lines (--diff)"]
    assert lines(found, whole=True)[-1] == "+29"


def test_plot_on_a_terminal(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["runs", "plot", LOOK, KILL]) == 0
    said = capsys.readouterr().out
    assert "\033" not in said, "no colours in a pipe"
    assert said.startswith("val_loss\n")
    assert max(map(len, said.splitlines())) <= 60
    assert "\n  a look lr=0.1 at_the_end=look\n  b kill lr=0.3 at_the_end=kill" in said
    assert main(["runs", "plot", "--metric", "loss", "--metric", "val_accuracy", "--log"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("loss\n")
    assert "\n\nval_accuracy\n" in said
    assert main(["runs", "plot", "--metric", "nope"]) == 2
    assert capsys.readouterr().err.startswith(
        "fit: there is no curve of 'nope'; the rows of these runs have: accuracy, epoch, interval_x, "
    )


def test_a_picture(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["runs", "plot", "--metric", "val_loss", "--output", "curves.png"]) == 0
    assert capsys.readouterr().out == "curves.png: val_loss of 3 runs\n"
    with Image.open("curves.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or ()}
        assert image.size[0] == 1200
    assert set(COLOURS[:3]) <= colours
    assert COLOURS[3] not in colours
    assert main(["runs", "plot", "--output", "curves.gif"]) == 2
    assert capsys.readouterr().err == "fit: cannot write curves.gif: name a picture .png, .svg or .pdf\n"
    assert main(["runs", "plot", "--output", "nowhere/curves.svg"]) == 2
    assert capsys.readouterr().err == "fit: cannot write nowhere/curves.svg: No such file or directory\n"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as if it were not installed
    assert main(["runs", "plot", "--output", "curves.png"]) == 2
    assert capsys.readouterr().err == 'fit: pictures need matplotlib: pip install "fit-tools[plot]"\n'


def test_a_canvas() -> None:
    falling = [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]
    drawing = canvas([falling, [(1.0, 1.0), (3.0, 3.0)], [(2.0, math.nan)]], 14, 5)
    assert drawing.lines() == [
        "3 |aa       bb",
        "  |  aa   bb",
        "  |    ***",
        "  |  bb   aa",
        "1 |bb       aa",
        "  +-----------",
        "   1  epoch  3",
    ]


def test_canvases_of_little() -> None:
    assert canvas([[(1.0, 5.0)]], 30, 5).rows[2].startswith("a ")
    assert set("".join(canvas([[(1.0, math.inf)]], 30, 5).rows)) == {" "}
    logarithmic = canvas([[(1.0, 1.0), (2.0, 0.01), (3.0, 0.0)]], 30, 5, log=True)
    assert [label.strip() for label in logarithmic.left] == ["1", "", "", "", "0.01"]

"""Which plugins may come and go between two parts of a run."""

from __future__ import annotations

from pathlib import Path

from fit_core.testing import run_fit

SCRIPT = """
from fit_core.testing import tiny_batches, tiny_trainer

def build_trainer(epochs: int = 2):
    return tiny_trainer(epochs=epochs, train_data=tiny_batches(4))
"""


def test_a_plugin_that_changes_training_is_a_difference(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    assert run_fit("train", "script.py", "--run-dir", "mine", cwd=tmp_path).code == 0
    more = ("train", "script.py", "--resume", "mine", "--epochs", "3")
    other = run_fit(*more, "-p", "early-stopping:monitor=loss", cwd=tmp_path)
    assert (other.code, "plugin 'early-stopping' is new" in other.stderr) == (2, True), other.stderr
    assert run_fit(*more, "-p", "csv", cwd=tmp_path).code == 0
    assert len((tmp_path / "mine" / "history.csv").read_text().splitlines()) == 4, "with the rows before"

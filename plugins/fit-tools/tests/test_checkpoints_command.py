"""`fit checkpoints`: what is there, and whether it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.checkpoint import MANIFEST
from fit_core.testing import TINY_SCRIPT, Outcome, tiny_trainer
from fit_tools.listing import age_text, entry, lines, listing, runs_in, size_text


@hookimpl
def on_safe_point(trainer: Trainer, state: State) -> None:
    if state.position == "epoch":
        name = trainer.checkpoints.save()
        trainer.checkpoints.point("last", name)
        if state.epoch == 2:
            trainer.checkpoints.point("best", name)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with three whole checkpoints, and weights alone that are older than they."""
    folder = tmp_path / "runs" / "script" / "first"
    trainer = tiny_trainer(run_dir=folder, plugins=[on_safe_point])
    trainer.save(folder / "checkpoints" / "weights", weights_only=True)
    trainer.fit(epochs=3)
    return folder


def test_whole_ones_are_listed_newest_first(run: Path) -> None:
    found = listing(run)
    names = ["step-00000006", "step-00000004", "step-00000002", "weights"]
    assert [each.name for each in found.checkpoints] == names
    assert [(each.epoch, each.batch, each.step) for each in found.checkpoints] == [(3, 2, 6), (2, 2, 4), (1, 2, 2), (0, 0, 0)]
    assert [each.pointers for each in found.checkpoints] == [("last",), ("best",), (), ()]
    assert [each.resumable for each in found.checkpoints] == [True, True, True, False]
    assert all(each.problem is None for each in found.checkpoints)
    assert not found.damaged
    assert found.checkpoints[0].bytes == sum(path.stat().st_size for path in (run / "checkpoints" / names[0]).iterdir())


def test_the_table(run: Path) -> None:
    found = listing(run)
    name, head, first, *_, weights = lines(found, now=found.checkpoints[0].saved + 200)
    assert name == str(run)
    assert head.split("  ")[1].strip() == "name"
    assert head.split() == ["name", "epoch", "batch", "step", "size", "saved", "age", "named", "by", "state"]
    assert first.split()[:4] == ["step-00000006", "3", "2", "6"]
    assert first.split()[-4:] == ["3", "min", "last", "ok"]
    assert weights.endswith("ok, weights alone")


def cut(path: Path) -> None:
    os.truncate(path / "state.safetensors", 100)


def flip(path: Path) -> None:
    data = bytearray((path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "model.safetensors").write_bytes(data)


def empty(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


def change(path: Path) -> None:
    manifest = path / MANIFEST
    manifest.write_text(manifest.read_text().replace('"epoch": 3', '"epoch": 4'))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a short file": (cut, "damaged: state.safetensors is not as it was written"),
    "a bit": (flip, "damaged: model.safetensors is not as it was written"),
    "no file": (empty, f"damaged: {MANIFEST}: No such file or directory"),
    "a file is missing": (lambda path: (path / "state.json").unlink(), "damaged: state.json: No such file or directory"),
    "a manifest that was changed": (change, f"damaged: {MANIFEST} is not as it was written"),
    "a manifest of something else": (lambda path: (path / MANIFEST).write_text("[]"), "no checkpoint"),
    "half a manifest": (lambda path: os.truncate(path / MANIFEST, 30), f"damaged: {MANIFEST} cannot be read ("),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_told_with_its_reason(name: str, run: Path) -> None:
    damage, reason = DAMAGE[name]
    damage(run / "checkpoints" / "step-00000006")
    found = listing(run)
    bad = next(each for each in found.checkpoints if each.name == "step-00000006")
    assert bad.problem is not None
    assert bad.problem.startswith(reason)
    assert (bad.damaged, bad.resumable, bad.pointers) == (True, None, ("last",))
    assert [each.problem for each in found.checkpoints if each is not bad] == [None] * 3
    assert found.damaged
    assert f"  {reason}" in "\n".join(lines(found, 0.0))


def test_a_pointer_to_nothing_is_damage(run: Path) -> None:
    (run / "checkpoints" / "best").write_text("step-00000099\n")
    (run / "checkpoints" / "notes.txt").write_text("what I saw:\nnothing\n")
    found = listing(run)
    assert found.dangling == {"best": "step-00000099"}
    assert found.damaged
    assert lines(found, 0.0)[-1] == "  best names step-00000099, which is not there"


def test_another_format_is_told_and_is_no_damage(run: Path) -> None:
    from fit_core.checkpoint import digest_of

    manifest = run / "checkpoints" / "weights" / MANIFEST
    said = {**json.loads(manifest.read_text()), "format": 9}
    said.pop("sha256")
    manifest.write_text(json.dumps({**said, "sha256": digest_of(said)}))
    found = entry(manifest.parent, {})
    assert found.problem is not None
    assert found.problem.startswith("has format 9, and this fit-core reads format 1")
    assert not found.damaged


def test_what_a_path_means(run: Path, tmp_path: Path) -> None:
    assert runs_in(run) == [run]
    assert runs_in(run / "checkpoints") == [run]
    assert runs_in(tmp_path) == [run]
    with pytest.raises(FitError, match=r"there are no checkpoints in .*step-00000002; name a run folder, or one with runs below"):
        runs_in(run / "checkpoints" / "step-00000002")
    with pytest.raises(FitError, match=r"there is no folder .*nothing; name a run folder"):
        runs_in(tmp_path / "nothing")


def test_numbers_as_people_read_them() -> None:
    assert [size_text(count) for count in (999, 1500, 2_500_000, 3e9, 4e12)] == ["999 B", "1.5 kB", "2.5 MB", "3.0 GB", "4000.0 GB"]
    assert [age_text(seconds) for seconds in (-1, 5, 300, 7200, 200_000)] == ["0 s", "5 s", "5 min", "2 h", "2 days"]


def test_the_command(run_script: Callable[..., Outcome], run_fit: Callable[..., Outcome], tmp_path: Path) -> None:
    assert run_script(TINY_SCRIPT, "-q", "--run-dir", "runs/script/one").code == 0
    listed = run_fit("checkpoints")
    assert (listed.code, listed.stderr) == (0, "")
    assert listed.stdout.startswith("runs/script/one\n  name ")
    assert listed.stdout.rstrip().endswith("last      ok")
    told = run_fit("checkpoints", "runs/script/one", "runs", "--format", "json")
    (only,) = json.loads(told.stdout)
    assert (only["run"], only["dangling"]) == ("runs/script/one", {})
    assert [each["name"] for each in only["checkpoints"]] == ["step-00000004"]
    flip(tmp_path / "runs" / "script" / "one" / "checkpoints" / "step-00000004")
    damaged = run_fit("checkpoints")
    assert (damaged.code, damaged.stderr) == (1, "")
    assert "damaged: model.safetensors is not as it was written" in damaged.stdout


def test_without_runs(run_fit: Callable[..., Outcome]) -> None:
    done = run_fit("checkpoints")
    assert (done.code, done.stderr) == (2, "fit: there is no folder runs; name a run folder, or one with runs below\n")

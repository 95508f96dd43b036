"""Checkpoints that are damaged, and disks that fail: the one before is used, and what is wrong is named."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fit_core import FitError, State, Trainer, TrainingError, hookimpl
from fit_core.checkpoint import Damaged, find_checkpoint, latest, verified
from fit_core.testing import TINY_SCRIPT, Outcome, tiny_trainer

Run = Callable[..., Outcome]


class SaveAll:
    """Saves at every safe point and removes nothing."""

    @hookimpl
    def on_safe_point(self, trainer: Trainer) -> None:
        trainer.checkpoints.save()


def truncated(size: Callable[[int], int]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        content = file.read_bytes()
        file.write_bytes(content[: size(len(content))])

    return damage


def flipped(place: float) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[int(place * (len(content) - 1))] ^= 0b100
        file.write_bytes(content)

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": truncated(lambda _: 0),
    "half": truncated(lambda size: size // 2),
    "a byte short": truncated(lambda size: size - 1),
    "deleted": Path.unlink,
    "a bit in the first half": flipped(0.3),
    "a bit in the middle": flipped(0.5),
    "a bit near the end": flipped(0.95),
}
FILES = ["model.safetensors", "state.safetensors", "state.json", "manifest.json"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_one_before_is_used(file: str, damage: str, tmp_path: Path) -> None:
    whole = tiny_trainer(seed=1, run_dir=tmp_path, plugins=[SaveAll()])
    whole.fit(epochs=2)
    names = sorted(folder.name for folder in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000001", "step-00000002", "step-00000002-2", "step-00000003", "step-00000004", "step-00000004-2"]
    newest = tmp_path / "checkpoints" / names[-1]
    DAMAGES[damage](newest / file)
    if damage == "a byte short" and file == "manifest.json":  # the end of the line: nothing that it says is lost
        assert find_checkpoint(tmp_path).folder == newest
        return
    with pytest.raises(Damaged, match=f"{names[-1]} is damaged: {file}"):
        find_checkpoint(newest)
    resumed = tiny_trainer(seed=1, run_dir=tmp_path, plugins=[SaveAll()])
    with pytest.warns(UserWarning, match=f"skipped: .*{names[-1]} is damaged: {file}"):
        resumed.fit(epochs=2, resume=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True))
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_none_is_left(tmp_path: Path, run_script: Run, run_fit: Run) -> None:
    done = run_script(TINY_SCRIPT)
    (folder,) = (done.run_dir / "checkpoints").glob("step-*")
    DAMAGES["half"](folder / "state.safetensors")
    for how in (["--resume"], ["--resume", str(done.run_dir)], ["--resume", str(folder)]):
        again = run_fit("train", "script.py", *how)
        assert again.code == 1, again.stderr
        assert f"{folder.relative_to(tmp_path)} is damaged: state.safetensors is not as it was written" in again.stderr.replace(
            f"{tmp_path}/", ""
        )
        assert len(again.stderr.splitlines()) == 1
    assert [path.name for path in (tmp_path / "runs" / "script").iterdir()] == [done.run_dir.name], "no run was begun"


def test_the_skipped_one_is_named_on_the_command_line(run_script: Run, run_fit: Run, tmp_path: Path) -> None:
    keep = """
from fit_core import hookimpl

class Keep:
    @hookimpl
    def on_fit_start(self, trainer, state):
        if not state.resumed:
            self.first = trainer.checkpoints.save()
            trainer.checkpoints.hold("Keep", [self.first])
"""
    script = keep + TINY_SCRIPT.replace("epochs=epochs", "epochs=epochs, plugins=[Keep()]")
    done = run_script(script)
    assert done.code == 0, done.stderr
    first, last = sorted((done.run_dir / "checkpoints").glob("step-*"))
    DAMAGES["a bit in the middle"](last / "model.safetensors")
    again = run_fit("train", "script.py", "--resume")
    assert again.code == 0, again.stderr
    assert f"skipped: {last.relative_to(tmp_path)} is damaged: model.safetensors is not as it was written" in again.stderr
    assert f"({first.name})" in again.stdout
    assert json.loads((done.run_dir / "manifest.json").read_text())["resumed"][0]["from"] == str(first.relative_to(tmp_path))


def test_what_was_being_replaced_is_found(tmp_path: Path) -> None:
    """A process that is killed between the two renames of a replacement leaves the old one, under a name of its own."""
    trainer = tiny_trainer(seed=1)
    trainer.fit(epochs=1)
    trainer.save(tmp_path / "mine")
    (tmp_path / "mine").rename(tmp_path / ".mine.123.old")
    assert find_checkpoint(tmp_path / "mine").manifest["step"] == 2
    trainer.save(tmp_path / "mine")
    assert verified(tmp_path / "mine")


FULL_DISK = """
import resource, sys, warnings
from fit_core.testing import tiny_trainer
import torch
from fit_core import TrainingError
trainer = tiny_trainer(model=torch.nn.Linear(4, 3), seed=1)
trainer.fit(epochs=1)
trainer.save("checkpoints/first")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
try:
    trainer.save("checkpoints/second")
except TrainingError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [0, 100, 400, 2000])
def test_a_full_disk_leaves_the_last_good_one_and_nothing_else(limit: int, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(limit)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cannot write the checkpoint checkpoints/second: "), done.stdout
    assert done.stdout.endswith("; nothing older was removed\n")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["first"]
    assert latest(tmp_path / "checkpoints").folder.name == "first"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_save_last_goes_on_when_it_cannot_save_and_fails_if_the_last_one_fails(tmp_path: Path) -> None:
    from fit_core.saving import SaveLast

    def run(blocked: tuple[int, ...]) -> Trainer:
        @hookimpl(specname="on_epoch_end")
        def block(state: State) -> None:
            folder = tmp_path / "checkpoints"
            if state.epoch in blocked and folder.is_dir():
                folder.rename(tmp_path / "elsewhere")
                folder.write_text("not a folder")
            elif state.epoch not in blocked and folder.is_file():
                folder.unlink()
                (tmp_path / "elsewhere").rename(folder)

        trainer = tiny_trainer(run_dir=tmp_path, plugins=[("block", block), SaveLast()])
        trainer.fit(epochs=3)
        return trainer

    with pytest.warns(UserWarning, match=r"cannot write the checkpoint .*; nothing older was removed; the run goes on"):
        run((2,))
    assert latest(tmp_path / "checkpoints").manifest["epoch"] == 3
    with pytest.warns(UserWarning, match="the run goes on"), pytest.raises(TrainingError, match="cannot write the checkpoint"):
        run((3,))
    assert latest(tmp_path / "elsewhere").manifest["epoch"] == 2


def test_nothing_but_folders_of_checkpoints_is_looked_at(tmp_path: Path) -> None:
    with pytest.raises(FitError, match="there is no checkpoint in"):
        latest(tmp_path)
    (tmp_path / ".step-1.99").mkdir()
    (tmp_path / "last").write_text("step-1\n")
    with pytest.raises(FitError, match="there is no checkpoint in"):
        latest(tmp_path)
    (tmp_path / "step-1").mkdir()
    with pytest.raises(TrainingError, match="no checkpoint is left in .*step-1 is damaged: manifest.json: No such file"):
        latest(tmp_path)


def test_a_state_is_never_unpickled(tmp_path: Path) -> None:
    trainer = tiny_trainer(seed=1)
    trainer.fit(epochs=1)
    folder = trainer.save(tmp_path / "one")
    held: dict[str, Any] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(held) == sorted(FILES)
    assert not any(content.startswith((b"\x80", b"PK")) for content in held.values())

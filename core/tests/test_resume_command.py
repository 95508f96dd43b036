"""`fit train --resume` and its kin: which run, from where, with what."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fit_core.cli import main
from fit_core.testing import ForkServer, Outcome, run_fit

Train = Callable[..., Outcome]

SCRIPT = """
import functools, os, torch
from fit_core import hookimpl
from fit_core.testing import tiny_batches, tiny_trainer

class Halt:
    passive = True

    @hookimpl
    def on_batch_end(self, state):
        if "HALT" in os.environ and state.batch_count == int(os.environ["HALT"]):
            raise RuntimeError("halt")

    @hookimpl
    def on_epoch_end(self, trainer, state):
        if "STOP" in os.environ and state.epoch == int(os.environ["STOP"]):
            trainer.stop("enough is enough")

def build_trainer(lr: float = 0.1, width: int = 3, epochs: int = 3):
    optimizer = functools.partial(torch.optim.SGD, lr=lr, momentum=0.9)
    return tiny_trainer(optimizer=optimizer, epochs=epochs, quiet=False, train_data=tiny_batches(4), plugins=[Halt()])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


@pytest.fixture
def train(fork_server: ForkServer) -> Train:
    """Run `fit train script.py` in a folder; `halt` is the batch at which the script fails."""

    def train(folder: Path, *words: str, halt: int | None = None) -> Outcome:
        with pytest.MonkeyPatch.context() as patch:
            if halt is not None:
                patch.setenv("HALT", str(halt))
            return run_fit("train", "script.py", *words, cwd=folder, server=fork_server)

    return train


def runs(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("runs/script/*"))


def weights(outcome: Outcome) -> list[str]:
    return [(path / "model.safetensors").read_bytes().hex() for path in outcome.run_dir.glob("checkpoints/step-*")]


def test_the_newest_unfinished_run_with_these_options(folder: Path, train: Train) -> None:
    assert train(folder, "--lr", "0.2", "--seed", "1", halt=6).code == 1
    assert train(folder, "--seed", "2", halt=6).code == 1
    done = train(folder, "--seed", "3")
    unfinished_02, unfinished, finished = runs(folder)
    assert (folder / finished) == done.run_dir

    again = train(folder, "--resume", "--lr", "0.2")
    assert again.code == 0, again.stderr
    assert again.stdout.startswith(f"resuming {unfinished_02} after epoch 1, batch 4, step 4 (step-00000004)\nepoch 2/3")
    assert json.loads((folder / unfinished_02 / "manifest.json").read_text())["seed"] == 1

    again = train(folder, "--resume")
    assert again.stdout.startswith(f"resuming {unfinished} after epoch 1"), again.stdout
    assert "test_loss" in again.stdout
    manifest = json.loads((folder / unfinished / "manifest.json").read_text())
    assert (manifest["status"], manifest["epochs"], len(manifest["resumed"])) == ("done", 3, 1)
    assert "error" not in manifest

    again = train(folder, "--resume", "--lr", "0.3")
    assert again.code == 2
    assert again.stderr.startswith("fit: no run of script.py was started with --lr 0.3; there are: runs/script/")
    again = train(folder, "--resume")
    assert again.stdout.startswith(f"{finished} is finished: 3 epochs, 12 steps; --epochs with more trains on, without --resume a new run")
    assert "epoch" not in again.stdout.splitlines()[1]
    assert len(runs(folder)) == 3

    longer = train(folder, "--resume", finished, "--epochs", "5")
    assert "epoch 4/5" in longer.stdout
    assert "epoch 3/" not in longer.stdout
    whole = train(folder, "--seed", "3", "--epochs", "5")
    extended = json.loads((folder / finished / "manifest.json").read_text())
    assert extended["test"] == whole.manifest["test"], "test data are evaluated again"


def test_nothing_to_resume(folder: Path, train: Train) -> None:
    none = train(folder, "--resume")
    assert (none.code, none.stderr) == (
        2,
        "fit: there is no run of script.py to resume below runs/script; start one without --resume, or name its folder\n",
    )
    missing = train(folder, "--resume", "nowhere")
    assert (missing.code, len(missing.stderr.splitlines())) == (2, 1)
    train(folder, "--no-save", "--run-dir", "bare")
    bare = train(folder, "--resume", "bare")
    assert (bare.code, bare.stderr) == (2, "fit: bare is the folder of a run that has kept no checkpoint\n")


def test_options_and_script_are_those_of_the_run(folder: Path, train: Train) -> None:
    assert train(folder, "--run-dir", "mine", "--lr", "0.2", halt=6).code == 1
    other = train(folder, "--resume", "mine", "--lr", "0.3", "--width", "4")
    assert (other.code, len(other.stderr.splitlines())) == (2, 1)
    assert "was made otherwise: --lr was 0.2, now 0.3; --width was 3, now 4. --allow-changes goes on nevertheless" in other.stderr
    (folder / "script.py").write_text(SCRIPT + "# mended\n")
    changed = train(folder, "--resume", "mine")
    assert "was made otherwise: the script has changed. --allow-changes goes on nevertheless" in changed.stderr
    allowed = train(folder, "--resume", "mine", "--allow-changes", "-p", "no:console")
    assert allowed.code == 0, allowed.stderr
    assert allowed.stdout.startswith("resuming mine after epoch 1")
    assert json.loads((folder / "mine" / "manifest.json").read_text())["options"]["lr"] == 0.2


def test_fresh_sets_the_run_aside(folder: Path, train: Train) -> None:
    assert train(folder, "--run-dir", "mine", "--seed", "1").manifest["seed"] == 1
    refused = train(folder, "--run-dir", "mine")
    assert (
        refused.stderr == "fit: mine holds a run already; go on with it (--resume), set it aside (--fresh), or choose another --run-dir\n"
    )
    fresh = train(folder, "--run-dir", "mine", "--fresh", "--seed", "2")
    assert fresh.stdout.startswith("the run that was in mine is now in mine.1\n")
    assert json.loads((folder / "mine.1" / "manifest.json").read_text())["seed"] == 1
    both = train(folder, "--resume", "mine", "--fresh")
    assert (both.code, both.stderr) == (2, "fit: --resume goes on with a run, so --fresh does nothing; leave one of them out\n")
    assert train(folder, halt=6).code == 1
    both = train(folder, "--resume", "--fresh")
    assert (both.code, both.stderr) == (2, "fit: --resume goes on with a run, so --fresh does nothing; leave one of them out\n")


def test_run_dir_alone_says_which_run(folder: Path, train: Train) -> None:
    assert train(folder, "--run-dir", "mine", halt=6).code == 1
    resumed = train(folder, "--run-dir", "mine", "--resume")
    assert resumed.stdout.startswith("resuming mine after epoch 1"), resumed.stderr
    elsewhere = train(folder, "--resume", "mine", "--run-dir", "other", "--epochs", "4")
    assert elsewhere.code == 0, elsewhere.stderr
    assert "epoch 4/4" in elsewhere.stdout
    assert (folder / "other" / "checkpoints" / "last").exists()
    assert json.loads((folder / "mine" / "manifest.json").read_text())["epochs"] == 3


def test_a_run_that_goes_on_is_not_resumed(folder: Path, train: Train) -> None:
    assert train(folder, "--run-dir", "mine", halt=6).code == 1
    file = folder / "mine" / "manifest.json"
    manifest = json.loads(file.read_text())
    assert manifest["process"]["host"] == platform.node()
    file.write_text(json.dumps(manifest | {"status": "running", "process": {"host": platform.node(), "pid": os.getpid()}}))
    refused = train(folder, "--resume", "mine")
    assert (refused.code, refused.stderr) == (2, f"fit: the run in mine is still going on (process {os.getpid()}); end it first\n")
    file.write_text(json.dumps(manifest | {"status": "running", "process": {"host": "elsewhere", "pid": os.getpid()}}))
    assert train(folder, "--resume", "mine").code == 0


def test_weights_begin_a_new_run(folder: Path, train: Train) -> None:
    done = train(folder, "--run-dir", "mine", "--seed", "1")
    last = next((done.run_dir / "checkpoints").glob("step-*"))
    for path in ("mine", str(last), str(last / "model.safetensors")):
        begun = train(folder, "--weights", path, "--epochs", "1", "-q")
        assert (begun.code, begun.stdout) == (0, ""), begun.stderr
    torch.save({"weight": torch.ones(3, 4), "other.bias": torch.zeros(2)}, folder / "plain.pt")
    begun = train(folder, "--weights", "plain.pt", "--epochs", "1")
    assert begun.stdout.startswith("1 names got no weights: bias\n1 names found no place in the model: other.bias\nepoch 1/1")
    save_file({"weight": torch.ones(4, 4)}, folder / "wide.safetensors")
    wide = train(folder, "--weights", "wide.safetensors")
    assert (wide.code, wide.stderr) == (2, "fit: none of these weights fit: the model wants bias, weight, and there are weight\n")
    (folder / "no.pt").write_bytes(b"nothing")
    assert train(folder, "--weights", "no.pt").stderr.startswith("fit: no.pt holds no plain state dict of names and tensors; save one with")


def test_a_time_limit_interrupts(folder: Path, train: Train) -> None:
    short = train(folder, "--run-dir", "mine", "--max-time", "0.001 s")
    assert short.code == 0, short.stderr
    assert "fit: interrupted in epoch 1, batch 1 (train) by the time limit of 0.001 seconds; go on with: fit train script.py" in (
        short.stderr
    )
    assert json.loads((folder / "mine" / "manifest.json").read_text())["status"] == "interrupted"
    resumed = train(folder, "--resume", "mine", "--max-time", "4 h")
    assert resumed.stdout.startswith("resuming mine after epoch 1, batch 1, step 1")
    wrong = train(folder, "--max-time", "4 epochs")
    assert (wrong.code, wrong.stderr) == (2, "fit: --max-time needs a time, such as '4 h' or '30 minutes', not '4 epochs'\n")


def test_a_run_that_stopped_itself_is_finished(folder: Path, monkeypatch: pytest.MonkeyPatch, train: Train) -> None:
    monkeypatch.setenv("STOP", "2")
    stopped = train(folder, "--run-dir", "mine", "--epochs", "9")
    assert stopped.code == 0
    epochs = json.loads((folder / "mine" / "manifest.json").read_text())["epochs"]
    assert epochs == 2
    again = train(folder, "--resume", "mine", "--epochs", "9")
    assert again.stdout.startswith("mine stopped itself (enough is enough"), again.stdout
    assert "epoch 3" not in again.stdout


def test_handlers_of_signals_are_put_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "script", raising=False)
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD]
    before = [signal.getsignal(number) for number in numbers]
    seen: list[object] = []
    (folder / "script.py").write_text(SCRIPT.replace("raise RuntimeError", "os.kill(os.getpid(), 2); str"))
    monkeypatch.setenv("HALT", "6")
    assert main(["train", "script.py", "-q"]) == 130
    seen.append([signal.getsignal(number) for number in numbers])
    monkeypatch.setenv("HALT", "-1")
    assert main(["train", "script.py", "-q", "--resume"]) == 0
    seen.append([signal.getsignal(number) for number in numbers])
    assert seen == [before, before]
    del sys.modules["script"]


def test_the_guard_leaves_a_checkpoint(folder: Path, train: Train) -> None:
    bad = SCRIPT.replace("def on_batch_end(self, state)", "def on_backward_end(self, trainer, state)")
    (folder / "script.py").write_text(bad.replace('raise RuntimeError("halt")', "trainer.model.weight.grad.fill_(float('nan'))"))
    stopped = train(folder, "--run-dir", "mine", halt=6)
    assert (stopped.code, len(stopped.stderr.splitlines())) == (1, 1)
    assert "gradient of weight is not finite" in stopped.stderr
    resumed = train(folder, "--resume", "mine")
    assert resumed.stdout.startswith("resuming mine after epoch 1, batch 4, step 4"), resumed.stderr
    assert resumed.code == 0


def test_fits_own_options_are_those_of_the_run(folder: Path, train: Train) -> None:
    script = SCRIPT.replace("epochs: int = 3", "").replace("epochs=epochs", "epochs=2").replace("width: int = 3, ", "width: int = 3")
    (folder / "script.py").write_text(script)
    begun = train(folder, "--run-dir", "mine", "--epochs", "4", "--accumulate", "2", "--limit-batches", "3", halt=5)
    assert begun.code == 1
    resumed = train(folder, "--resume", "mine")
    assert resumed.code == 0, resumed.stderr
    assert "epoch 4/4" in resumed.stdout
    manifest = json.loads((folder / "mine" / "manifest.json").read_text())
    assert (manifest["epochs"], manifest["fit"]) == (4, {"epochs": 4, "accumulate": 2, "limit_batches": 3})


def test_a_resume_that_is_refused_leaves_the_run_as_it_was(folder: Path, train: Train) -> None:
    assert train(folder, "--run-dir", "mine").code == 0
    before = (folder / "mine" / "manifest.json").read_bytes()
    assert train(folder, "--resume", "mine", "--accumulate", "3", "--epochs", "4").code == 2
    assert (folder / "mine" / "manifest.json").read_bytes() == before


def test_another_script_of_the_same_name_is_another_script(folder: Path, train: Train, fork_server: ForkServer) -> None:
    assert train(folder, halt=6).code == 1
    (folder / "below").mkdir()
    (folder / "below" / "script.py").write_text(SCRIPT)
    other = run_fit("train", "below/script.py", "--resume", cwd=folder, server=fork_server)
    assert (other.code, "there is no run of below/script.py" in other.stderr) == (2, True)


def test_a_number_of_a_process_that_came_again(folder: Path, train: Train) -> None:
    assert train(folder, "--run-dir", "mine", halt=6).code == 1
    file = folder / "mine" / "manifest.json"
    process = {"host": platform.node(), "pid": os.getpid(), "since": "0"}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": "running", "process": process, "resumed": None}))
    assert train(folder, "--resume", "mine").code == 0


def test_a_signal_after_the_last_batch_is_not_forgotten(folder: Path, train: Train) -> None:
    late = SCRIPT.replace("def on_batch_end(self, state)", "def on_fit_end(self, state)").replace(
        'raise RuntimeError("halt")', "os.kill(os.getpid(), 15)"
    )
    (folder / "script.py").write_text(late)
    ended = train(folder, "--run-dir", "mine", halt=12)
    assert ended.code == 143, ended.stderr
    assert "interrupted at the end of epoch 3 by SIGTERM; go on with: fit train script.py --resume mine" in ended.stderr
    assert json.loads((folder / "mine" / "manifest.json").read_text())["status"] == "interrupted"
    resumed = train(folder, "--resume", "mine")
    assert (resumed.code, "test_loss" in resumed.stdout) == (0, True)


def test_rubbish_as_weights(folder: Path, train: Train) -> None:
    (folder / "x.pt").write_text("hello")
    assert train(folder, "--weights", "x.pt").stderr.startswith("fit: x.pt holds no plain state dict")
    assert train(folder, "--run-dir", ".", "--epochs", "1").code == 0


REPLACED = """
import torch
from fit_core import hookimpl
from fit_core.testing import tiny_trainer

@hookimpl
def on_setup(trainer):
    trainer.model = torch.nn.Sequential(trainer.model, torch.nn.Linear(3, 3))

def build_trainer():
    return tiny_trainer(epochs=1, plugins=[on_setup], seed=1)
"""


def test_what_is_evaluated_is_the_model_that_a_plugin_has_put_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "replaced.py").write_text(REPLACED)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "replaced.py", "--run-dir", "mine"]) == 0
    trained = json.loads(Path("mine/manifest.json").read_text())["test"]
    capsys.readouterr()
    assert main(["evaluate", "replaced.py", "--checkpoint", "mine", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == trained
    assert main(["predict", "replaced.py", "--checkpoint", "mine", "--output", "outputs.pt"]) == 0

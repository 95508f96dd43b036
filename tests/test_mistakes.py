"""Mistakes that users make, each in a process of its own: one line and exit code 2, or their own traceback with a note."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from fit_core.testing import Outcome

GOOD = """
from functools import partial
import torch
from torch import nn
from torch.utils.data import DataLoader
from fit_core import Trainer, hookimpl
from fit_core.testing import tiny_batches

class Mine:
    pass

class Bad:
    def __len__(self):
        return 3
    def __getitem__(self, index):
        raise KeyError("image 7 is missing")

def build_trainer(lr: float = 0.1, epochs: int = 1, size: int = 3) -> Trainer:
    return Trainer(nn.Linear(4, size), nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=lr), metrics=["accuracy"],
        train_data=tiny_batches(2), val_data=tiny_batches(1), epochs=epochs, plugins=[])
"""


def swap(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def mine(hook: str) -> str:
    return swap("class Mine:\n    pass\n", "class Mine:\n" + textwrap.indent(hook, "    ") + "\n").replace("plugins=[]", "plugins=[Mine()]")


LINES: dict[str, tuple[str, str, str]] = {
    "plugin": (GOOD, "--plugins loging", "no plugin named 'loging' (installed: "),
    "option of fit": (GOOD, "--epoch 3", "No such option '--epoch'. Did you mean '--epochs'? See: fit train script.py --help"),
    "option of the script": (GOOD, "--lrr 3", "No such option '--lrr'. Did you mean '--lr'?"),
    "option of a plugin": (GOOD, "-p early-stopping:patiens=3", "plugin 'early-stopping' has no option 'patiens'"),
    "value of a plugin's option": (
        GOOD,
        "-p early-stopping:patience=x",
        "option 'patience' of plugin 'early-stopping' must be int, not 'x'",
    ),
    "wrong type": (GOOD, "--lr high", "Invalid value for '--lr': it must be float, not 'high'"),
    "hook": (mine("@hookimpl\ndef on_epoch_ends(self, row): ..."), "", "there is no hook 'on_epoch_ends'; did you mean 'on_epoch_end'?"),
    "argument": (
        mine("@hookimpl\ndef on_epoch_end(self, rows): ..."),
        "",
        "hook on_epoch_end has no argument 'rows' (it has: trainer, state, row)",
    ),
    "decorator": (mine("def on_epoch_end(self, row): ..."), "", "is named like a hook but would never be called; put @hookimpl above it"),
    "class for an instance": (swap("plugins=[]", "plugins=[Mine]"), "", "Mine is a class, and a plugin is an instance; write Mine()"),
    "no build_trainer": (swap("build_trainer", "build"), "", "defines no build_trainer(); write: def build_trainer("),
    "nothing returned": (swap("return Trainer", "Trainer"), "", "build_trainer() must return a Trainer, not NoneType; has it a return?"),
    "no optimizer": (
        swap("partial(torch.optim.SGD, lr=lr)", "None"),
        "",
        "there is no optimizer to train with: pass Trainer(model, loss_fn",
    ),
    "name of an optimizer": (swap("partial(torch.optim.SGD, lr=lr)", "'sgd'"), "", "optimizer must be a torch optimizer or a callable"),
    "argument of an optimizer": (
        swap("SGD, lr=lr", "SGD, learning_rate=lr"),
        "",
        "cannot make the optimizer SGD: SGD.__init__() got an unexpected keyword argument 'learning_rate'",
    ),
    "metric": (swap('"accuracy"', '"acuracy"'), "", "did you mean 'accuracy'?"),
    "no length": (swap("epochs=epochs", "epochs=None"), "", "how long to train? pass fit(..., epochs=10)"),
    "batches of three": (swap("train_data=tiny_batches(2)", "train_data=[(1, 2, 3)]"), "", "not a tuple of 3; write a hook prepare_batch"),
    "a spent generator": (
        swap("train_data=tiny_batches(2)", "train_data=(b for b in tiny_batches(2))"),
        "--epochs 2 -q",
        "train_data gave no batch in epoch 2, after 2 in the pass before; a generator can be read only once",
    ),
    "unwritable folder": (GOOD, "--run-dir script.py/run", "cannot make the run folder script.py/run: Not a directory; choose another"),
    "no checkpoint": (GOOD, "EVALUATE --checkpoint runs", "there is no checkpoint at runs; give its folder, a pointer"),
}
TRACES: dict[str, tuple[str, str, list[str]]] = {
    "raises at import": (
        GOOD + "raise ValueError('no data here')\n",
        "",
        ["ValueError: no data here", "raised while the script script.py was imported"],
    ),
    "syntax": (GOOD + "def x(:\n", "", ["SyntaxError: invalid syntax", "raised while the script script.py was imported"]),
    "missing package": ("import no_such_package\n", "", ["ModuleNotFoundError: No module named 'no_such_package'"]),
    "missing file": (swap("    return Trainer", "    open('/nowhere/x.csv')\n    return Trainer"), "", ["script.py", "FileNotFoundError"]),
    "device": (swap("nn.Linear(4, size)", "nn.Linear(4, size).to('gpu')"), "", ["RuntimeError: Expected one of cpu, cuda"]),
    "argument of Trainer": (swap("val_data", "valid_data"), "", ["unexpected keyword argument 'valid_data'"]),
    "loss that does not fit": (
        swap("CrossEntropyLoss", "MSELoss"),
        "",
        ["the loss was computed from outputs float32 (8, 3) and targets int64 (8,)", "raised in hook compute_loss of the core's default"],
    ),
    "model that does not fit": (
        swap("nn.Linear(4", "nn.Linear(5"),
        "",
        ["the model was called with float32 (8, 4)", "in epoch 1, batch 1 (train)"],
    ),
    "too few classes": (GOOD, "--size 2", ["IndexError: Target 2 is out of bounds", "outputs float32 (8, 2) and targets int64 (8,)"]),
    "attribute of state": (
        mine("@hookimpl\ndef on_loss_end(self, state):\n    state.losss = state.loss * 2"),
        "",
        ["raised in hook on_loss_end of plugin 'mine'", "state has no attribute 'losss'; did you mean 'loss'?"],
    ),
    "dataset": (
        swap("train_data=tiny_batches(2)", "train_data=DataLoader(Bad(), num_workers=1)"),
        "",
        ["KeyError: 'image 7 is missing'", "script.py"],
    ),
}

Run = Callable[..., Outcome]


def run(run_script: Run, source: str, words: str) -> Outcome:
    command = "evaluate" if words.startswith("EVALUATE") else "train"
    return run_script(source, *words.removeprefix("EVALUATE").split(), command=command)


def test_without_a_mistake_it_works(run_script: Run) -> None:
    assert run_script(GOOD).code == 0


@pytest.mark.parametrize("name", LINES)
def test_one_line(run_script: Run, name: str) -> None:
    source, words, message = LINES[name]
    done = run(run_script, source, words)
    assert done.code == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("fit: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("name", TRACES)
def test_their_own_traceback(run_script: Run, name: str) -> None:
    source, words, said = TRACES[name]
    done = run(run_script, source, words)
    assert done.code == 1
    for text in said:
        assert text in done.stderr
    assert done.stderr.endswith("(frames of fit and click are left out; --full-trace shows them)\n")
    frames = [line for line in done.stderr.splitlines() if line.startswith("  File ")]
    assert not [line for line in frames if "/click/" in line or "fit plan" in line]
    assert len(done.stderr.splitlines()) < 40


def test_every_frame_on_request(run_fit: Run, run_script: Run) -> None:
    source, _, _ = TRACES["model that does not fit"]
    short = run_script(source)
    whole = run_fit("--full-trace", "train", "script.py")
    assert whole.code == 1
    assert "fit_core/ordinary.py" in whole.stderr
    assert "left out" not in whole.stderr
    assert len(whole.stderr) > 2 * len(short.stderr)


def test_a_missing_script(run_fit: Run) -> None:
    assert run_fit("train", "script.py").stderr == "fit: there is no script 'script.py'\n"

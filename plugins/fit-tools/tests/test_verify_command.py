"""`fit verify-resume`, in real processes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from fit_core import FitError
from fit_core.testing import TINY_SCRIPT, ForkServer, Outcome, run_fit
from fit_tools.verify import seed_in, steps_of

HEAD = """
import random
from functools import partial
import numpy, torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset
from fit_core import Trainer, hookimpl

torch.set_num_threads(1)
data = TensorDataset(torch.randn(24, 4), torch.arange(24) % 2)
learn = partial(Trainer, loss_fn=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.SGD, lr=0.1))
"""

GOOD = """
class Noisy(Dataset):
    def __len__(self):
        return 22
    def __getitem__(self, i):
        return torch.full((4,), i / 22) + torch.randn(4) * random.random() * numpy.random.rand(), i % 2

def build_trainer(lr: float = 0.01, width: int = 4, epochs: int = 5):
    model = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Linear(width, 2))
    return Trainer(model, nn.CrossEntropyLoss(), partial(torch.optim.Adam, lr=lr), metrics=["accuracy"], seed=3,
                   train_data=DataLoader(Noisy(), batch_size=4, shuffle=True), val_data=DataLoader(Noisy(), batch_size=4),
                   plugins=[Falling()], epochs=epochs)

class Falling:
    # A schedule over the run: what a plugin has to save, it saves.
    def __init__(self):
        self.step = 0

    @hookimpl
    def on_fit_start(self, trainer, state):
        assert (trainer.epochs, trainer.accumulate, trainer.seed) == (2, 4, 3), "as under fit train"
        assert (len(trainer.model[0].weight), state.steps_total, list(trainer.plugins)[:1]) == (6, 4, ["falling"])

    @hookimpl
    def on_step_start(self, state):
        self.step += 1
        for group in state.update.optimizer.param_groups:
            group["lr"] = 0.01 * (1 - self.step / (state.steps_total + 1))

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]
"""

DATASET = """
RNG = random.Random(0)

class Noisy(Dataset):
    def __len__(self):
        return 24
    def __getitem__(self, i):
        return torch.full((4,), i / 24) + RNG.random(), i % 2

def build_trainer():
    return learn(nn.Linear(4, 2), train_data=DataLoader(Noisy(), batch_size=4, shuffle=True))
"""

PLUGIN = """
class Slowing:
    def __init__(self):
        self.count = 0

    @hookimpl
    def on_step_end(self, state):
        self.count += 1
        state.update.optimizer.param_groups[0]["lr"] = 0.1 / (1 + self.count)

def build_trainer():
    return learn(nn.Linear(4, 2), train_data=DataLoader(data, batch_size=4), plugins=[Slowing()])
"""

SAMPLER = """
class Mine(Sampler):
    def __init__(self):
        self.own = torch.Generator().manual_seed(0)
    def __len__(self):
        return 24
    def __iter__(self):
        return iter(torch.randperm(24, generator=self.own).tolist())

def build_trainer():
    return learn(nn.Linear(4, 2), train_data=DataLoader(data, batch_size=4, sampler=Mine()))
"""

GLOBAL = """
seen = 0

@hookimpl
def on_loss_end(state):
    global seen
    seen += 1
    state.loss = state.loss * (1 + seen % 5)

def build_trainer():
    return learn(nn.Linear(4, 2), train_data=DataLoader(data, batch_size=4))
"""

HASHING = """
def build_trainer():
    torch.manual_seed(hash("any") % 1000)
    return learn(nn.Linear(4, 2), train_data=DataLoader(data, batch_size=4))
"""

FAILING = """
def build_trainer():
    return learn(nn.Linear(5, 2), train_data=DataLoader(data, batch_size=4))
"""


@pytest.fixture
def verify(tmp_path: Path, fork_server: ForkServer) -> Callable[..., Outcome]:
    """Run `fit verify-resume` on a script. The processes that it compares it starts itself."""

    def verify(source: str, *arguments: str) -> Outcome:
        (tmp_path / "script.py").write_text(HEAD + textwrap.dedent(source))
        return run_fit("verify-resume", "script.py", *arguments, cwd=tmp_path, server=fork_server)

    return verify


def test_a_good_script_is_equal(tmp_path: Path, verify: Callable[..., Outcome]) -> None:
    done = verify(GOOD, "--width", "6", "--accumulate", "4", "-p", "no:console", "--limit-batches", "5", "-j", "2")
    assert (done.code, done.stderr) == (0, "")
    whole, *points, result = done.stdout.splitlines()
    assert re.fullmatch(r"whole run: 2 epochs, 4 steps, seed \d+", whole)
    assert points == [
        "step 0 (in epoch 1, batch 1): equal to the bit",
        "step 2 (after epoch 1): equal to the bit",
        "step 3 (in epoch 2, batch 4): equal to the bit",
    ]
    assert re.fullmatch(r"every resumed run is equal to the whole one \(\d+\.\d s\)", result)
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["script.py"], "nothing is left"


BAD = {
    "dataset": (DATASET, "inputs of the batch", "global RNG of script", "a dataset that draws"),
    "plugin": (PLUGIN, "optimizer main lr (0.01; resumed: 0.05)", "count of plugin 'slowing' (9; resumed: 1)", "a plugin"),
    "sampler": (SAMPLER, "inputs of the batch", "own of the sampler of the training data", "a sampler or an iterable without state_dict"),
    "global": (GLOBAL, "model weight; model bias", "global seen of script (9; resumed: 1)", "globals, closures"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_defect_is_found_and_named(name: str, tmp_path: Path, verify: Callable[..., Outcome]) -> None:
    source, *expected = BAD[name]
    done = verify(source, "--at", "8")
    assert done.code == 1, done.stderr
    first, outside, causes, *rest = done.stdout.splitlines()[1:]
    assert first.startswith("step 8 (in epoch 2, batch 2): the resumed run differs first in epoch 2, batch 3 (step 9): ")
    for line, text in zip((first, outside, causes), expected, strict=True):
        assert text in line
    assert outside.startswith("    different too, outside of the checkpoint: ")
    assert causes.startswith("    usual causes: ")
    warned = [line for line in rest if line.startswith("fit warned: saved inside an epoch, a resumed run may go on with other batches")]
    assert len(warned) == (name == "sampler")
    assert rest[-1].startswith("1 of 1 resumed runs differ (")


def test_a_run_that_is_not_the_same_twice(tmp_path: Path, verify: Callable[..., Outcome]) -> None:
    done = verify(HASHING, "--at", "1", "--steps", "3")
    assert done.code == 1, done.stderr
    assert "step 1 (in epoch 1, batch 1): two runs from the beginning differ first in epoch 1, batch 1 (step 1): model " in done.stdout
    assert "(PYTHONHASHSEED)" in done.stdout


def test_a_script_that_fails(tmp_path: Path, verify: Callable[..., Outcome]) -> None:
    done = verify(FAILING)
    assert (done.code, done.stdout) == (1, "")
    assert "mat1 and mat2 shapes cannot be multiplied" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == "fit: the run without interruption failed, as above, with exit code 1; fit train script.py should work first"


MISTAKES = {
    "no script": (["none.py"], "fit: there is no script 'none.py'"),
    "options first": (["--steps", "3", "script.py"], "fit: the script comes first: fit verify-resume SCRIPT [OPTIONS]"),
    "two lengths": (["script.py", "--steps", "3", "--epochs", "2"], "fit: --epochs and --steps both say how long the runs are; leave one"),
    "no step": (["script.py", "--at", "1,x"], "fit: --at needs a step, such as --at 100 or --at 1,50,100, not 'x'"),
    "an option of train": (
        ["script.py", "--dry-run"],
        "fit: verify-resume keeps its runs to itself, so --dry-run does nothing; leave it out",
    ),
    "a plugin": (["script.py", "--plugins", "lgo"], "fit: no plugin named 'lgo' (installed: "),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name: str, run_fit: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(TINY_SCRIPT)
    words, expected = MISTAKES[name]
    done = run_fit("verify-resume", *words)
    assert done.code == 2
    assert done.stderr.startswith(expected), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_help_has_options_of_the_script(run_fit: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(TINY_SCRIPT)
    done = run_fit("verify-resume", "script.py", "--help")
    assert done.code == 0, done.stderr
    for option in ("--at STEP", "--steps", "--epochs", "--plugins NAMES", "--seed", "--lr FLOAT", "--jobs"):
        assert option in done.stdout
    assert "--dry-run" not in done.stdout
    assert "--verify-" not in done.stdout


def test_words() -> None:
    assert steps_of([]) == []
    assert steps_of(["3", "5, 7"]) == [3, 5, 7]
    with pytest.raises(FitError, match="not ''"):
        steps_of(["3,"])
    assert seed_in(["--lr", "3", "-p", "lr:x=1"]) is None
    assert seed_in(["--accumulate", "2", "--seed=4", "--lr", "3"]) == 4
    with pytest.raises(FitError, match="so --resume does nothing"):
        seed_in(["--resume", "run"])

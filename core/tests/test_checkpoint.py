"""Weights on disk: each tensor once, whole or not there, verified when they are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fit_core import FitError, weights
from fit_core.checkpoint import Damaged, digest_of, find_checkpoint, point, verified, write_checkpoint
from fit_core.testing import ForkServer, Outcome, tiny_trainer
from fit_core.testing import run_fit as run

Run = Callable[..., Outcome]


class Tied(nn.Module):
    """Two names for one tensor, a view of a larger one, a transposed one, and an empty one."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.outer = nn.Linear(3, 3)
        self.outer.weight = self.inner.weight
        self.register_buffer("whole", torch.arange(12.0))
        self.register_buffer("part", self.whole[3:6])
        self.register_buffer("turned", torch.arange(6.0).reshape(2, 3).T)
        self.register_buffer("empty", torch.zeros(0))
        self.register_buffer("count", torch.tensor(7))


def test_weights_are_taken_once_and_put_back(tmp_path: Path) -> None:
    model = Tied()
    tensors, aliases = weights.take(model, "the model")
    assert aliases == {"outer.weight": "inner.weight"}
    write_checkpoint(tmp_path, "one", {"model": tensors}, {})
    read = find_checkpoint(tmp_path / "one").tensors("model")
    other = Tied()
    with torch.no_grad():
        for value in other.state_dict().values():
            value.zero_()
    weights.put(other, read, aliases, "the model")
    assert other.outer.weight is other.inner.weight
    for (name, was), (_, now) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(was, now), name


def test_weights_that_do_not_fit_are_refused_before_anything_is_copied() -> None:
    tensors, aliases = weights.take(nn.Linear(3, 3), "the model")
    other = nn.Linear(3, 4)
    before = other.weight.detach().clone()
    with pytest.raises(FitError, match=r"does not fit the model: weight has shape \(3, 3\) there, but \(4, 3\) here; build the model with"):
        weights.put(other, tensors, aliases, "the model")
    assert torch.equal(before, other.weight)
    with pytest.raises(FitError, match="it lacks 0.bias, 0.weight, it has bias, weight besides"):
        weights.put(nn.Sequential(nn.Linear(3, 3)), tensors, aliases, "the model")


def test_extra_state_is_refused() -> None:
    class Extra(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"a": 1}

    with pytest.raises(FitError, match="cannot save the model: '_extra_state' is dict, not a tensor"):
        weights.take(Extra(1, 1), "the model")


def test_a_checkpoint_is_found_by_folder_pointer_and_run(tmp_path: Path) -> None:
    parent = tmp_path / "run" / "checkpoints"
    folder = write_checkpoint(parent, "step-1", {"model": {"a": torch.ones(2)}}, {"step": 1})
    point(parent, "last", folder.name)
    for path in (folder, parent / "last", tmp_path / "run"):
        found = find_checkpoint(path)
        assert (found.folder, found.manifest["step"]) == (folder, 1)
    write_checkpoint(parent, "step-1", {"model": {"a": torch.zeros(2)}}, {"step": 1})
    assert find_checkpoint(folder).tensors("model")["a"].tolist() == [0, 0]
    assert sorted(path.name for path in parent.iterdir()) == ["last", "step-1"], "nothing is left behind"


def test_damage_is_named(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "one", {"model": {"a": torch.ones(2)}}, {})
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for broken in (whole[:-1], whole[:-1] + b"x"):
        file.write_bytes(broken)
        with pytest.raises(FitError, match=r"one is damaged: model.safetensors is not as it was written"):
            find_checkpoint(folder)
    file.unlink()
    with pytest.raises(FitError, match="is damaged: model.safetensors"):
        find_checkpoint(folder)
    manifest = folder / "manifest.json"
    newer = {"format": 2, "files": {}}
    manifest.write_text(json.dumps({**newer, "sha256": digest_of(newer)}))
    with pytest.raises(FitError, match="has format 2, and this fit-core reads format 1"):
        find_checkpoint(folder)
    manifest.write_text("{")
    with pytest.raises(FitError, match="is damaged: manifest.json cannot be read"):
        find_checkpoint(folder)
    with pytest.raises(FitError, match="there is no checkpoint at .*nowhere"):
        find_checkpoint(tmp_path / "nowhere")


def test_files_can_be_verified_one_by_one(tmp_path: Path) -> None:
    folder = tiny_trainer().save(tmp_path / "saved")
    (folder / "model.safetensors").write_bytes(b"")
    assert verified(folder, only=["state.json"]).full
    with pytest.raises(Damaged, match="model.safetensors is not as it was written"):
        verified(folder, only=["model.safetensors"])


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FitError, match="cannot write the checkpoint .*; nothing older was removed"):
        write_checkpoint(tmp_path / "file" / "below", "one", {}, {})


class Scale(nn.Module):
    """A loss with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, outputs: Any, targets: Any) -> Any:
        return nn.functional.cross_entropy(outputs * self.scale, targets)


def test_the_weights_of_a_loss_belong_to_a_checkpoint(tmp_path: Path) -> None:
    from fit_core.saving import SaveLast, load_weights

    trainer = tiny_trainer(loss_fn=Scale(), plugins=[SaveLast()], run_dir=tmp_path)
    trainer.fit(epochs=2)
    expected = trainer.evaluate()
    other = tiny_trainer(loss_fn=Scale())
    load_weights(other, find_checkpoint(tmp_path))
    assert other.evaluate() == expected
    tiny_trainer(plugins=[SaveLast()], run_dir=tmp_path).fit(epochs=1)
    with pytest.raises(FitError, match="has no weights of the loss; build the trainer with the options it was trained with"):
        load_weights(tiny_trainer(loss_fn=Scale()), find_checkpoint(tmp_path))


SCRIPT = """
import functools, torch
from enum import Enum
from torch import nn
from fit_core.testing import tiny_batches
from fit_core import Trainer, hookimpl

class Size(Enum):
    SMALL = 1
    LARGE = 2

class Loud:
    @hookimpl
    def on_eval_end(self, state):
        print("loud", state.phase)

def build_trainer(size: Size = Size.SMALL, widths: list[int] = [4], seed: int = 0, epochs: int = 2):
    layers = [nn.Linear(a, b) for a, b in zip([4, *widths], [*widths, 3])]
    data = tiny_batches(4, seed=seed % 1000)
    return Trainer(nn.Sequential(*layers), nn.CrossEntropyLoss(), functools.partial(torch.optim.SGD, lr=0.1), metrics=["accuracy"],
        train_data=data, val_data={"near": data[:1], "far": data[1:]}, test_data=data if size is Size.LARGE else data[:2], epochs=epochs)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Outcome:
    cwd = tmp_path_factory.mktemp("trained")
    (cwd / "script.py").write_text(SCRIPT)
    done = run("train", "script.py", "--size", "large", "--widths", "[5,6]", "--run-dir", "run", cwd=cwd, server=fork_server)
    assert done.code == 0, done.stderr
    return done


def test_evaluate_uses_options_and_seed_of_the_checkpoint(trained: Outcome, run_fit: Run) -> None:
    assert trained.manifest["options"]["widths"] == "[5,6]"
    assert trained.manifest["options"]["size"] == "large"
    done = run_fit("evaluate", "script.py", "--checkpoint", "run", "--format", "json", cwd=trained.cwd)
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == pytest.approx(trained.manifest["test"])
    text = run_fit("evaluate", "script.py", "--checkpoint", "run/checkpoints/last", "--data", "val", cwd=trained.cwd).stdout
    assert [part.split()[0] for part in text.split("  ")] == ["val_near_loss", "val_near_accuracy", "val_far_loss", "val_far_accuracy"]
    other = run_fit("evaluate", "script.py", "--checkpoint", "run", "--size", "small", "--seed", "1", "--format", "json", cwd=trained.cwd)
    assert json.loads(other.stdout) != pytest.approx(trained.manifest["test"])
    assert len(list(trained.cwd.glob("**/manifest.json"))) == 2, "neither makes a run folder"


def test_predict_writes_the_outputs(trained: Outcome, run_fit: Run) -> None:
    import numpy as np

    done = run_fit("predict", "script.py", "--checkpoint", "run", "--output", "p.npy", cwd=trained.cwd)
    assert (done.code, done.stdout) == (0, "float32 (32, 3) in p.npy\n")
    assert run_fit("predict", "script.py", "--checkpoint", "run", "-o", "p.pt", "--limit-batches", "1", cwd=trained.cwd).code == 0
    assert np.array_equal(np.load(trained.cwd / "p.npy")[:8], torch.load(trained.cwd / "p.pt").numpy())


WRONG: dict[str, tuple[list[str], str]] = {
    "no file": (["predict", "script.py", "--checkpoint", "run"], "Missing option '-o' / '--output'."),
    "format": (
        ["predict", "script.py", "-o", "p.csv"],
        "cannot tell the format of 'p.csv'; name it *.npy (one tensor) or *.pt (any nesting)",
    ),
    "nowhere": (["evaluate", "script.py", "--checkpoint", "runn"], "there is no checkpoint at runn; give its folder"),
    "other model": (["evaluate", "script.py", "--checkpoint", "run", "--widths", "[3,3]"], "does not fit the model: 0.weight has shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes(trained: Outcome, name: str, run_fit: Run) -> None:
    arguments, message = WRONG[name]
    done = run_fit(*arguments, cwd=trained.cwd)
    assert done.code == 2
    lines = [line for line in done.stderr.splitlines() if "as build_trainer() made it" not in line]
    assert len(lines) == 1
    assert message in lines[0]


def test_an_option_that_is_gone_is_named(trained: Outcome, run_fit: Run) -> None:
    (trained.cwd / "later.py").write_text(SCRIPT.replace("widths", "layers_of"))
    done = run_fit("evaluate", "later.py", "--checkpoint", "run", cwd=trained.cwd)
    assert (done.code, done.stderr) == (2, "fit: the checkpoint was made with the option 'widths', which build_trainer has no longer\n")

"""What a review found, each with the case that failed."""

from __future__ import annotations

import itertools
import json
import math
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler, get_worker_info

from fit_core import FitError, State, Trainer, TrainingError, hookimpl, weights
from fit_core.batch import join
from fit_core.checkpoint import find_checkpoint
from fit_core.settings import plugin_settings
from fit_core.testing import Outcome, tiny_batches, tiny_trainer

Run = Callable[..., Outcome]
X = torch.randn(70, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(70) % 3


@pytest.mark.parity("T13", "T14")
def test_validation_sets_may_be_arrays() -> None:
    row = tiny_trainer().fit((X, Y), {"near": (X[:30], Y[:30]), "far": (X[:20], Y[:20])}, epochs=1)[0]
    assert {"val_near_loss", "val_far_loss"} <= row.keys()


def test_predictions_of_text_and_of_samples_stay_in_their_order() -> None:
    trainer = tiny_trainer()
    found = trainer.predict([(X[:2], ["a", "b"]), (X[2:5], ["c", "d", "e"])], with_targets=True)
    assert found[1] == ["a", "b", "c", "d", "e"]
    boxes = [[{"box": torch.ones(2)}, {"box": torch.ones(1)}], [{"box": torch.ones(3)}]]
    assert [len(image["box"]) for image in join(boxes)] == [2, 1, 3]
    heads = join([[torch.ones(2, 1), torch.ones(2, 3)], [torch.ones(1, 1), torch.ones(1, 3)]])
    assert [tuple(head.shape) for head in heads] == [(3, 1), (3, 3)]
    assert len(join([torch.ones(()), torch.ones(2)])) == 2, "ragged"


def test_virtual_epochs_over_several_calls_go_on_in_new_orders() -> None:
    seen: list[list[float]] = []

    @hookimpl
    def on_batch_start(state: State) -> None:
        seen[-1] += state.inputs.flatten().tolist()

    trainer = tiny_trainer(plugins=[on_batch_start], seed=3, val_data=None)
    for _ in range(3):
        seen.append([])
        trainer.fit((X, Y), epochs=1, steps_per_epoch=2, batch_size=5)
    assert seen[0] != seen[1] != seen[2]


class Opened(Dataset[Any]):
    """Opened once in each worker."""

    handle: Any = None

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        assert self.handle == "open"
        return X[index], Y[index]


def open_it(worker: int) -> None:
    dataset = get_worker_info().dataset  # type: ignore[union-attr]
    assert isinstance(dataset, Opened)
    dataset.handle = "open"


def test_workers_find_the_users_dataset_under_a_seed() -> None:
    loader = DataLoader(Opened(), batch_size=2, num_workers=1, worker_init_fn=open_it)
    assert len(tiny_trainer(seed=1).fit(loader, epochs=1)) == 1


def test_weights_of_a_sampler_may_change_between_epochs() -> None:
    sampler = WeightedRandomSampler([1.0] * 35 + [0.0] * 35, 20)
    seen: list[float] = []

    @hookimpl
    def on_epoch_end() -> None:
        sampler.weights = torch.tensor([0.0] * 35 + [1.0] * 35)

    @hookimpl
    def on_batch_start(state: State) -> None:
        seen.extend(state.targets.tolist())

    trainer = tiny_trainer(plugins=[on_epoch_end, on_batch_start], seed=1, val_data=None, loss_fn=lambda outputs, _: outputs.mean())
    trainer.fit(DataLoader(TensorDataset(X, torch.arange(70)), batch_size=10, sampler=sampler), epochs=2)
    assert max(seen[:20]) < 35 <= min(seen[20:])


def test_a_batch_of_one_thing_is_inputs() -> None:
    trainer = tiny_trainer()
    assert torch.equal(trainer.predict(DataLoader(TensorDataset(X), batch_size=8)), trainer.predict(X))


Turned = namedtuple("Turned", "targets inputs")


def test_a_namedtuple_of_arrays_keeps_its_fields() -> None:
    assert tiny_trainer().evaluate(Turned(Y, X)) == tiny_trainer().evaluate((X, Y))


class Lengths(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, packed: PackedSequence) -> Any:
        return packed.data.sum() * self.weight


def test_a_packed_sequence_is_one_input() -> None:
    packed = pack_sequence([torch.ones(3), torch.ones(1)])
    assert Trainer(Lengths(), quiet=True).predict([(packed, torch.zeros(2)), packed]).tolist() == [4, 4]


def test_torch_criteria_without_targets_get_a_sentence() -> None:
    with pytest.raises(FitError, match="the batch has no targets, and CrossEntropyLoss needs them: data must give"):
        tiny_trainer().evaluate(X)
    with pytest.raises(FitError, match="no targets, and mse_loss needs them"):
        tiny_trainer(loss_fn=partial(nn.functional.mse_loss)).evaluate(X)


class Short(Dataset[Any]):
    def __init__(self, good: int) -> None:
        self.good = good

    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> Any:
        if index >= self.good:
            raise StopIteration
        return X[index], Y[index]


def test_short_sources_are_named_with_their_counts() -> None:
    with pytest.raises(FitError, match="train_data gave 0 batches, but its length is 50"):
        tiny_trainer().fit(DataLoader(Short(0), batch_size=1), epochs=1)
    with pytest.raises(FitError, match="val_far_data gave 3 batches, but its length is 50"):
        tiny_trainer().fit(val_data={"near": tiny_batches(1), "far": DataLoader(Short(3), batch_size=1)}, epochs=1)


def test_steps_that_are_never_made_end_the_run() -> None:
    batches = [(x * math.nan, y) for x, y in tiny_batches(2)]
    with pytest.raises(TrainingError, match="no step was made in epoch 1, so that steps=5 would never be reached"):
        tiny_trainer(finite="skip", train_data=batches).fit(steps=5)


@pytest.mark.parametrize("data", [itertools.cycle(tiny_batches(1)), itertools.repeat(tiny_batches(1)[0])])
def test_endless_iterators_are_refused(data: Any) -> None:
    with pytest.raises(FitError, match=r"train_data is endless \((cycle|repeat)\): pass what it repeats, and steps_per_epoch"):
        tiny_trainer().fit(data, epochs=2)


def test_arrays_beside_something_else_get_a_sentence() -> None:
    with pytest.raises(FitError, match="train_data is a tuple of Tensor and list; make all of its parts arrays"):
        tiny_trainer().fit((X, Y.tolist()), epochs=1)


def test_big_endian_arrays() -> None:
    assert tiny_trainer().evaluate((X.numpy().astype(">f8"), Y.numpy().astype(">i4"))) == tiny_trainer().evaluate((X, Y))


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from zip(X, Y, strict=True)


def test_a_stream_draws_nothing_from_the_models_random_numbers() -> None:
    def trained(data: Any, **size: int) -> Any:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        return tiny_trainer(model=model, seed=3, val_data=None).fit(data, epochs=1, **size)[0]["loss"]

    assert trained(Stream(), batch_size=10) == trained([(X[i : i + 10], Y[i : i + 10]) for i in range(0, 70, 10)])


def test_errors_while_data_is_read_say_where() -> None:
    class Bad(Dataset[Any]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            if index:
                raise ValueError("no such image")
            return X[0], Y[0]

    with pytest.raises(ValueError, match="no such image") as caught:
        tiny_trainer().fit(DataLoader(Bad(), batch_size=1), epochs=1)
    assert "raised while train_data gave batch 2 (epoch 1, train)" in caught.value.__notes__


def test_an_epoch_in_which_nothing_was_seen_has_no_metric() -> None:
    @hookimpl
    def on_batch_start(trainer: Trainer) -> None:
        trainer.skip_batch("none of them")

    row = tiny_trainer(plugins=[on_batch_start], metrics=["accuracy"], val_data=None).fit(epochs=1)[0]
    assert "accuracy" not in row
    assert not any(math.isnan(value) for value in row.values())


@pytest.mark.parametrize("arguments", [{"epochs": np.int64(2)}, {"epochs": 2.0}, {"epochs": 2, "steps": np.int32(9)}])
def test_whole_numbers_of_any_type_count(arguments: dict[str, Any]) -> None:
    assert len(tiny_trainer().fit(**arguments)) == 2


@pytest.mark.parity("T15")
@pytest.mark.parametrize(
    "arguments", [{"steps_per_epoch": math.inf}, {"limit_batches": math.inf}, {"batch_size": 3.5}, {"batch_size": "8"}, {"epochs": 1.5}]
)
@pytest.mark.parity("T15")
def test_other_numbers_do_not(arguments: dict[str, Any]) -> None:
    with pytest.raises(FitError, match="must be at least 1 and whole, not"):
        tiny_trainer().fit((X, Y), **{"epochs": 1} | arguments)
    with pytest.raises(FitError, match="log_every must be at least 1 and whole, not None"):
        tiny_trainer(log_every=None)


def test_lazy_modules() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    trainer = tiny_trainer(model=model, optimizer=None)
    assert "0 parameters" in repr(trainer)
    tensors, aliases = weights.take(nn.Sequential(nn.Linear(4, 3)), "the model")
    weights.put(model, tensors, aliases, "the model")
    assert model[0].weight.shape == (3, 4)


def test_tensors_that_share_memory_are_saved_apart_and_what_cannot_be_is_named() -> None:
    from safetensors.torch import save

    module = nn.Linear(4, 3)
    module.register_buffer("flat", module.weight.data.view(-1))
    module.register_buffer("conj", torch.complex(torch.ones(2), torch.ones(2)).conj())
    tensors, _ = weights.take(module, "the model")
    save(tensors)
    assert tensors["conj"][0] == torch.complex(torch.tensor(1.0), torch.tensor(-1.0))
    for bad in (torch.eye(2).to_sparse(), torch.zeros(1, dtype=torch.complex128)):
        module.register_buffer("bad", bad)
        with pytest.raises(FitError, match="cannot save 'bad' of the model: it is a tensor .* that a checkpoint cannot hold"):
            weights.take(module, "the model")


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "script.py").write_text("import torch\n" * 100)
    for name in ("binary", "script.py"):
        with pytest.raises(FitError, match="there is no checkpoint at"):
            find_checkpoint(tmp_path / name)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(FitError, match="is no checkpoint: manifest.json does not say what it holds"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["[tool]\nfit = 3", '[tool.fit]\nplugins = ["logging"]'])
def test_settings_of_another_shape(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(FitError, match=r"has tables of options only; write \[tool.fit.plugins.NAME\]"):
        plugin_settings(tmp_path)


def test_settings_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(FitError, match="cannot read"):
        plugin_settings(tmp_path)
    (tmp_path / "pyproject.toml").write_text("tool = 3")
    assert plugin_settings(tmp_path) == {}


def test_an_optimizer_of_a_frozen_model_gets_a_sentence() -> None:
    model = nn.Linear(4, 3).requires_grad_(False)
    with pytest.raises(FitError, match="there is nothing to train: no parameter of update 'main' requires a gradient"):
        tiny_trainer(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1)).fit(epochs=1)


SCRIPT = """
import math, pickle
from torch import nn
from fit_core import hookimpl
from fit_core.testing import tiny_trainer

def build_trainer(act=nn.ReLU, N: int = 10, limit: float = math.inf, table: dict = {}, data: str = "mnist", epochs: int = 1):
    print(act.__name__, N, limit, table, data)
    return tiny_trainer(epochs=epochs)
"""


def test_defaults_and_names_of_every_kind_reach_the_script(run_script: Run) -> None:
    done = run_script(SCRIPT, "--N", "5", "--data", "cifar", "--run-dir", "run")
    assert (done.code, done.stdout.splitlines()[0]) == (0, "ReLU 5 inf {} cifar"), done.stderr
    assert (done.manifest["options"]["N"], done.manifest["options"]["limit"]) == (5, "inf")
    again = run_script(SCRIPT, "--checkpoint", "run", "--data", "val", command="evaluate")
    assert (again.code, again.stdout.splitlines()[0]) == (0, "ReLU 5 inf {} cifar"), again.stderr
    assert again.stdout.splitlines()[1].startswith("val_loss")


@pytest.mark.parametrize(("parameter", "flag"), [("save: bool = True", "--no-save"), ("help: str = ''", "--help")])
def test_an_option_that_is_fits_too_is_refused(run_script: Run, parameter: str, flag: str) -> None:
    done = run_script(f"def build_trainer({parameter}): pass")
    assert done.code == 2
    assert f"makes the option {flag}, which is fit's; rename it" in done.stderr


def test_errors_that_click_takes_for_an_interrupt_keep_their_traceback(run_script: Run) -> None:
    done = run_script("raise EOFError('a torn file')")
    assert done.code == 1
    assert "EOFError: a torn file" in done.stderr
    done = run_script(SCRIPT + "\n@hookimpl\ndef on_batch_end():\n    raise BrokenPipeError('socket')\n")
    assert done.code == 1
    assert "BrokenPipeError: socket" in done.stderr


def test_the_users_frames_stay_when_a_script_runs_itself(tmp_path: Path) -> None:
    import subprocess
    import sys

    source = """
import fit_core
def helper():
    raise KeyError("inner")
def build_trainer():
    try:
        helper()
    except KeyError as error:
        raise ValueError("outer") from error
fit_core.run(build_trainer)
"""
    (tmp_path / "mine.py").write_text(source.replace("fit_core.run", "if __name__ == '__main__': fit_core.run"))
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.count("in helper") == 1
    assert done.stderr.count("in build_trainer") == 2
    assert "in main" not in done.stderr
    whole = subprocess.run([sys.executable, "mine.py", "--full-trace"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "in main" in whole.stderr


def test_a_seed_that_is_given_is_the_seed(run_script: Run) -> None:
    script = "from fit_core.testing import tiny_trainer\ndef build_trainer():\n    return tiny_trainer(epochs=1, seed=5)\n"
    assert run_script(script, "--seed", "9").manifest["trainer_seed"] == 9
    manifest = run_script(script).manifest
    assert (manifest["trainer_seed"], manifest["seed"] != 5) == (5, True)


LINES = {
    "script first": (["train", "--epochs", "3", "s.py"], "the script comes first: fit train SCRIPT [OPTIONS]"),
    "not callable": (["train", "constant.py"], "is no function but int; write: def build_trainer() -> Trainer"),
    "standard library": (["train", "json.py"], "has the name of a module of Python's standard library; rename it"),
    "huge seed": (["train", "fine.py", "--seed", "9" * 30], "is not in the range"),
    "no data": (["train", "nodata.py", "--dry-run"], "how long is an epoch without data?"),
}


@pytest.mark.parametrize("name", LINES)
def test_one_line(name: str, run_fit: Run, tmp_path: Path) -> None:
    (tmp_path / "constant.py").write_text("build_trainer = 3")
    (tmp_path / "json.py").write_text("")
    (tmp_path / "fine.py").write_text(SCRIPT)
    (tmp_path / "nodata.py").write_text(
        "from torch import nn, ones, optim\nfrom fit_core import Trainer\n"
        "class Free(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.x = nn.Parameter(ones(1))\n"
        "    def forward(self):\n        return self.x.sum()\n"
        "def build_trainer(epochs: int = 2):\n"
        "    return Trainer(Free(), lambda o, t: o, lambda p: optim.SGD(p, lr=0.1), epochs=epochs)\n"
    )
    arguments, message = LINES[name]
    done = run_fit(*arguments)
    assert (done.code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert message in done.stderr


def test_help_survives_two_packages_that_offer_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_fit: Run) -> None:
    for name in ("fit-a", "fit-b"):
        info = tmp_path / "site" / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[fit.commands]\nhello = nothing:here\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    done = run_fit("--help")
    assert done.code == 0
    assert "from fit-a 1.0 and from fit-b 1.0" in done.stdout
    assert "two distributions offer 'hello'" in run_fit("hello").stderr

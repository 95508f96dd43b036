"""The benchmark of trainers: the plain loop and fit train the same, and the picture shows what was measured."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def peers() -> Any:
    """Imports modules of benchmarks/peers; the other trainers are not installed here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield lambda name: import_module(f"peers.{name}")


def tensors(samples: int, width: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(samples, width, generator=generator), torch.randint(0, classes, (samples,), generator=generator)


def test_steps_are_those_of_the_plain_loop(peers: Any) -> None:
    task = peers("tasks").Step([tensors(8, 32, 4)] * 5)
    plain, ours = (peers(name).step(task)() for name in ("plain", "fit"))
    assert all(map(torch.equal, plain.parameters(), ours.parameters()))
    assert task.loss_of(ours) < task.loss_of(task.network())


def test_a_training_set_up_is_what_was_written_by_hand(peers: Any, tmp_path: Path) -> None:
    tasks = peers("tasks")
    trained, histories = [], []
    for name in ("plain", "fit"):
        val = [tensors(5, 784, 10)]
        task = tasks.SetUp(tasks.Batches(*tensors(50, 784, 10), 8), val, tmp_path / name, epochs=3)
        task.folder.mkdir()
        train = peers(name).set_up(task)
        torch.manual_seed(0)  # the order of the samples
        trained.append(train())
        histories.append([line.split(",") for line in (task.folder / "history.csv").read_text().splitlines()])
        peers("child").look(task.folder, task.epochs)
    assert all(torch.allclose(mine, other, atol=1e-6) for mine, other in zip(*(net.parameters() for net in trained), strict=True))
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        plain, ours = ([float(row[head.index(name)]) for row in table] for head, *table in histories)
        assert ours == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("name", ["plain", "sliced", "fit"])
def test_data_in_memory_are_trained_on_for_all_steps(peers: Any, name: str) -> None:
    task = peers("tasks").InMemory(*tensors(50, 784, 10), batch_size=8)
    train = peers(name).in_memory(task)
    with peers("child").counted() as done:
        trained = train()
    assert len(done) == task.steps == 14
    assert task.loss_of(trained) < task.loss_of(task.network())


def test_the_picture_is_of_the_figures_that_are_kept(peers: Any) -> None:
    figures = json.loads((ROOT / "benchmarks" / "results" / "compare.json").read_text())["figures"]
    assert (ROOT / "docs" / "compare.svg").read_text() == peers("plot").drawn(figures)

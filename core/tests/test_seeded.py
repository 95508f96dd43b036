"""Under a seed, data comes in one order: whatever holds it, and however it is loaded."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from fit_core import Trainer, hookimpl
from fit_core.data import as_batches, begin_pass

X = torch.randn(22, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(22) % 3


class Noisy(Dataset[Any]):
    """Draws from all three random states for every sample."""

    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> Any:
        return X[index] + torch.rand(1) + random.random() + float(np.random.rand()), Y[index]


class Whole(Noisy):
    """Is asked for all samples of a batch at once."""

    def __getitems__(self, indices: list[int]) -> Any:
        return [self[index] for index in indices]


class Backwards(Sampler[int]):
    """A sampler of the user's own."""

    def __iter__(self) -> Any:
        return iter(range(21, -1, -1))

    def __len__(self) -> int:
        return 22


def shout(samples: list[Any]) -> Any:
    """A collation that draws too."""
    inputs, targets = zip(*samples, strict=True)
    return torch.stack(inputs) * torch.rand(1), torch.stack(targets)


def rows(data: Any, seed: int | None = 5, **arguments: Any) -> tuple[list[dict[str, float]], Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    trainer = Trainer(model, nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1), seed=seed, quiet=True)
    found = trainer.fit(data, epochs=2, **arguments)
    return [{k: v for k, v in row.items() if k != "seconds"} for row in found], torch.cat(
        [p.detach().flatten() for p in model.parameters()]
    )


CONTAINERS: dict[str, Any] = {
    "arrays": (X.numpy(), Y.numpy()),
    "dataset": TensorDataset(X, Y),
    "list of samples": list(zip(X, Y, strict=True)),
    "loader": DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True),
    "loader with workers": DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True, num_workers=2),
    "loader with a batch sampler": DataLoader(
        TensorDataset(X, Y), batch_sampler=BatchSampler(RandomSampler(range(22)), batch_size=4, drop_last=False)
    ),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_same_data_gives_the_same_numbers_in_any_container(name: str) -> None:
    size = {} if name.startswith("loader") else {"batch_size": 4}
    expected, found = rows((X, Y), batch_size=4), rows(CONTAINERS[name], **size)
    assert found[0] == expected[0]
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("dataset", [Noisy(), Whole()], ids=["samples", "whole batches"])
def test_augmentation_is_the_same_with_any_number_of_workers(dataset: Any) -> None:
    def loader(workers: int) -> Any:
        return DataLoader(dataset, batch_size=4, shuffle=True, collate_fn=shout, num_workers=workers, persistent_workers=workers > 0)

    expected = rows(loader(0))
    assert rows(loader(2))[0] == expected[0]
    assert rows(loader(1))[0] == expected[0]
    assert rows(loader(0), seed=6)[0] != expected[0]


def batches_of(loader: Any, seed: int | None, number: int) -> list[Any]:
    return [[index.item() for index in batch[0]] for batch in begin_pass(as_batches(loader, None, True, "train_data", seed=seed), number)]


INDICES = TensorDataset(torch.arange(22))
SAMPLERS: dict[str, Any] = {
    "shuffle": lambda: DataLoader(INDICES, batch_size=4, shuffle=True, drop_last=True),
    "subset": lambda: DataLoader(INDICES, batch_size=4, sampler=SubsetRandomSampler(range(3, 17))),
    "weighted": lambda: DataLoader(INDICES, batch_size=4, sampler=WeightedRandomSampler([1.0] * 22, 30)),
    "random": lambda: DataLoader(INDICES, batch_size=4, sampler=RandomSampler(INDICES, replacement=True, num_samples=9)),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_orders_are_functions_of_seed_and_pass(name: str) -> None:
    loader = SAMPLERS[name]()
    first = batches_of(loader, 5, 1)
    torch.rand(3)
    assert batches_of(SAMPLERS[name](), 5, 1) == first
    assert batches_of(loader, 5, 2) != first
    assert batches_of(loader, 6, 1) != first
    assert [len(batch) for batch in first] == [len(batch[0]) for batch in loader]
    assert len(as_batches(loader, None, True, "train_data", seed=5)) == len(loader)  # type: ignore[arg-type]
    assert {index for batch in first for index in batch} <= set(range(22))


def test_a_loader_in_order_stays_in_order() -> None:
    assert batches_of(DataLoader(INDICES, batch_size=10), 5, 1) == [list(range(10)), list(range(10, 20)), [20, 21]]


def test_the_users_own_sampler_and_loaders_without_a_seed_are_left_alone() -> None:
    own = DataLoader(INDICES, batch_size=11, sampler=Backwards())
    assert as_batches(own, None, True, "train_data", seed=5) is own
    plain = DataLoader(INDICES, shuffle=True)
    assert as_batches(plain, None, True, "train_data") is plain


def test_hooks_reach_the_users_loader_through_the_seeded_one() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=4)
    seen = []

    @hookimpl(wrapper=True)
    def iter_batches(data: Any) -> Any:
        seen.append((data.dataset, data.batch_size))
        return (yield)

    Trainer(nn.Linear(4, 3), nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1), plugins=[iter_batches], seed=1, quiet=True).fit(
        loader, epochs=1
    )
    assert seen == [(loader.dataset, 4)]


def test_virtual_epochs_read_each_pass_in_an_order_of_its_own() -> None:
    seen: list[int] = []

    @hookimpl
    def on_batch_start(state: Any) -> None:
        seen.extend(state.inputs.flatten().long().tolist())

    trainer = Trainer(
        nn.Linear(1, 1), lambda outputs, _: outputs.mean(), partial(torch.optim.SGD, lr=0.1), plugins=[on_batch_start], seed=1, quiet=True
    )
    trainer.fit((torch.arange(6.0)[:, None],), epochs=4, steps_per_epoch=3, batch_size=1)
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert seen[:6] != seen[6:]

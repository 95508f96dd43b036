"""With no plugins and no seed, fit computes what the plain loop computes, to the bit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fit_core import Trainer

EPOCHS = 3


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, 3))


def loader(shuffle: bool = True) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(3)
    samples = TensorDataset(torch.randn(27, 6, generator=generator), torch.randint(0, 3, (27,), generator=generator))
    return DataLoader(samples, batch_size=8, shuffle=shuffle)  # the last batch has 3 of 8


def plain_loop(model: nn.Module, data: Iterable[Any], optimizer: torch.optim.Optimizer) -> None:
    loss_fn = nn.CrossEntropyLoss()
    model.train()
    for _ in range(EPOCHS):
        for inputs, targets in data:
            loss = loss_fn(model(inputs), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("validate", [False, True], ids=["no validation", "validation"])
@pytest.mark.parametrize(
    "optimizer", [partial(torch.optim.SGD, lr=0.1, momentum=0.9), partial(torch.optim.Adam, lr=0.01)], ids=["sgd", "adam"]
)
@pytest.mark.parametrize("plugins", [[], ["logging"]], ids=["no plugins", "logging"])
def test_parameters_equal_those_of_the_plain_loop(
    validate: bool, optimizer: Callable[..., torch.optim.Optimizer], plugins: list[str], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = model(), model()
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    torch.manual_seed(7)
    plain_loop(theirs, loader(), optimizer(theirs.parameters()))
    their_next = torch.rand(3)
    torch.manual_seed(7)
    trainer = Trainer(ours, nn.CrossEntropyLoss(), optimizer, metrics=["accuracy"], plugins=plugins, run_dir=tmp_path)
    trainer.fit(loader(), loader(shuffle=True) if validate else None, epochs=EPOCHS)
    assert torch.equal(torch.rand(3), their_next), "the random state has moved on differently"
    for name, parameter in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], parameter), name


def test_the_loader_is_used_untouched() -> None:
    class Counting:
        def __init__(self) -> None:
            self.iterations = self.fetched = 0

        def __iter__(self) -> Any:
            self.iterations += 1
            for batch in loader(shuffle=False):
                self.fetched += 1
                yield batch

    seen = []
    data = Counting()

    class Watch(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            seen.append(data.fetched)
            return super().forward(inputs)

    Trainer(Watch(6, 3), nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1), quiet=True).fit(data, epochs=2)
    assert data.iterations == 2
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8], "nothing is fetched ahead"

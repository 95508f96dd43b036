"""Every source of docs/data.md: it gives the same numbers as any other, or its sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fit_core import FitError, Trainer
from fit_core.testing import tiny_trainer

X = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(10) % 3
BATCHES = [(X[:4], Y[:4]), (X[4:8], Y[4:8]), (X[8:], Y[8:])]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from zip(X, Y, strict=True)


class Loader:
    def __iter__(self) -> Any:
        yield from BATCHES


class Samples:
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        return X[index], Y[index]


class Flexible(nn.Linear):
    """Takes one input, or two halves."""

    def forward(self, a: Tensor, b: Tensor | None = None) -> Tensor:
        return super().forward(a if b is None else torch.cat([a, b], 1))


def loss_fn(outputs: Tensor, targets: Any) -> Tensor:
    return F.cross_entropy(outputs, targets["label"] if isinstance(targets, dict) else targets)


SOURCES: dict[str, Any] = {
    "loader": DataLoader(TensorDataset(X, Y), batch_size=4),
    "list of batches": BATCHES,
    "iterable": Loader(),
    "generator": lambda: (batch for batch in BATCHES),
    "dataset": TensorDataset(X, Y),
    "stream": Stream(),
    "samples": Samples(),
    "list of samples": [(x, int(y)) for x, y in zip(X, Y, strict=True)],
    "list of samples with tensors": list(zip(X, Y, strict=True)),
    "tensors": (X, Y),
    "float64 arrays": (X.double().numpy(), Y.int().numpy()),
    "reversed arrays": (X.flip(0).numpy()[::-1], Y.flip(0).numpy()[::-1]),
    "table and column": (pd.DataFrame(X.double().numpy(), columns=list("abcd")), pd.Series(Y.numpy())),
    "two inputs": ((X[:, :2], X[:, 2:]), Y),
    "inputs by name": ({"a": X[:, :2].numpy(), "b": X[:, 2:]}, Y),
    "targets by name": (X, {"label": Y}),
}
OWN_BATCHES = ("loader", "list of batches", "iterable", "generator")


def trainer() -> Trainer:
    torch.manual_seed(0)
    return Trainer(Flexible(4, 3), loss_fn, lambda parameters: torch.optim.SGD(parameters, lr=0.1), quiet=True)


@pytest.mark.parity("T4", "T10", "T11")
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parity("T10", "T11")
def test_every_source_gives_the_same_numbers(name: str) -> None:
    source = SOURCES[name]() if name == "generator" else SOURCES[name]
    size = {} if name in OWN_BATCHES else {"batch_size": 4}
    found, expected = trainer().evaluate(source, **size), trainer().evaluate((X, Y), batch_size=10)
    assert found == pytest.approx(expected, rel=1e-6)
    source = SOURCES[name]() if name == "generator" else SOURCES[name]
    row = trainer().fit(source, epochs=1, **size)[0]
    assert 0 < row["loss"] < 10


@pytest.mark.parametrize(
    "source",
    [X, X.numpy(), (X,), pd.DataFrame(X.numpy()), {"a": X[:, :2], "b": X[:, 2:]}],
    ids=["tensor", "array", "tuple", "table", "dict"],
)
@pytest.mark.parity("T12")
def test_inputs_alone(source: Any) -> None:
    mine = trainer()
    assert torch.allclose(mine.predict(source, batch_size=3), mine.model(X).detach(), atol=1e-6)


SENTENCES: dict[str, tuple[Any, str]] = {
    "range": (3, "train_data must be a DataLoader, an iterable of batches, a Dataset, a list of samples, or arrays, not int"),
    "text": ("digits", "not str"),
    "dict of lists": ({"a": [1, 2]}, "not dict"),
    "empty list": ([], "train_data is empty"),
    "empty arrays": ((X[:0], Y[:0]), "train_data is empty"),
    "empty dataset": (TensorDataset(X[:0]), "train_data is empty"),
    "lengths": ((X, Y[:3]), "the arrays of train_data differ in length: 10, 3"),
    "strings": ((np.array(["a", "b"]), Y[:2]), r"train_data\[0\] has dtype <U1; numbers or booleans are needed"),
    "objects": ((pd.DataFrame({"a": ["x", "y"]}), Y[:2]), r"train_data\[0\] has dtype object; numbers or booleans are needed"),
    "by name": (({"a": np.array([None])}, Y[:1]), r"train_data\[0\]\['a'\] has dtype object"),
    "number": ((X, np.float32(3)), r"train_data\[1\] is a single number; its first dimension must be the samples"),
    "function": (lambda: BATCHES, "not function; call it: train_data=<lambda>"),
    "three": ([(X, X, Y)], r"not a tuple of 3; write a hook prepare_batch\(batch\)"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_or_its_sentence(name: str) -> None:
    source, message = SENTENCES[name]
    with pytest.raises(FitError, match=message):
        trainer().fit(source, epochs=1)


def test_the_same_data_for_training_and_validation_warns() -> None:
    data = (X, Y)
    with pytest.warns(UserWarning, match="training and validation data are the same object"):
        tiny_trainer().fit(data, data, epochs=1)


@pytest.mark.parity("T4", "T5")
def test_an_error_of_the_model_or_the_loss_says_what_it_was_called_with() -> None:
    with pytest.raises(RuntimeError) as caught:
        trainer().fit((X.double(), Y), epochs=1)
    assert caught.value.__notes__[0] == "the model was called with float64 (10, 4); its parameters are float32"
    with pytest.raises(RuntimeError) as caught:
        tiny_trainer().fit((X, Y.int()), None, epochs=1)
    assert caught.value.__notes__[0] == "the loss was computed from outputs float32 (10, 3) and targets int32 (10,)"

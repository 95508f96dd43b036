"""All plugins of the package at once, in several orders, with windows and two updates."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fit_core import State, Trainer, Update, Updates, hookimpl
from fit_core.testing import check_plugin, check_resume, tiny_trainer
from fit_device import ActivationCheckpointing, Compile

ADAM = partial(torch.optim.Adam, lr=0.01)
ALL = [
    "device",
    "channels-last",
    "activation-checkpointing:modules=body.*",
    "autocast",
    "compile:backend=aot_eager",
    "precision",
    "deterministic",
]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Network(nn.Module):
    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.body = nn.ModuleList([nn.Sequential(nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU()), nn.Dropout(dropout)])
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = inputs if inputs.dim() == 4 else inputs.view(-1, 1, 2, 2)
        for module in self.body:
            hidden = module(hidden)
        return self.head(hidden.flatten(1))


def network(dropout: float = 0.3) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network(dropout)


def images(count: int) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(6, 1, 2, 2, generator=generator), torch.randint(0, 3, (6,), generator=generator)) for _ in range(count)]


def trainer(*plugins: Any, **how: Any) -> Trainer:
    torch._dynamo.reset()  # as in a process of its own: torch stops compiling a function that was compiled 8 times
    model = network()
    updates = Updates([Update("a", ADAM(model.body.parameters())), Update("b", ADAM(model.head.parameters()), accumulate=2)])
    data = {"train_data": images(4), "val_data": images(1), "test_data": images(1)}
    return tiny_trainer(**({"model": model, "optimizer": updates, "plugins": plugins, "seed": 1} | data | how))


@pytest.mark.parametrize("order", [ALL, ALL[::-1]], ids=["listed", "reversed"])
def test_any_order_trains_saves_plain_names_and_goes_on_to_the_bit(order: list[str], tmp_path: Path) -> None:
    seen = set()

    @hookimpl
    def on_forward_end(state: State) -> None:
        seen.add((state.phase, state.outputs.dtype))

    whole, plain = trainer(*order, on_forward_end), trainer()
    rows = whole.fit(epochs=2)
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in plain.fit(epochs=2)], rel=0.02)
    assert seen == {("train", torch.bfloat16), ("validate", torch.bfloat16)}
    whole.save(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert saved.keys() == network().state_dict().keys()
    assert saved["body.0.1.num_batches_tracked"] == 16, "twice for each batch, once for each update"
    check_resume(lambda: trainer(*order), at=[3])


def test_the_same_but_for_rounding_where_no_precision_is_given_up() -> None:
    exact = ["device", "channels-last", "activation-checkpointing:modules=body.0", "compile:backend=aot_eager", "deterministic"]
    one, other = trainer(*exact), trainer()
    for row, wanted in zip(one.fit(epochs=2), other.fit(epochs=2), strict=True):
        assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
    assert one.evaluate()["test_loss"] == pytest.approx(other.evaluate()["test_loss"], rel=1e-4)


def test_conformance() -> None:
    others = ["placement", "channels-last", ActivationCheckpointing("body.*"), "autocast"]
    check_plugin(Compile("aot_eager"), make=lambda: {"model": network(0.0), "optimizer": ADAM}, plugins=others)

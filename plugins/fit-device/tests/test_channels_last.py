"""Channels last in memory: the same values, the same checkpoints."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fit_core import State, Trainer, hookimpl
from fit_core.testing import check_plugin, check_resume, tiny_trainer
from fit_device.memory_format import parameters_to_channels_last, to_channels_last

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def images(count: int, seed: int = 0) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(4, 3, 6, 6, generator=generator), torch.randint(0, 3, (4,), generator=generator)) for _ in range(count)]


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 3))


def trainer(*plugins: Any, **how: Any) -> Trainer:
    data = {"train_data": images(4), "val_data": images(1, seed=1), "test_data": images(1, seed=2)}
    return tiny_trainer(**({"model": network(), "optimizer": SGD, "plugins": plugins, "seed": 1} | data | how))


def is_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def test_kernels_and_images_and_a_run_that_is_the_same_but_for_rounding(tmp_path: Path) -> None:
    seen = set()

    @hookimpl
    def on_forward_end(trainer: Trainer, state: State) -> None:
        seen.add((state.phase, is_last(state.inputs), is_last(trainer.model[0].weight), state.targets.dim()))

    last, plain = trainer("channels-last", on_forward_end), trainer()
    ready = SGD(last.model.parameters())
    last.optimizer, last._sequence = ready, None
    last = trainer("channels-last", on_forward_end, model=last.model, optimizer=ready)
    for row, other in zip(last.fit(epochs=2), plain.fit(epochs=2), strict=True):
        assert abs(row["loss"] - other["loss"]) < 1e-5
    assert seen == {("train", True, True, 1), ("validate", True, True, 1)}
    assert is_last(ready.state[last.model[0].weight]["momentum_buffer"])
    last.save(tmp_path / "saved")
    other = trainer()
    assert other.load_weights(tmp_path / "saved") == ([], [])
    assert other.model[0].weight.is_contiguous()
    assert torch.equal(other.model[0].weight, last.model[0].weight)


@given(shape=st.lists(st.integers(1, 4), min_size=0, max_size=5), whole=st.booleans())
def test_values_and_shapes_stay(shape: list[int], whole: bool) -> None:
    tensor = torch.randint(0, 9, shape)
    tensor = tensor if whole else tensor.double()
    changed = to_channels_last(tensor)
    assert torch.equal(changed, tensor)
    assert (changed is tensor) or (tensor.dim() == 4 and not whole)
    assert len(shape) != 4 or whole or changed.is_contiguous(memory_format=torch.channels_last)


def test_parameters_stay_the_same_objects_and_others_are_left_alone() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3), nn.LazyConv2d(4, 3), nn.Linear(3, 4))
    before = list(module.parameters())
    parameters_to_channels_last(module)
    assert all(a is b for a, b in zip(before, module.parameters(), strict=True))
    assert is_last(module[0].weight)
    assert module[1].weight.is_contiguous()


def test_inputs_in_any_nesting() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 6), nn.Linear(4, 3)

        def forward(self, image: Tensor, sizes: list[Tensor]) -> Tensor:
            assert is_last(image)
            assert is_last(sizes[0])
            return self.head(self.conv(image).flatten(1))

    data = [({"image": inputs, "sizes": [inputs, targets]}, targets) for inputs, targets in images(2)]
    trainer("channels-last", model=Two(), train_data=data, val_data=data[:1]).fit(epochs=1)


def test_conformance_and_resume() -> None:
    check_plugin("channels-last")
    check_resume(lambda: trainer("channels-last"), at=[2])

"""Activations that are computed again: the same bits, the same names, and less that is kept."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils import parametrizations

from fit_core import FitError, State, Trainer, hookimpl
from fit_core.testing import check_plugin, check_resume, tiny_batches, tiny_trainer
from fit_device import ActivationCheckpointing
from fit_device.patterns import callable_modules, outermost
from fit_device.recomputing import Recomputed, keep, recompute

ADAM = partial(torch.optim.Adam, lr=0.01)


class Block(nn.Module):
    """Everything that a second computation could do otherwise: dropout, batch norm, spectral norm, keywords."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16, momentum=None), nn.ReLU(), nn.Dropout(0.4))
        self.outer = parametrizations.spectral_norm(nn.Linear(16, 8))
        self.calls = 0

    def forward(self, inputs: Tensor, *, debug: Tensor) -> Tensor:
        self.calls += 1
        return inputs + self.outer(self.inner(inputs)) + debug


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 8)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: Tensor, state: State | None = None) -> Tensor:
        hidden = self.stem(inputs)
        for block in self.blocks:
            hidden = block(hidden, debug=hidden.mean())
        return self.head(hidden)


def network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network()


def dry(model: nn.Module) -> nn.Module:
    """Without dropout, which draws from the process's random numbers, and without what reads a value."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 0.1  # without one it reads its counter
    return model


def fitted(*plugins: Any, **how: Any) -> Trainer:
    trainer = tiny_trainer(**({"model": network(), "optimizer": ADAM, "plugins": plugins, "train_data": tiny_batches(3), "seed": 1} | how))
    trainer.fit(epochs=2)
    return trainer


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("patterns", ["*", "blocks.*", ["stem", "blocks.1"], "blocks.*.inner"])
def test_equal_to_the_bit(patterns: Any, accumulate: int) -> None:
    plain, saving = fitted(accumulate=accumulate), fitted(ActivationCheckpointing(patterns), accumulate=accumulate)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(saving.model.state_dict()[name], value), name
    assert [row["val_loss"] for row in saving.history] == [row["val_loss"] for row in plain.history]


def test_with_half_precision_and_updates_that_look_at_the_loss_twice() -> None:
    assert_same(fitted("autocast"), fitted("autocast", ActivationCheckpointing("blocks.*")))
    lbfgs = {"optimizer": partial(torch.optim.LBFGS, lr=0.1, max_iter=3)}
    assert_same(fitted(**lbfgs), fitted(ActivationCheckpointing("blocks.*"), **lbfgs))


def assert_same(first: Trainer, second: Trainer) -> None:
    for name, value in first.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name


def test_computed_twice_in_training_and_once_in_evaluation() -> None:
    calls = {}
    for name, plugins in {"plain": [], "saving": [ActivationCheckpointing("blocks.*")]}.items():
        trainer = fitted(*plugins, val_data=None)
        trained = trainer.model.blocks[0].calls
        trainer.evaluate()
        calls[name] = (trained, trainer.model.blocks[0].calls - trained)
    assert calls == {"plain": (6, 1), "saving": (12, 1)}


def test_less_is_kept_for_the_backward_pass() -> None:
    def kept(model: nn.Module) -> int:
        sizes: list[int] = []
        with saved_tensors_hooks(lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor):
            model(torch.randn(64, 4))
        return sum(sizes)

    model = network()
    before = kept(model)
    for block in model.blocks:
        recompute(block)
    assert kept(model) < before / 3
    for block in model.blocks:
        keep(block)
    assert kept(model) == before


def test_a_graph_can_be_gone_through_twice() -> None:
    gradients = []
    for again in (False, True):
        model = network()
        if again:
            recompute(model.blocks[0])
        torch.manual_seed(0)
        loss = model(tiny_batches(1)[0][0]).sum()
        gradients.append(
            [*torch.autograd.grad(loss, [*model.parameters()], retain_graph=True), *torch.autograd.grad(loss, [*model.parameters()])]
        )
        assert model.blocks[0].inner[1].num_batches_tracked == 1
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_names_copies_and_the_end(tmp_path: Path) -> None:
    trainer = fitted(ActivationCheckpointing("blocks.*"), run_dir=tmp_path)
    trainer.save(tmp_path / "saved")
    assert load_file(tmp_path / "saved" / "model.safetensors").keys() == network().state_dict().keys()
    copied = copy.deepcopy(trainer.model)
    assert copied.blocks[0].forward.module is copied.blocks[0]
    assert copied.blocks[0].forward.forward.__self__ is copied.blocks[0]
    trainer.close()
    assert "forward" not in vars(trainer.model.blocks[0])
    own = nn.Linear(2, 2)
    own.forward = partial(nn.Linear.forward, own)
    mine = own.forward
    recompute(own)
    recompute(own)
    assert isinstance(own.forward, Recomputed)
    keep(own)
    assert own.forward is mine


def test_patterns_choose_the_outermost_modules_that_can_be_called() -> None:
    there = callable_modules(network())
    assert "blocks" not in there
    assert list(outermost(there, ["*"])) == ["stem", "blocks.0", "blocks.1", "head"]
    assert list(outermost(there, ["blocks.*.inner", "head"])) == ["blocks.0.inner", "blocks.1.inner", "head"]
    assert list(outermost(there, ["blocks.0*", "*.inner.0"])) == ["blocks.0", "blocks.1.inner.0"]
    with pytest.raises(FitError, match=r"no module is called 'block.0'; did you mean 'blocks.0'\?"):
        fitted(ActivationCheckpointing("block.0"))
    with pytest.raises(FitError, match=r"no module is called 'layers.*' \(there are stem, blocks.0, blocks.0.inner, .*, \.\.\.\)"):
        fitted("activation-checkpointing:modules=layers.*")
    with pytest.raises(FitError, match=r"no module is called '\*' \(there are none\)"):
        tiny_trainer(plugins=["activation-checkpointing"]).fit(epochs=1)


def test_a_model_that_another_plugin_puts_in_is_meant() -> None:
    @hookimpl
    def on_setup(trainer: Trainer) -> None:
        trainer.model = network()

    trainer = tiny_trainer(plugins=[ActivationCheckpointing("blocks.*"), on_setup])
    trainer.fit(epochs=1)
    assert trainer.model.blocks[0].calls == 2 * 2 + 1


def test_conformance_and_resume() -> None:
    make = {"optimizer": ADAM}
    check_plugin(ActivationCheckpointing("blocks.*"), make=lambda: make | {"model": dry(network())})
    check_resume(
        lambda: tiny_trainer(model=network(), plugins=["activation-checkpointing"], train_data=tiny_batches(2), seed=1, **make), at=[1]
    )


def test_a_run_that_goes_on_may_take_it_up(tmp_path: Path) -> None:
    def make(*plugins: Any) -> Trainer:
        return tiny_trainer(model=network(), optimizer=ADAM, plugins=plugins, train_data=tiny_batches(3), seed=1)

    first, whole = make(), make()
    first.fit(epochs=1)
    first.save(tmp_path / "saved")
    later = make("activation-checkpointing")
    later.fit(epochs=2, resume=tmp_path / "saved")
    whole.fit(epochs=2)
    assert_same(later, whole)

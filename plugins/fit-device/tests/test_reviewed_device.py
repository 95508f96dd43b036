"""What a review of the package found, each by what went wrong."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fit_core import FitError, Trainer, Update, Updates, freeze, hookimpl
from fit_core.testing import check_resume, tiny_batches, tiny_trainer
from fit_device import ActivationCheckpointing, Compile, GradScaler, Placement
from fit_device.recomputing import recompute

SGD = partial(torch.optim.SGD, lr=0.1)


def fitted(make: Any, *plugins: Any) -> Trainer:
    random.seed(0)
    np.random.seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
    trainer = tiny_trainer(model=model, plugins=plugins, train_data=tiny_batches(3), seed=1)
    trainer.fit(epochs=2)
    return trainer


class Lambda(nn.Module):
    """A layer after a function of its inputs."""

    def __init__(self, function: Any, size: int = 8) -> None:
        super().__init__()
        self.layer, self.function, self.calls = nn.Linear(size, size), function, 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(self.function(inputs))


def between(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), *modules, nn.Linear(8, 3))


class Shared(nn.Module):
    """A buffer that one module writes and another one reads."""

    def __init__(self) -> None:
        super().__init__()
        self.writer, self.reader = nn.Module(), nn.Module()
        counter = torch.zeros(8)
        self.writer.register_buffer("counter", counter)
        self.reader.register_buffer("counter", counter)
        self.layer = nn.Linear(8, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        self.writer.counter.add_(1)
        return self.layer(inputs) * self.reader.counter


@pytest.mark.parametrize(
    "make",
    [
        lambda: between(nn.SiLU(inplace=True)),
        lambda: between(nn.Sequential(nn.LeakyReLU(0.2, inplace=True), nn.Linear(8, 8))),
        lambda: between(Lambda(lambda inputs: inputs * random.random())),
        lambda: between(Lambda(lambda inputs: inputs * np.random.rand())),
        lambda: between(Shared()),
        lambda: nn.Sequential(nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d()), nn.LazyLinear(3)),
        lambda: between(torch.jit.trace(nn.Linear(8, 8), torch.zeros(2, 8))),
    ],
    ids=["in place", "in place at first", "python", "numpy", "shared buffer", "lazy", "traced"],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_second_computation_is_that_of_the_first(make: Any) -> None:
    plain, saving = fitted(make), fitted(make, ActivationCheckpointing())
    for name, value in plain.model.state_dict().items():
        assert torch.equal(saving.model.state_dict()[name], value), name


def test_inputs_that_cannot_be_had_again_are_an_error() -> None:
    inner, inputs = Lambda(lambda inputs: inputs), torch.randn(2, 8)
    recompute(inner)
    outputs = inner(inputs)
    inputs.add_(1)
    with pytest.raises(RuntimeError, match="input of Lambda was changed in place"):
        outputs.sum().backward()
    inner.function = Tensor.sin_
    with pytest.raises(RuntimeError, match="input of Lambda was changed in place"):
        inner(inputs).sum().backward()


def test_what_is_frozen_keeps_nothing_either() -> None:
    trainer = fitted(lambda: between(freeze(Lambda(torch.tanh))), ActivationCheckpointing("1"))
    assert trainer.model[1].calls == 2 * 2 * 3 + 2, "twice in training, once in each of two validations"


def test_a_module_is_found_by_each_of_its_names() -> None:
    model = nn.ModuleDict({"encoder": nn.Linear(4, 4)})
    model["decoder"] = model["encoder"]
    model.forward = lambda inputs: model["decoder"](inputs)  # type: ignore[method-assign]
    trainer = tiny_trainer(model=model, plugins=[ActivationCheckpointing("decoder")], val_data=None)
    trainer.fit(epochs=1)
    assert "forward" in vars(model["encoder"])
    trainer.close()
    assert "forward" not in vars(model["encoder"])


@pytest.mark.parametrize("modules", [[], None, [nn.Linear(1, 1)], ""])
def test_modules_are_patterns(modules: Any) -> None:
    with pytest.raises(FitError, match="modules must be a pattern of names, or a list of some, not "):
        ActivationCheckpointing(modules)


@pytest.mark.parametrize("accumulate", [2, 3])
def test_a_window_that_a_resumed_run_only_has_to_close_is_unscaled(accumulate: int) -> None:
    def make() -> Trainer:
        model = between()
        updates = [Update(f"u{i}", SGD(model[i].parameters()), accumulate=i * accumulate or 1) for i in (0, 1)]
        return tiny_trainer(model=model, optimizer=Updates(updates), plugins=[GradScaler()], train_data=tiny_batches(5), seed=1)

    check_resume(make)


def test_a_backward_pass_of_another_plugin_is_not_scaled() -> None:
    @hookimpl
    def backward(loss: Tensor) -> bool:
        loss.backward()
        return True

    with pytest.raises(FitError, match="the loss of update 'main' was not scaled: another plugin makes the backward pass"):
        tiny_trainer(plugins=[backward, GradScaler()]).fit(epochs=1)


def test_parameters_in_half_precision_cannot_be_unscaled() -> None:
    batches = [(inputs.half(), targets) for inputs, targets in tiny_batches(2)]
    with pytest.raises(FitError, match="grad-scaler is for parameters in float32, and update 'main' has some in float16"):
        tiny_trainer(model=nn.Linear(4, 3).half(), plugins=[GradScaler()]).fit(batches, epochs=1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GradScaler(init_scale=-1.0), "init_scale must be above 0, not -1.0"),
        (lambda: GradScaler(growth_factor=0.5), "growth_factor must be above 1, not 0.5"),
        (lambda: GradScaler(backoff_factor=2.0), "backoff_factor must be above 0 and below 1, not 2.0"),
        (lambda: GradScaler(growth_interval=0), "growth_interval must be at least 1 and whole, not 0"),
        (lambda: Placement("cpu", modules=nn.Linear(1, 1)), "modules must be a list of modules, not Linear"),
        (lambda: Placement("cpu", modules=["teacher"]), "modules must be a list of modules, not .*'teacher'"),
        (lambda: Compile(mode="fast"), "mode must be 'default', .* not 'fast'"),
        (lambda: Compile(backend=3), "backend must be a name or a function, not 3"),
        (lambda: Compile(dynamic="yes"), "dynamic must be True, False or None, not 'yes'"),
    ],
)
def test_options_from_python_are_checked(make: Any, said: str) -> None:
    with pytest.raises(FitError, match=said):
        make()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_model_that_torch_would_not_compile() -> None:
    with pytest.raises(FitError, match="the model is compiled already; give the trainer the module itself"):
        tiny_trainer(model=torch.compile(between(), backend="eager"), plugins=[Compile("eager")]).fit(epochs=1)
    with pytest.raises(FitError, match="torch cannot compile a model that torch.jit made; leave compile out"):
        tiny_trainer(model=torch.jit.trace(nn.Linear(4, 3), torch.zeros(2, 4)), plugins=[Compile("eager")]).fit(epochs=1)


class Greedy(nn.Linear):
    """Runs out of memory in evaluation."""

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training:
            raise torch.OutOfMemoryError("here")
        return super().forward(inputs)


@pytest.mark.parametrize("work", [lambda trainer: trainer.fit(epochs=1), Trainer.evaluate])
def test_a_validation_that_runs_out_of_memory_is_not_told_to_save_activations(work: Any) -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught:
        work(tiny_trainer(model=Greedy(4, 3), plugins=["memory-summary"]))
    (note,) = [note for note in caught.value.__notes__ if note.startswith("out of memory")]
    assert note.endswith("Try batches of 4 samples instead of 8, or the plugin mixed-precision.")

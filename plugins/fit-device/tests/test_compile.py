"""The compiled model: what is saved, what is evaluated, and what happens without a compiler."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fit_core import FitError, State, Trainer, Update, Updates, freeze, hookimpl
from fit_core.testing import check_plugin, tiny_trainer
from fit_device import Compile

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What torch has compiled belongs to the process."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


class Graphs:
    """A backend that compiles nothing, and notes in which mode each graph was made."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        self.count += 1
        return graph.forward


def fitted(*plugins: Any, **how: Any) -> Trainer:
    trainer = tiny_trainer(**({"model": network(), "optimizer": SGD, "plugins": plugins} | how))
    trainer.fit(epochs=2)
    return trainer


def weights(trainer: Trainer) -> Tensor:
    return nn.utils.parameters_to_vector(trainer.model.parameters())


def test_it_trains_the_users_own_model_and_saves_plain_names(tmp_path: Path) -> None:
    graphs = Graphs()
    compiled, plain = fitted(Compile(graphs), run_dir=tmp_path), fitted()
    assert graphs.count >= 2, "one for training, one for evaluation"
    assert torch.equal(weights(compiled), weights(plain))
    assert compiled.evaluate() == plain.evaluate()
    compiled.save(tmp_path / "full")
    compiled.save(tmp_path / "weights", weights_only=True)
    for name in ("full", "weights"):
        assert load_file(tmp_path / name / "model.safetensors").keys() == network().state_dict().keys()
        other = tiny_trainer(model=network())
        assert other.load_weights(tmp_path / name) == ([], [])
        assert other.evaluate() == plain.evaluate()
    resumed = tiny_trainer(model=network(), optimizer=SGD, plugins=[Compile(graphs)])
    resumed.load(tmp_path / "full")
    assert torch.equal(weights(resumed), weights(plain))


def test_aot_is_close_to_the_plain_run() -> None:
    torch.testing.assert_close(weights(fitted("compile:backend=aot_eager,dynamic=true")), weights(fitted()))


def test_without_a_working_backend_it_says_why_once_and_trains_as_it_is() -> None:
    def broken(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        raise OSError("no compiler here\nand more")

    with pytest.warns(UserWarning, match="uncompiled") as caught:
        trainer = fitted(Compile(broken))
    assert [str(warning.message) for warning in caught] == ["the model runs uncompiled: OSError: no compiler here"]
    assert torch.equal(weights(trainer), weights(fitted()))


def test_without_a_compiler_inductor_falls_back() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own modules, while they are imported
        import torch._inductor.compile_fx
        import torch._inductor.config as inductor
    with (
        torch._inductor.utils.fresh_cache(),
        inductor.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.warns(UserWarning, match="the model runs uncompiled: .*[Cc]ompiler"),
    ):
        trainer = fitted("compile")
    assert torch.equal(weights(trainer), weights(fitted()))


class Faulty(nn.Module):
    """A model with a mistake of its own."""

    def __init__(self, breaks: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.breaks = breaks

    def forward(self, inputs: Tensor) -> Tensor:
        if self.breaks:
            torch._dynamo.graph_break()
            return self.layer(inputs)
        return self.layer(inputs) @ torch.ones(5, 5)


def test_errors_of_the_model_are_raised() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError, match="must be equal|cannot be multiplied|got.*8"):
            fitted("compile:backend=aot_eager", model=Faulty(breaks=False))
        with pytest.raises(torch._dynamo.exc.Unsupported):
            fitted("compile:backend=aot_eager,fullgraph=true", model=Faulty(breaks=True))
        fitted("compile:backend=aot_eager", model=Faulty(breaks=True))


class Notes(nn.Module):
    """A model that names `state`."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop, self.norm = nn.Linear(4, 3), nn.Dropout(0.5), nn.BatchNorm1d(3)

    def forward(self, inputs: Tensor, state: State) -> Tensor:
        outputs = self.norm(self.layer(inputs))
        return self.drop(outputs) if state.phase == "train" else outputs


def test_modes_and_a_model_that_names_state() -> None:
    def losses(*plugins: Any) -> list[float]:
        torch.manual_seed(3)
        model = Notes()
        return [value for row in fitted(*plugins, model=model, seed=1).history for value in (row["loss"], row["val_loss"])]

    graphs = Graphs()
    assert losses(Compile(graphs)) == losses()
    assert graphs.count >= 2


def test_a_model_in_evaluation_mode_is_trained_as_without_it() -> None:
    model = network().eval()
    trainer = fitted(Compile(Graphs()), model=model)
    assert model.training
    assert model[1].num_batches_tracked == 4
    model.eval()
    trainer.fit(epochs=1)
    assert model.training
    lazy = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))
    assert fitted(Compile("aot_eager"), model=lazy).history[-1]["loss"] > 0


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.frozen, self.head = nn.Linear(4, 6), freeze(nn.Linear(6, 6)), nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.frozen(self.body(inputs)).relu())


def test_several_updates_and_what_is_frozen() -> None:
    def make(*plugins: Any) -> Trainer:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = Two()
        updates = Updates([Update("a", SGD(model.body.parameters())), Update("b", SGD(model.head.parameters()), accumulate=2)])
        return fitted(*plugins, model=model, optimizer=updates)

    compiled, plain, started = make(Compile("aot_eager")), make(), make()
    torch.testing.assert_close(weights(compiled), weights(plain))
    assert torch.equal(compiled.model.frozen.weight, started.model.frozen.weight)


@pytest.mark.parametrize("order", [("autocast", "compile:backend=aot_eager"), ("compile:backend=aot_eager", "autocast")])
def test_with_half_precision_in_both_orders(order: Any) -> None:
    seen = set()

    @hookimpl
    def on_forward_end(state: State) -> None:
        seen.add((state.phase, state.outputs.dtype))

    trainer = fitted(*order, on_forward_end)
    assert seen == {("train", torch.bfloat16), ("validate", torch.bfloat16)}
    torch.testing.assert_close(weights(trainer), weights(fitted("autocast")))


def test_mistakes_are_told() -> None:
    with pytest.raises(FitError, match=r"no backend 'inducter' \(there are: .*\); did you mean 'inductor'"):
        fitted("compile:backend=inducter")
    with pytest.raises(FitError, match="mode='max-autotune' is for the backend inductor; leave it out with 'eager'"):
        Compile("eager", mode="max-autotune")


def test_conformance() -> None:
    check_plugin(Compile("aot_eager"), make=lambda: {"model": network(), "optimizer": SGD})

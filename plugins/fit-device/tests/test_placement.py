"""Where models, losses, further modules and optimizers are after `placement`."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fit_core import FitError, State, Trainer, Update, Updates, hookimpl
from fit_core.testing import check_plugin, check_resume, tiny_batches, tiny_trainer
from fit_device import Placement
from fit_device.placing import accelerators, best_for, bind, bound, follow, is_there, place, without_values

CUDA = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")])
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
ADAM = partial(torch.optim.Adam, lr=0.01)


class Leave(Exception):
    pass


@hookimpl(specname="on_safe_point")
def leave(state: State) -> None:
    if state.batch == 3:
        raise Leave


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def stepped(maker: Any, model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer that has made a step, so that it has a state."""
    optimizer = maker(model.parameters())
    nn.functional.cross_entropy(model(tiny_batches(1)[0][0]), tiny_batches(1)[0][1]).backward()
    optimizer.step()
    optimizer.zero_grad()
    return optimizer


def train(trainer: Trainer, device: str) -> None:
    """Train for three steps; on the meta device anything that reads a value raises."""
    if device == "meta":
        with pytest.raises(Leave):
            trainer.fit(tiny_batches(4), epochs=1)
    else:
        trainer.fit(tiny_batches(3), epochs=1)


@pytest.mark.parity("T27", "B28")
@pytest.mark.parametrize("device", ["cpu", "meta", CUDA])
@pytest.mark.parametrize("maker", [SGD, ADAM])
def test_everything_is_on_the_device_and_a_ready_optimizer_follows(device: str, maker: Any) -> None:
    seen = []

    @hookimpl
    def on_forward_end(state: State) -> None:
        seen.append({state.device.type, state.inputs.device.type, state.targets.device.type, state.outputs.device.type})

    model, teacher = network(), nn.Linear(4, 3)
    optimizer = stepped(maker, model)
    counts = [held["step"] for held in optimizer.state.values() if "step" in held]
    loss_fn = nn.CrossEntropyLoss(weight=torch.ones(3))
    plugins = (
        [on_forward_end, leave, Placement(device, modules=[teacher])]
        if device == "meta"
        else [on_forward_end, Placement(device, [teacher])]
    )
    trainer = tiny_trainer(model=model, loss_fn=loss_fn, optimizer=optimizer, plugins=plugins, val_data=None)
    train(trainer, device)
    assert seen == [{device}] * 3
    assert {t.device.type for m in (model, teacher, loss_fn) for t in (*m.parameters(), *m.buffers())} == {device}
    assert {id(p) for p in model.parameters()} == {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in optimizer.state}
    held = [(name, t) for state in optimizer.state.values() for name, t in state.items() if isinstance(t, torch.Tensor)]
    assert {t.device.type for name, t in held if name != "step"} == {device}
    now = [t for name, t in held if name == "step"]
    assert {t.device.type for t in now} <= {"cpu"}, "where torch's own load_state_dict leaves it"
    assert all(after == 4 for after in now)
    assert len(now) == len(counts)


def test_a_run_is_that_without_it() -> None:
    def weights(*plugins: Any) -> torch.Tensor:
        model = network()
        trainer = tiny_trainer(model=model, optimizer=stepped(ADAM, model), plugins=plugins)
        trainer.fit(epochs=2)
        return nn.utils.parameters_to_vector(trainer.model.parameters())

    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        bound_again = weights("placement:device=cpu")
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    assert torch.equal(bound_again, weights())
    assert torch.equal(weights("placement:device=cpu"), weights())


def test_new_parameters_are_bound_and_tied_ones_stay_tied() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "c": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    optimizers = [SGD(model["a"].parameters()), torch.optim.LBFGS(model["c"].parameters())]
    before = model["a"].weight
    replaced = place([model, model["b"]], torch.device("meta"))
    assert model["b"].weight is model["a"].weight
    assert replaced[id(before)] is model["a"].weight is not before
    for optimizer, name in zip(optimizers, "ac", strict=True):
        bind(optimizer, replaced)
        assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model[name].parameters()]
    assert optimizers[1]._params is optimizers[1].param_groups[0]["params"]
    given = [before, ("named", before), {"params": [before], "lr": 1.0}, {"params": before}]
    now = model["a"].weight
    assert str(bound(given, replaced)) == str([now, ("named", now), {"params": [now], "lr": 1.0}, {"params": now}])


def test_parameters_that_were_said_to_belong_to_an_update_are_bound_too() -> None:
    model = network()
    updates = Updates([Update("a", SGD, model[0].parameters()), Update("b", SGD(model[3].parameters()))])
    trainer = tiny_trainer(model=model, optimizer=updates, plugins=["placement:device=meta", leave], val_data=None)
    train(trainer, "meta")
    assert [id(p) for p in trainer.updates["a"].params] == [id(p) for p in model[0].parameters()]


def test_state_follows_as_load_state_dict_would_put_it() -> None:
    model = network()
    optimizer = stepped(partial(torch.optim.Adam, lr=0.01, capturable=False), model)
    bind(optimizer, place([model], torch.device("meta")))
    follow(optimizer)
    held = optimizer.state[model[0].weight]
    assert (held["exp_avg"].device.type, held["step"].device.type, float(held["step"])) == ("meta", "cpu", 1.0)


def test_auto_takes_what_there_is_and_leaves_what_was_put_elsewhere() -> None:
    found = accelerators()
    assert best_for(network(), found) == (found[0] if found else torch.device("cpu"))
    assert best_for(network(), [torch.device("cuda", 0), torch.device("cuda", 1)]) == torch.device("cuda", 0)
    assert best_for(network().to("meta"), [torch.device("cuda", 0)]) is None
    loss_fn = nn.CrossEntropyLoss(weight=torch.ones(3))
    trainer = tiny_trainer(model=network().to("meta"), loss_fn=loss_fn, plugins=["placement", leave], val_data=None)
    train(trainer, "meta")
    assert loss_fn.weight.device.type == "meta"
    lazy = nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 3))
    assert tiny_trainer(model=lazy, plugins=["placement"]).fit(epochs=1)[0]["loss"] > 0
    no_parameters = tiny_trainer(model=nn.Identity(), optimizer=None, plugins=["placement"])
    assert no_parameters.evaluate([(torch.randn(8, 3), torch.zeros(8, dtype=torch.long))])["test_loss"] > 0


def test_a_model_that_another_plugin_puts_in_is_moved() -> None:
    @hookimpl
    def on_setup(trainer: Trainer) -> None:
        trainer.model = network()

    for plugins in (["placement:device=meta", on_setup], [on_setup, "placement:device=meta"]):
        trainer = tiny_trainer(plugins=[*plugins, leave], val_data=None)
        train(trainer, "meta")
        assert {p.device.type for p in trainer.model.parameters()} == {"meta"}
        assert {id(p) for p in trainer.updates["main"].params} == {id(p) for p in trainer.model.parameters()}


def test_devices_that_are_not_there() -> None:
    two = [torch.device("cuda", 0), torch.device("cuda", 1)]
    assert [is_there(torch.device(name), two) for name in ("cpu", "meta", "cuda", "cuda:1", "cuda:2", "mps")] == [True] * 4 + [False] * 2
    with pytest.raises(FitError, match=r"there is no device 'cuda:77' here \(there are: auto, cpu, .*meta\)"):
        tiny_trainer(plugins=["placement:device=cuda:77"]).fit(epochs=1)
    with pytest.raises(FitError, match=r"'gpu' is no device \(there are: auto, cpu, .*meta\)"):
        tiny_trainer(plugins=["placement:device=gpu"]).fit(epochs=1)
    assert without_values(network()) is None
    with pytest.raises(FitError, match=r"0.weight of Sequential is on the meta device, where it has no values to move to cpu; .*to_empty"):
        tiny_trainer(model=network().to("meta"), plugins=["placement:device=cpu"]).fit(epochs=1)


class NoReads(TorchDispatchMode):
    """Raises where a value is read."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_nothing_is_read_on_the_way() -> None:
    model = network()
    optimizer = stepped(SGD, model)
    with NoReads():
        bind(optimizer, place([model], torch.device("meta")))
        follow(optimizer)


def test_conformance_and_resume() -> None:
    check_plugin("placement", make=lambda: {"model": network(), "optimizer": ADAM})

    def make() -> Trainer:
        model = network()
        return tiny_trainer(model=model, optimizer=ADAM(model.parameters()), plugins=["placement"], train_data=tiny_batches(4), seed=1)

    check_resume(make, at=[2])

"""Schedules in runs: groups, updates, other values, what others change, previews."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, lr_scheduler

from fit_core import FitError, State, Trainer, Update, Updates, hookimpl
from fit_core.explain import as_text, explained, said_of_run
from fit_core.testing import check_plugin, check_resume, tiny_batches, tiny_trainer
from fit_schedulers import LR, Length, Phase, Plateau, ScheduledValue


class Seen:
    """Notes a value of each group at every step."""

    passive = True

    def __init__(self, key: str = "lr") -> None:
        self.key = key
        self.steps: list[list[Any]] = []

    @hookimpl
    def on_step_start(self, state: State) -> None:
        assert state.update is not None
        self.steps.append([group[self.key] for optimizer in state.update.optimizers for group in optimizer.param_groups])


def groups_of(model: nn.Module, **others: Any) -> list[dict[str, Any]]:
    return [{"params": [model.weight], "lr": 0.1, "name": "weights", **others}, {"params": [model.bias], "lr": 0.5, **others}]


def seen_in(
    *plugins: Any, optimizer: Any = None, key: str = "lr", batches: int = 4, fits: tuple[int, ...] = (1,), **changes: Any
) -> list[Any]:
    seen = Seen(key)
    trainer = tiny_trainer(
        plugins=[*plugins, seen], train_data=tiny_batches(batches), **({"optimizer": optimizer} if optimizer else {}), **changes
    )
    for epochs in fits:
        trainer.fit(epochs=epochs)
    return seen.steps


def test_each_group_follows_from_its_own_rate() -> None:
    model = nn.Linear(4, 3)
    steps = seen_in(LR("linear"), model=model, optimizer=SGD(groups_of(model)))
    assert steps == [pytest.approx([0.1 * left, 0.5 * left]) for left in (1, 0.75, 0.5, 0.25)]


@pytest.mark.parametrize("groups", [["weights"], [0]])
def test_some_groups_alone(groups: list[int | str]) -> None:
    model = nn.Linear(4, 3)
    steps = seen_in(LR("linear", groups=groups), model=model, optimizer=SGD(groups_of(model)))
    assert steps == [pytest.approx([0.1 * left, 0.5]) for left in (1, 0.75, 0.5, 0.25)]


def test_one_schedule_for_each_group_and_schedulers_of_torch_too() -> None:
    model = nn.Linear(4, 3)
    plugins = ["lr:schedule=StepLR,step_size=1,gamma=0.5,groups=[1]", "lr-w=lr:schedule=linear,end=1,start=0.5,groups=[weights]"]
    steps = seen_in(*plugins, model=model, optimizer=SGD(groups_of(model)))
    assert [step[0] for step in steps] == pytest.approx([0.05, 0.0625, 0.075, 0.0875])
    assert [step[1] for step in steps] == pytest.approx([0.5, 0.25, 0.125, 0.0625])


def two_updates() -> dict[str, Any]:
    model = nn.ModuleDict({"a": nn.Linear(4, 3), "b": nn.Linear(4, 3)})
    model.forward = lambda x: model["a"](x) + model["b"](x)  # type: ignore[method-assign]
    updates = Updates([Update("a", SGD(model["a"].parameters(), lr=0.1)), Update("b", SGD(model["b"].parameters(), lr=1.0), every=2)])
    return {"model": model, "optimizer": updates, "train_data": tiny_batches(4), "val_data": None}


def test_each_update_counts_its_own_steps() -> None:
    seen = Seen()
    tiny_trainer(plugins=[LR("linear"), seen], **two_updates()).fit(epochs=1)
    assert sorted(step[0] for step in seen.steps) == pytest.approx(sorted([0.1, 0.075, 0.05, 0.025, 1.0, 0.5]))


def test_one_update_alone() -> None:
    seen = Seen()
    tiny_trainer(plugins=[LR("linear", update="b"), seen], **two_updates()).fit(epochs=1)
    assert sorted(step[0] for step in seen.steps) == pytest.approx([0.1] * 4 + [0.5, 1.0])


def test_a_ready_scheduler_is_stepped() -> None:
    model = nn.Linear(4, 3)
    optimizer = SGD(model.parameters(), lr=0.1)
    scheduler = lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.ConstantLR(optimizer, 0.1, 10), lr_scheduler.ExponentialLR(optimizer, 0.5)], milestones=[2]
    )
    assert seen_in(LR(scheduler), model=model, optimizer=optimizer) == [pytest.approx([value]) for value in (0.01, 0.01, 0.1, 0.05)]
    assert scheduler.last_epoch == 4


def test_a_ready_scheduler_resumes() -> None:
    def make() -> Trainer:
        trainer = tiny_trainer(seed=1, train_data=tiny_batches(4), optimizer=None, epochs=3)
        trainer.optimizer = SGD(trainer.model.parameters(), lr=0.1)
        trainer.use([LR(lr_scheduler.CosineAnnealingWarmRestarts(trainer.optimizer, 3), every="step")])
        return trainer

    check_resume(make)


def test_a_ready_scheduler_of_another_optimizer_is_refused() -> None:
    other = lr_scheduler.StepLR(SGD(nn.Linear(4, 3).parameters(), lr=0.1), 2)
    with pytest.raises(FitError, match="the scheduler belongs to another optimizer"):
        tiny_trainer(plugins=[LR(other)]).fit(epochs=1)
    with pytest.raises(FitError, match="a ready scheduler takes no warmup"):
        LR(other, warmup=3)
    with pytest.raises(FitError, match="use the plugin 'plateau'"):
        LR(lr_scheduler.ReduceLROnPlateau(SGD(nn.Linear(4, 3).parameters(), lr=0.1)))  # type: ignore[arg-type]


def test_the_users_optimizer_is_left_alone() -> None:
    """Neither its `step` is wrapped nor keys added to its groups, as schedulers of torch do."""
    model = nn.Linear(4, 3)
    optimizer = SGD(model.parameters(), lr=0.1)
    keys = set(optimizer.param_groups[0])
    seen_in("lr:schedule=StepLR,step_size=1", model=model, optimizer=optimizer)
    assert set(optimizer.param_groups[0]) == keys
    assert "step" not in vars(optimizer)


@pytest.mark.parametrize("order", [1, -1])
def test_a_plateau_scales_what_is_left_of_a_schedule(order: int) -> None:
    plugins = [
        LR("linear", start=1, end=0.5, warmup=2),
        Plateau(monitor="loss", patience=0, factor=0.5, threshold=1e9, threshold_mode="abs"),
    ]
    steps = [step[0] for step in seen_in(*plugins[::order], batches=4, fits=(3,))]
    alone = [step[0] for step in seen_in(plugins[0], batches=4, fits=(3,))]
    assert steps[:8] == alone[:8], "the first epoch sets the best value"
    assert steps[8:] == pytest.approx([rate * 0.5 for rate in alone[8:]])


def test_a_new_run_begins_with_a_rate_that_was_set_since() -> None:
    seen = Seen()
    trainer = tiny_trainer(plugins=[LR("cosine"), seen], train_data=tiny_batches(2))
    trainer.fit(epochs=1)
    trainer.fit(epochs=1)
    trainer.updates["main"].optimizer.param_groups[0]["lr"] = 0.3
    trainer.fit(epochs=1)
    assert [step[0] for step in seen.steps] == pytest.approx([0.1, 0.05, 0.1, 0.05, 0.3, 0.15])


def test_phases_in_a_run() -> None:
    text = "lr:schedule=[linear 2 steps start=0 end=1, constant 25 %, linear 1 epochs end=0.2, constant]"
    steps = [step[0] for step in seen_in(text, batches=4, fits=(3,))]
    assert steps == pytest.approx([0, 0.05, 0.1, 0.1, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02, 0.02, 0.02])
    objects = [Phase("linear", Length(2, "steps"), {"start": 0, "end": 1}), "constant 25 %", "linear 1 epochs end=0.2", "constant"]
    assert [step[0] for step in seen_in(LR(objects), batches=4, fits=(3,))] == steps


def test_a_schedule_per_epoch_with_a_warm_up_in_steps() -> None:
    steps = [step[0] for step in seen_in(LR("linear", every="epoch", warmup=3), batches=2, fits=(4,))]
    assert steps == pytest.approx([0.025, 0.05, 0.1 * 0.75 * 0.75, 0.075, 0.05, 0.05, 0.025, 0.025])


def test_accumulation_counts_real_steps() -> None:
    assert seen_in(LR("linear"), batches=8, accumulate=4) == [[0.1], [0.05]]


def test_a_rate_in_a_tensor() -> None:
    model = nn.Linear(4, 3)
    optimizer = Adam(model.parameters(), lr=torch.tensor(0.1))
    seen: list[float] = []

    @hookimpl
    def on_step_start(state: State) -> None:
        seen.append(float(optimizer.param_groups[0]["lr"]))

    tiny_trainer(plugins=[LR("linear"), on_step_start], model=model, optimizer=optimizer, train_data=tiny_batches(4)).fit(epochs=1)
    assert seen == pytest.approx([0.1, 0.075, 0.05, 0.025])


# ------------------------------------------------------------------------------------------------------ other values


def test_momentum_and_weight_decay() -> None:
    sgd = partial(SGD, lr=0.1, momentum=0.8, weight_decay=0.01)
    momentum = ScheduledValue("momentum", "linear", end=0.5)
    decay = "wd=scheduled-value:of=weight_decay,schedule=constant 2 steps,start=0"
    assert seen_in(momentum, decay, optimizer=sgd, key="momentum") == [pytest.approx([value]) for value in (0.8, 0.7, 0.6, 0.5)]
    text = "scheduled-value:of=weight_decay,schedule=[constant 2 steps start=0, constant start=1]"
    assert seen_in(text, optimizer=sgd, key="weight_decay") == [[0], [0], [0.01], [0.01]]


def test_momentum_of_adam_is_its_first_beta() -> None:
    steps = seen_in(ScheduledValue("momentum", "linear", base=1, start=0.5, end=0.9), optimizer=partial(Adam, lr=0.1), key="betas")
    assert [betas for step in steps for betas in step] == [(pytest.approx(value), 0.999) for value in (0.5, 0.6, 0.7, 0.8)]


class Penalty:
    """A term with a weight of its own."""

    def __init__(self, weight: float = 2.0) -> None:
        self.weight = weight
        self.weights: list[float] = []

    @hookimpl
    def on_loss_end(self, trainer: Trainer, state: State) -> None:
        if state.phase == "train":
            self.weights.append(self.weight)
        state.loss = state.loss + self.weight * sum(p.square().sum() for p in trainer.model.parameters())


@pytest.mark.parametrize("order", [1, -1])
def test_the_weight_of_a_loss(order: int) -> None:
    penalty = Penalty()
    plugins = [("penalty", penalty), ScheduledValue("penalty.weight", "linear", start=0, end=1)]
    entries: list[Any] = []

    class Tracker:
        @hookimpl
        def on_log(self, entries: list[Any]) -> None:
            found.extend(entry.values["penalty.weight"] for entry in entries if "penalty.weight" in entry.values)

    found = entries
    tiny_trainer(plugins=[*plugins[::order], Tracker()], train_data=tiny_batches(4)).fit(epochs=2)
    assert penalty.weights == pytest.approx([0.25 * i for i in range(8)])
    assert found == pytest.approx(penalty.weights)


def test_the_weight_of_a_loss_resumes() -> None:
    def make() -> Trainer:
        plugins = [("penalty", Penalty(0.1)), ScheduledValue("penalty.weight", "cosine", warmup=2), ScheduledValue("momentum", end=0.1)]
        plugins[2] = ("m", plugins[2])
        return tiny_trainer(seed=1, train_data=tiny_batches(4), plugins=plugins, optimizer=partial(SGD, lr=0.1, momentum=0.9))

    check_resume(make)


def test_an_attribute_of_the_model_or_the_loss() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))
    loss = nn.CrossEntropyLoss(label_smoothing=0.2)
    seen: list[tuple[float, float]] = []

    @hookimpl
    def on_step_start() -> None:
        seen.append((model[0].p, loss.label_smoothing))

    plugins = [ScheduledValue("model.0.p"), ("smooth", ScheduledValue("loss_fn.label_smoothing", every="epoch")), on_step_start]
    tiny_trainer(model=model, loss_fn=loss, plugins=plugins, train_data=tiny_batches(2)).fit(epochs=2)
    assert seen == [(0.5, 0.2), (0.375, 0.2), (0.25, 0.1), (0.125, 0.1)]


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ([ScheduledValue("momentun")], r"SGD has no number 'momentun' \(it has .*momentum.*\); did you mean 'momentum'"),
        ([ScheduledValue("clip.weight")], r"there is no 'clip' to set 'clip.weight' of \(.*model.*\)"),
        ([ScheduledValue("penalty.wieght"), ("penalty", Penalty())], "Penalty has no 'wieght' .*; did you mean 'weight'"),
        ([ScheduledValue("penalty.weights"), ("penalty", Penalty())], "penalty.weights is list, not a number"),
        ([LR("linear", update="main"), ("b", LR("cosine"))], "lr sets the same lr as plugin 'lr'"),
        ([LR("linear", groups=[3])], "update 'main' has no parameter group 3: it has 1, from 0 to 0"),
        ([LR("linear", update="g")], r"there is no update 'g' \(updates: main\)"),
        ([LR("OneCycleLR", max_lr=0.1, total_steps=9), ScheduledValue("momentum")], "sets the same momentum as plugin 'lr'"),
    ],
)
def test_mistakes_at_the_start(plugins: list[Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        tiny_trainer(plugins=plugins, optimizer=partial(SGD, lr=0.1, momentum=0.9)).fit(epochs=1)


def test_mistakes_when_built() -> None:
    with pytest.raises(FitError, match="the learning rate is set by the plugin 'lr'"):
        ScheduledValue("lr")
    with pytest.raises(FitError, match="no schedule 'StepLR'"):
        ScheduledValue("momentum", "StepLR", step_size=3)
    with pytest.raises(FitError, match="schedule a function has no option 'end'"):
        LR(lambda step: 1.0, end=0.5)


# ---------------------------------------------------------------------------------------------------------- previews


def test_the_preview_is_what_a_run_does() -> None:
    plugins = [LR("cosine", warmup=0.25), ("m", ScheduledValue("momentum", "linear", end=0.5))]
    trainer = tiny_trainer(plugins=plugins, train_data=tiny_batches(8), epochs=1, optimizer=partial(SGD, lr=0.1, momentum=0.8))
    said = said_of_run(trainer)
    assert said == {
        "lr": [
            "warm-up of 0.25 of the run, cosine, per step",
            "at          0 %       25 %       50 %       75 %      100 %   of 8 steps",
            "main    0.03333        0.1      0.075      0.025          0",
        ],
        "m": [
            "linear end=0.5, per step",
            "at          0 %       25 %       50 %       75 %      100 %   of 8 steps",
            "main        0.8        0.7        0.6        0.5        0.4",
        ],
    }
    assert trainer.updates["main"].optimizer.param_groups[0]["lr"] == 0.1, "a preview sets nothing"
    assert "\nlr\n    warm-up of" in as_text(explained(trainer.hooks), said)
    seen = Seen()
    other = tiny_trainer(plugins=[plugins[0], seen], train_data=tiny_batches(8), optimizer=partial(SGD, lr=0.1, momentum=0.8))
    other.fit(epochs=1)
    assert [f"{seen.steps[i][0]:.4g}" for i in (0, 2, 4, 6)] == ["0.03333", "0.1", "0.075", "0.025"]


def test_the_preview_of_schedulers_of_torch_and_of_several_groups() -> None:
    model = nn.Linear(4, 3)
    optimizer = SGD(groups_of(model))
    ready = lr_scheduler.MultiStepLR(optimizer, [4])
    trainer = tiny_trainer(model=model, optimizer=optimizer, plugins=[LR(ready, every="epoch")], train_data=tiny_batches(2), epochs=8)
    lines = said_of_run(trainer)["lr"]
    assert lines[0] == "MultiStepLR, per epoch"
    assert lines[2].split() == ["main", "weights", "0.1", "0.1", "0.01", "0.01", "0.01"]
    assert lines[3].split() == ["main", "1", "0.5", "0.5", "0.05", "0.05", "0.05"]
    assert ready.last_epoch == 0


def test_no_preview() -> None:
    assert said_of_run(tiny_trainer(plugins=["lr"])) == {
        "lr": ["no preview: how long to train? pass fit(..., epochs=10) or fit(..., steps=1000)"]
    }
    endless = tiny_trainer(plugins=["lr:schedule=constant"], train_data=iter(tiny_batches(2)), epochs=1)
    assert said_of_run(endless)["lr"][1] == "no preview: the length of the run is unknown"


@pytest.mark.parametrize("spec", ["lr", "lr:schedule=OneCycleLR,max_lr=0.2", "scheduled-value:of=weight_decay,base=1,start=0.1,end=0.2"])
def test_conformance(spec: str) -> None:
    check_plugin(spec)


def test_several_updates_and_open_windows_resume() -> None:
    """Saved in an open window, under two updates and accumulation."""

    def make() -> Trainer:
        return tiny_trainer(
            plugins=[LR("one-cycle"), ScheduledValue("weight_decay", base=1, end=0.1)], seed=3, accumulate=3, **two_updates()
        )

    check_resume(make)

"""What a user does with a trainer."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fit_core import FitError, State, StateKey, Trainer, freeze, hookimpl
from fit_core.testing import record_hooks, tiny_batches, tiny_trainer


@pytest.mark.parity("T20", "T21")
def test_fit_learns_and_returns_its_rows() -> None:
    trainer = tiny_trainer(metrics=["accuracy"], train_data=tiny_batches(20))
    rows = trainer.fit(epochs=3)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert list(rows[0]) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    assert rows[-1]["val_accuracy"] > 0.8
    assert trainer.fit(epochs=1)[0]["epoch"] == 4, "epochs go on counting"
    assert [row["epoch"] for row in trainer.history] == [1, 2, 3, 4]


def test_the_loss_of_a_row_is_the_mean_over_samples_not_over_batches() -> None:
    inputs, targets = tiny_batches(1, size=27)[0]
    trainer = tiny_trainer(optimizer=partial(torch.optim.SGD, lr=0.0), metrics=["accuracy"])
    ragged = [(inputs[:20], targets[:20]), (inputs[20:24], targets[20:24]), (inputs[24:], targets[24:])]
    row = trainer.fit(ragged, list(ragged), epochs=1)[0]
    outputs = trainer.model(inputs)
    assert row["loss"] == pytest.approx(nn.functional.cross_entropy(outputs, targets).item(), rel=1e-6)
    assert row["val_loss"] == pytest.approx(row["loss"], rel=1e-6)
    assert row["accuracy"] == pytest.approx((outputs.argmax(1) == targets).double().mean().item())


def test_steps_end_an_epoch_like_a_complete_one() -> None:
    trainer = tiny_trainer(train_data=tiny_batches(4))
    rows = trainer.fit(steps=6)
    assert len(rows) == 2
    assert "val_loss" in rows[1]
    assert trainer.fit(steps=1)[0]["epoch"] == 3


@pytest.mark.parity("T16")
def test_endless_data_needs_steps() -> None:
    def endless() -> Any:
        while True:
            yield from tiny_batches(2)

    assert len(tiny_trainer(train_data=endless()).fit(steps=5)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "how long to train"),
        ({"epochs": 0}, "epochs must be at least 1 and whole, not 0"),
        ({"epochs": 1, "batch_size": 4}, "batch_size does nothing here"),
    ],
)
@pytest.mark.parity("T20")
def test_wrong_arguments_of_fit(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        tiny_trainer().fit(**arguments)


@pytest.mark.parity("T1", "T2", "T20")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet"}, "model must be a torch.nn.Module, not str"),
        ({"optimizer": None}, "there is no optimizer to train with"),
        ({"optimizer": "sgd"}, "optimizer must be a torch optimizer or a callable"),
        ({"optimizer": lambda parameters: list(parameters)}, "returned list, not a torch optimizer"),
        ({"optimizer": torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)}, "holds none of the model's parameters"),
        ({"train_data": None}, "there is no training data"),
        ({"train_data": []}, "train_data is empty"),
        ({"train_data": iter(())}, "train_data gave no batch in epoch 1"),
        ({"train_data": 3}, "train_data must be a DataLoader, .* not int"),
        ({"train_data": [(1, 2, 3)]}, "write a hook prepare_batch"),
        ({"loss_fn": None}, "the trainer has no loss_fn, and the model's outputs carry no loss"),
        (
            {"loss_fn": nn.CrossEntropyLoss(reduction="none")},
            "hook compute_loss must return a tensor with one element, .* a tensor of shape",
        ),
        ({"finite": "maybe"}, "finite must be 'stop', 'skip' or 'off', not 'maybe'"),
        ({"log_every": 0}, "log_every must be at least 1"),
    ],
)
@pytest.mark.parity("T1", "T2")
def test_mistakes_get_a_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        tiny_trainer(**changes).fit(epochs=1)


def test_a_generator_is_exhausted_after_one_epoch() -> None:
    with pytest.raises(
        FitError, match="train_data gave no batch in epoch 2, after 2 in the pass before; a generator can be read only once"
    ):
        tiny_trainer(train_data=iter(tiny_batches(2))).fit(epochs=2)


def test_a_loader_shorter_than_it_says_is_an_error() -> None:
    class Short(list[Any]):
        def __len__(self) -> int:
            return 5

    with pytest.raises(FitError, match="train_data gave 2 batches, but its length is 5"):
        tiny_trainer(train_data=Short(tiny_batches(2))).fit(epochs=1)


@pytest.mark.parity("T22", "T13")
def test_evaluate_changes_nothing() -> None:
    trainer = tiny_trainer(model=nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3)), metrics=["accuracy"])
    trainer.fit(epochs=1)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    random = torch.get_rng_state()
    values = trainer.evaluate()
    assert set(values) == {"test_loss", "test_accuracy"}
    assert trainer.evaluate() == values
    assert trainer.model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())
    assert len(trainer.history) == 1


@pytest.mark.parity("T22", "S7")
def test_evaluate_from_a_hook_disturbs_nothing() -> None:
    class Nosy:
        @hookimpl
        def on_batch_end(self, trainer: Trainer, state: State) -> None:
            found = (state.batch, state.step, state.outputs)
            trainer.evaluate()
            trainer.predict(trainer.test_data)
            assert found == (state.batch, state.step, state.outputs)

    plain, nosy = tiny_trainer(metrics=["accuracy"]), tiny_trainer(metrics=["accuracy"], plugins=[Nosy()])
    expected, found = plain.fit(epochs=2), nosy.fit(epochs=2)
    assert [{**row, "seconds": 0} for row in found] == [{**row, "seconds": 0} for row in expected]
    assert torch.equal(plain.model.weight, nosy.model.weight)


@pytest.mark.parity("T2", "T12", "T23", "C16")
def test_predict_joins_the_outputs_of_all_batches() -> None:
    trainer = tiny_trainer(loss_fn=None, optimizer=None)
    inputs = torch.randn(10, 4)
    outputs = trainer.predict(inputs, batch_size=4)
    assert torch.allclose(outputs, trainer.model(inputs))
    assert not outputs.requires_grad
    assert torch.equal(trainer.predict((inputs, torch.zeros(10)), batch_size=4), outputs), "targets are ignored"


@pytest.mark.parity("T23", "C16")
def test_predict_keeps_the_nesting_of_outputs() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Any]:
            return {"sum": x.sum(1), "pair": (x, 2 * x)}

    outputs = Trainer(Two(), quiet=True).predict(torch.ones(5, 3), batch_size=2)
    assert outputs["sum"].shape == (5,)
    assert [part.shape for part in outputs["pair"]] == [(5, 3), (5, 3)]


@pytest.mark.parity("T23")
def test_ragged_predictions_are_a_list() -> None:
    outputs = Trainer(nn.Identity(), quiet=True).predict([torch.ones(2, 3), torch.ones(2, 5)])
    assert [tuple(o.shape) for o in outputs] == [(2, 3), (2, 5)]


def test_stop_ends_the_epoch_at_hand_without_a_row() -> None:
    class Stop:
        @hookimpl
        def on_batch_end(self, trainer: Trainer, state: State) -> None:
            if state.batch_count == 5:
                trainer.stop("enough")
                trainer.stop("the first reason counts")

    trainer = tiny_trainer(plugins=[Stop()], train_data=tiny_batches(4))
    with record_hooks(trainer) as calls:
        rows = trainer.fit(epochs=3)
    assert len(rows) == 1
    assert calls.hooks.count("on_train_epoch_end") == 2
    assert calls.hooks.count("on_epoch_end") == 1
    assert calls.hooks.count("on_eval_start") == 1
    assert calls.hooks[-1] == "on_fit_end"
    assert calls.hooks.count("on_safe_point") == 4 + 1 + 1


@pytest.mark.parity("T16")
def test_stop_after_the_last_batch_or_at_the_end_completes_the_epoch() -> None:
    class Stop:
        @hookimpl
        def on_epoch_end(self, trainer: Trainer, state: State) -> None:
            if state.epoch == 2:
                trainer.stop("enough")

    trainer = tiny_trainer(plugins=[Stop()])
    assert len(trainer.fit(epochs=math.inf)) == 2
    assert len(trainer.fit(epochs=1)) == 1, "a new call begins without the old reason"


def test_stop_outside_of_a_run_is_an_error() -> None:
    with pytest.raises(FitError, match="stop works only while the trainer runs"):
        tiny_trainer().stop("why")


def test_record_enters_a_weighted_mean_into_the_row() -> None:
    class Recorder:
        @hookimpl
        def on_batch_end(self, trainer: Trainer, state: State) -> None:
            trainer.record("batch_mean", float(state.batch), weight=state.batch)
            trainer.record("of_tensors", torch.tensor(float(state.batch)))

        @hookimpl
        def on_eval_batch_end(self, trainer: Trainer) -> None:
            trainer.record("seen", 1.0)

        @hookimpl
        def on_eval_end(self, trainer: Trainer) -> None:
            trainer.record("late", 2.0)

    row = tiny_trainer(plugins=[Recorder()]).fit(epochs=2)[-1]
    assert row["batch_mean"] == pytest.approx((1 + 4) / 3)
    assert row["of_tensors"] == 1.5
    assert (row["val_seen"], row["val_late"]) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [(name, "the row has this name for something else") for name in ("loss", "accuracy", "epoch", "lr", "seconds", "val_x")],
)
def test_record_refuses_the_name_of_a_metric(name: str, message: str) -> None:
    @hookimpl
    def on_batch_end(trainer: Trainer) -> None:
        trainer.record(name, 1.0)

    with pytest.raises(FitError, match=message):
        tiny_trainer(plugins=[on_batch_end], metrics=["accuracy"]).fit(epochs=1)


def test_the_row_is_frozen_from_on_epoch_end_on() -> None:
    @hookimpl
    def on_epoch_end(trainer: Trainer, row: Any) -> None:
        with pytest.raises(TypeError):
            row["mine"] = 1
        with pytest.raises(FitError, match="cannot record 'mine' here: the row is open"):
            trainer.record("mine", 1.0)

    assert "mine" not in tiny_trainer(plugins=[on_epoch_end]).fit(epochs=1)[0]


def test_log_reaches_trackers_as_floats_at_each_flush() -> None:
    heard: list[Any] = []

    class Tracker:
        @hookimpl
        def on_batch_end(self, trainer: Trainer) -> None:
            trainer.log({"mine": torch.tensor(2.0), "other": 3})

        @hookimpl
        def on_log(self, entries: Any) -> None:
            heard.append(entries)

    tiny_trainer(plugins=[Tracker()], train_data=tiny_batches(5), log_every=2).fit(epochs=1)
    entries = [entry for flushed in heard for entry in flushed]
    assert [len(flushed) for flushed in heard] == [3, 4, 4]
    assert [entry.step for entry in entries] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5]
    assert entries[0].values.keys() == {"loss", "lr"}
    assert entries[1].values == {"mine": 2.0, "other": 3.0}
    assert set(entries[-1].values) == {"epoch/loss", "epoch/val_loss", "epoch/lr", "epoch/seconds"}
    assert all(type(value) is float for entry in entries for value in entry.values.values())


def test_nothing_is_logged_while_nobody_listens() -> None:
    class Talker:
        @hookimpl
        def on_batch_end(self, trainer: Trainer) -> None:
            trainer.log({"mine": torch.zeros(7)})  # would be an error if anybody listened

    assert tiny_trainer(plugins=[Talker()]).fit(epochs=1)


def test_freeze_keeps_parameters_and_statistics_still() -> None:
    backbone = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    trainer = tiny_trainer(model=nn.Sequential(freeze(backbone), nn.ReLU(), nn.Linear(8, 3)))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    trainer.fit(epochs=2)
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert trainer.model.training
    assert not backbone[1].training
    optimizer = trainer._updates["main"].optimizer
    assert {id(p) for p in optimizer.state} == {id(p) for p in trainer.model[2].parameters()}


@pytest.mark.parity("T26")
def test_modes_are_left_as_found() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    model[1].eval()
    tiny_trainer(model=model).fit(epochs=1)
    assert [module.training for module in model] == [True, False, True], "a flag set by hand is respected"
    model.eval()
    tiny_trainer(model=model).fit(epochs=1)
    assert all(module.training for module in model), "a model in eval mode is switched as a whole"


@pytest.mark.parity("T26")
def test_modes_are_put_back_after_an_exception_in_validation() -> None:
    @hookimpl
    def on_eval_batch_end() -> None:
        raise ValueError("spoilt")

    trainer = tiny_trainer(plugins=[on_eval_batch_end])
    with pytest.raises(ValueError, match="spoilt"):
        trainer.fit(epochs=1)
    assert trainer.model.training


def test_seeded_runs_are_equal() -> None:
    def weights(seed: int | None) -> Tensor:
        data = (torch.arange(80.0).reshape(20, 4) / 80, torch.arange(20) % 3)
        trainer = tiny_trainer(train_data=data, seed=seed)
        trainer.fit(epochs=2, batch_size=6)
        result: Tensor = trainer.model.weight
        return result

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_plugins_hear_every_end_once_and_the_first_exception_wins() -> None:
    heard: list[str] = []

    def plugin(name: str, bad: bool) -> Any:
        class Ending:
            @hookimpl
            def on_exception(self, exception: BaseException) -> None:
                heard.append(f"{name} {exception}")

            @hookimpl
            def on_fit_end(self) -> None:
                heard.append(f"{name} end")
                if bad:
                    raise RuntimeError("while ending")

            @hookimpl
            def on_teardown(self) -> None:
                heard.append(f"{name} down")

        return (name, Ending())

    @hookimpl
    def on_batch_end() -> None:
        raise KeyboardInterrupt("the user")

    trainer = tiny_trainer(plugins=[plugin("a", True), plugin("b", False), on_batch_end])
    with pytest.raises(KeyboardInterrupt) as caught, trainer:
        trainer.fit(epochs=1)
    assert heard == ["a the user", "b the user", "a end", "b end", "a down", "b down"]
    assert any("while ending: RuntimeError: while ending" in note for note in caught.value.__notes__)
    trainer.close()
    assert len(heard) == 6, "torn down once"


def test_an_exception_at_the_end_of_a_good_run_is_raised() -> None:
    @hookimpl
    def on_fit_end() -> None:
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        tiny_trainer(plugins=[on_fit_end]).fit(epochs=1)


FAKE: StateKey[Tensor] = StateKey("fake")


@pytest.mark.parity("S1", "S2", "S7")
def test_typed_keys_pass_values_between_plugins_and_end_with_the_batch() -> None:
    other: StateKey[Tensor] = StateKey("fake")

    class Giver:
        @hookimpl
        def on_batch_start(self, state: State) -> None:
            assert FAKE not in state
            state[FAKE] = torch.ones(1)

    class Taker:
        @hookimpl
        def on_batch_end(self, state: State) -> None:
            assert state[FAKE] == 1
            assert other not in state
            assert "fake" in repr(state)

    tiny_trainer(plugins=[Giver(), Taker()]).fit(epochs=1)


@pytest.mark.parity("S5")
def test_counters_of_state_are_read_only() -> None:
    @hookimpl
    def on_batch_end(state: State) -> None:
        state.step = 3  # type: ignore[misc]

    with pytest.raises(AttributeError):
        tiny_trainer(plugins=[on_batch_end]).fit(epochs=1)


def test_the_state_counts() -> None:
    seen: list[Any] = []

    @hookimpl
    def on_batch_end(state: State) -> None:
        seen.append((state.epoch, state.epochs, state.batch, state.batches, state.batch_count, state.step, state.steps_total))
        assert state.metrics.keys() == {"loss"}

    tiny_trainer(plugins=[on_batch_end]).fit(epochs=2)
    assert seen == [(1, 2, 1, 2, 1, 1, 4), (1, 2, 2, 2, 2, 2, 4), (2, 2, 1, 2, 3, 3, 4), (2, 2, 2, 2, 4, 4, 4)]


@pytest.mark.parity("T18", "T19")
def test_stages_can_be_wrapped_and_replaced() -> None:
    class Everything:
        @hookimpl(wrapper=True)
        def prepare_model(self) -> Any:
            return nn.Sequential((yield), nn.Identity())

        @hookimpl
        def prepare_batch(self, batch: Any) -> Any:
            a, b, targets = batch
            return a + b, targets

        @hookimpl
        def compute_loss(self, state: State) -> Tensor:
            state.weight = 5
            return state.outputs.square().mean()

        @hookimpl
        def on_loss_end(self, state: State) -> None:
            state.loss = state.loss + 1

    batches = [(x, x, y) for x, y in tiny_batches(2)]
    trainer = tiny_trainer(plugins=[Everything()], train_data=batches, val_data=None)
    assert trainer.fit(epochs=1)[0]["loss"] > 1
    assert isinstance(trainer.model, nn.Linear), "trainer.model stays the user's"


@pytest.mark.parity("T19")
def test_a_replaced_run_update_uses_the_building_blocks() -> None:
    @hookimpl
    def run_update(trainer: Trainer, state: State) -> bool:
        trainer.forward()
        trainer.compute_loss()
        trainer.backward()
        trainer.maybe_step()
        return True

    mine, plain = tiny_trainer(plugins=[run_update]), tiny_trainer()
    mine.fit(epochs=2)
    plain.fit(epochs=2)
    assert torch.equal(mine.model.weight, plain.model.weight)


def test_a_run_update_that_never_steps_is_an_error() -> None:
    @hookimpl
    def run_update(trainer: Trainer) -> bool:
        trainer.forward()
        return True

    with pytest.raises(FitError, match=r"run_update of update 'main' never came to trainer.maybe_step\(\)"):
        tiny_trainer(plugins=[run_update]).fit(epochs=1)


def test_a_train_step_without_an_update_is_an_error() -> None:
    @hookimpl
    def train_step() -> bool:
        return True

    with pytest.raises(FitError, match="train_step ran no update"):
        tiny_trainer(plugins=[train_step]).fit(epochs=1)


@pytest.mark.parity("T4", "T5")
def test_a_model_and_a_loss_may_name_state() -> None:
    class Deep(nn.Linear):
        def forward(self, inputs: Tensor, state: State) -> Tensor:
            assert state.phase in ("train", "validate")
            return super().forward(inputs)

    def loss_fn(outputs: Tensor, targets: Tensor, state: State) -> Tensor:
        state.weight = 2 * len(targets)
        return nn.functional.cross_entropy(outputs, targets)

    assert tiny_trainer(model=Deep(4, 3), loss_fn=loss_fn).fit(epochs=1)


@pytest.mark.parity("T5", "C15")
def test_inputs_are_spread_over_arguments_and_keywords() -> None:
    class Two(nn.Linear):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return super().forward(a + b)

    for pack in (lambda x: (x, x), lambda x: [x, x], lambda x: {"a": x, "b": x}):
        batches = [(pack(x), y) for x, y in tiny_batches(2)]
        assert tiny_trainer(model=Two(4, 3), train_data=batches, val_data=None).fit(epochs=1)


@pytest.mark.parity("T3", "C15")
def test_a_model_may_bring_its_loss() -> None:
    class WithLoss(nn.Linear):
        def forward(self, inputs: Tensor, labels: Tensor) -> Any:
            logits = super().forward(inputs)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    batches = [{"inputs": x, "labels": y} for x, y in tiny_batches(2)]
    assert tiny_trainer(model=WithLoss(4, 3), loss_fn=None, train_data=batches, val_data=None).fit(epochs=1)[0]["loss"] > 0


def test_a_loss_module_with_parameters_is_trained() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.temperature = nn.Parameter(torch.ones(()))

        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return nn.functional.cross_entropy(outputs * self.temperature, targets)

    loss_fn = Scaled()
    tiny_trainer(loss_fn=loss_fn).fit(epochs=1)
    assert loss_fn.temperature.item() != 1


@pytest.mark.parity("T15", "T17", "B5", "T10")
def test_virtual_epochs_go_on_where_the_last_one_stopped() -> None:
    seen: list[float] = []

    @hookimpl
    def on_batch_end(state: State) -> None:
        seen.append(state.inputs[0, 0].item())

    batches = tiny_batches(5)
    first = [inputs[0, 0].item() for inputs, _ in batches]
    trainer = tiny_trainer(plugins=[on_batch_end], train_data=batches)
    rows = trainer.fit(epochs=4, steps_per_epoch=3)
    assert len(rows) == 4
    assert seen == pytest.approx((first * 3)[:12])
    assert trainer._progress.steps_total == 12
    with pytest.raises(FitError, match="train_data gave 5 batches and cannot be read again"):
        tiny_trainer(train_data=iter(batches)).fit(epochs=4, steps_per_epoch=3)


@pytest.mark.parity("T16", "B5")
def test_endless_data_makes_virtual_epochs() -> None:
    def endless() -> Any:
        while True:
            yield from tiny_batches(2)

    assert [row["epoch"] for row in tiny_trainer(train_data=endless()).fit(epochs=2, steps_per_epoch=5)] == [1, 2]


def test_a_stop_iteration_in_a_dataset_does_not_make_a_virtual_epoch_go_round() -> None:
    class Short(list[Any]):
        def __len__(self) -> int:
            return 5

    with pytest.raises(FitError, match="train_data gave 2 batches, but its length is 5"):
        tiny_trainer(train_data=Short(tiny_batches(2))).fit(epochs=1, steps_per_epoch=4)


def test_several_validation_sets() -> None:
    clean, noisy = tiny_batches(1, seed=1), tiny_batches(1, seed=2)
    row = tiny_trainer(metrics=["accuracy"], val_data={"clean": clean, "noisy": noisy}).fit(epochs=1)[0]
    assert list(row) == [
        "epoch", "loss", "accuracy", "val_clean_loss", "val_clean_accuracy", "val_noisy_loss", "val_noisy_accuracy", "lr", "seconds",
    ]  # fmt: skip
    with pytest.raises(FitError, match="val_noisy_data is empty"):
        tiny_trainer(val_data={"clean": clean, "noisy": []}).fit(epochs=1)


@pytest.mark.parity("T23")
def test_predictions_with_their_targets() -> None:
    inputs, targets = torch.randn(10, 4), torch.arange(10)
    outputs, found = tiny_trainer().predict((inputs, targets), batch_size=4, with_targets=True)
    assert outputs.shape == (10, 3)
    assert torch.equal(found, targets)


@pytest.mark.parity("T9")
def test_a_trainer_shows_itself_on_one_screen() -> None:
    trainer = tiny_trainer(metrics=["accuracy"], plugins=[("mine", Stopper())])
    said = repr(trainer)
    for expected in (
        "Linear, 15 parameters, 15 trained",
        "CrossEntropyLoss",
        "Update('main', SGD, steps=0)",
        "accuracy",
        "mine",
        "0 trained, 0 steps",
    ):
        assert expected in said
    trainer.fit(epochs=1)
    assert "Update('main', SGD, steps=2)" in repr(trainer)
    assert len(repr(trainer).splitlines()) == 7


class Stopper:
    @hookimpl
    def on_fit_start(self) -> None:
        pass


class Point(nn.Module):
    """A point in the plane; its distance from (3, -1)."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(2))

    def forward(self, state: State) -> Tensor:
        assert state.phase == "train"
        return (self.place - torch.tensor([3.0, -1.0])).square().sum()


@pytest.mark.parity("T1", "T15")
def test_a_model_without_inputs_is_a_plain_optimisation_problem() -> None:
    trainer = Trainer(Point(), lambda outputs, targets: outputs, partial(torch.optim.SGD, lr=0.1), quiet=True)
    rows = trainer.fit(epochs=4, steps_per_epoch=20)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["loss"] < 1e-6
    assert torch.allclose(trainer.model.place, torch.tensor([3.0, -1.0]), atol=1e-4)
    with pytest.raises(FitError, match=r"how long is an epoch without data.*, or, for fit train, Trainer\(train_data=\[None\] \* 100\)"):
        trainer.fit(epochs=1)


@pytest.mark.parity("T3")
def test_without_a_loss_plugins_add_to_zero() -> None:
    @hookimpl
    def on_loss_end(state: State) -> None:
        state.loss = state.loss + state.outputs

    trainer = Trainer(Point(), None, partial(torch.optim.SGD, lr=0.1), plugins=[on_loss_end], quiet=True)
    assert len(trainer.fit(steps=60)) == 1
    assert torch.allclose(trainer.model.place, torch.tensor([3.0, -1.0]), atol=1e-3)

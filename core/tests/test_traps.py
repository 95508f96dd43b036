"""Each of these once went wrong silently, or with an error that helped nobody."""

from __future__ import annotations

import gc
import itertools
import time
import weakref
from collections import OrderedDict, UserDict
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from fit_core import FitError, State, Trainer, every, hookimpl, once, only_if
from fit_core.hookspecs import notice, stage
from fit_core.testing import record_hooks, tiny_batches, tiny_trainer


def test_the_guard_takes_sparse_and_half_precision_gradients() -> None:
    bags = [(torch.randint(0, 10, (4, 3)), torch.zeros(4, dtype=torch.int64)) for _ in range(2)]
    sparse = nn.EmbeddingBag(10, 3, sparse=True)
    trainer = tiny_trainer(model=sparse, optimizer=partial(torch.optim.SparseAdam, lr=0.1), train_data=bags, val_data=None)
    assert trainer.fit(epochs=1)

    @hookimpl
    def on_backward_end(trainer: Trainer) -> None:
        for parameter in trainer.model.parameters():
            assert parameter.grad is not None
            parameter.grad.fill_(40000)

    half = [(x.half(), y) for x, y in tiny_batches(1)]
    tiny_trainer(model=nn.Linear(4, 3).half(), plugins=[on_backward_end], train_data=half, val_data=None).fit(epochs=1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_logged_tensor_keeps_its_value_whatever_its_type(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    value, logged = torch.tensor(1 / 3).to(dtype), []

    class Watch:
        @hookimpl
        def on_batch_end(self, trainer: Trainer) -> None:
            trainer.log({"value": value.reshape(shape), "number": 0.5})

        @hookimpl
        def on_log(self, entries: Any) -> None:
            logged.extend((entry.values["value"], entry.values["number"]) for entry in entries if "value" in entry.values)

    tiny_trainer(plugins=[Watch()], train_data=tiny_batches(2), val_data=None).fit(epochs=1)
    assert logged == [(float(value), 0.5)] * 2
    assert {type(number) for pair in logged for number in pair} == {float}


def test_recorded_and_logged_values_are_those_of_their_moment() -> None:
    logged: list[float] = []

    class Watch:
        @hookimpl
        def on_batch_start(self, trainer: Trainer, state: State) -> None:
            trainer.record("weight", trainer.model.weight[0, 0])
            trainer.log({"weight": trainer.model.weight[0, 0]})
            self.true = [*getattr(self, "true", []), trainer.model.weight[0, 0].item()]

        @hookimpl
        def on_log(self, entries: Any) -> None:
            logged.extend(entry.values["weight"] for entry in entries if "weight" in entry.values)

    watch = Watch()
    row = tiny_trainer(plugins=[watch], train_data=tiny_batches(4)).fit(epochs=1)[0]
    assert logged == pytest.approx(watch.true)
    assert row["weight"] == pytest.approx(sum(watch.true) / 4)
    assert len(set(logged)) == 4


def test_the_rate_in_the_row_is_that_of_the_step_also_if_it_is_a_tensor() -> None:
    @hookimpl
    def on_step_end(state: State) -> None:
        assert state.update is not None
        state.update.optimizer.param_groups[0]["lr"].mul_(0.1)

    optimizer = partial(torch.optim.Adam, lr=torch.tensor(0.1))
    assert tiny_trainer(optimizer=optimizer, plugins=[on_step_end]).fit(epochs=1)[0]["lr"] == pytest.approx(0.01)


def test_fit_from_a_hook_is_refused() -> None:
    @hookimpl
    def on_epoch_end(trainer: Trainer) -> None:
        trainer.fit(epochs=1)

    with pytest.raises(FitError, match="fit cannot be called from a hook"):
        tiny_trainer(plugins=[on_epoch_end]).fit(epochs=2)


X, Y = torch.randn(12, 4), torch.zeros(12, dtype=torch.int64)


@pytest.mark.parametrize(
    "data",
    [(X, Y), TensorDataset(X, Y), DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True)],
    ids=["arrays", "dataset", "loader"],
)
def test_no_source_keeps_a_batch_alive(data: Any) -> None:
    alive: list[int] = []

    class Watch:
        def __init__(self) -> None:
            self.references: list[weakref.ref[Any]] = []

        @hookimpl
        def on_batch_end(self, state: State) -> None:
            self.references += [weakref.ref(state.inputs), weakref.ref(state.targets)]

        @hookimpl
        def on_safe_point(self) -> None:
            alive.append(sum(reference() is not None for reference in self.references))

    gc.disable()
    try:
        tiny_trainer(plugins=[Watch()], train_data=data, val_data=None).fit(epochs=1)
    finally:
        gc.enable()
    assert set(alive) == {0}


def test_what_was_set_up_is_torn_down_even_if_setting_up_failed() -> None:
    heard: list[str] = []

    class First:
        @hookimpl
        def on_setup(self) -> None:
            heard.append("up")

        @hookimpl
        def on_teardown(self) -> None:
            heard.append("down")

    @hookimpl
    def on_setup() -> None:
        raise ValueError("no room")

    trainer = tiny_trainer(plugins=[First(), on_setup])
    with pytest.raises(ValueError, match="no room"), trainer:
        trainer.fit(epochs=1)
    assert heard == ["up", "down"]
    with pytest.raises(FitError, match="the trainer is closed"):
        trainer.fit(epochs=1)


def test_a_prepared_module_is_trained_and_switched() -> None:
    made = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.0)).eval()

    @hookimpl
    def prepare_model() -> nn.Module:
        return made

    before = made[0].weight.clone()
    tiny_trainer(plugins=[prepare_model]).fit(epochs=1)
    assert not torch.equal(before, made[0].weight)
    assert made.training


def test_parameters_of_the_loss_and_the_model_are_given_once() -> None:
    model = nn.Linear(4, 3)

    class Penalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return F.cross_entropy(outputs, targets) + self.model.weight.square().sum()

    trainer = tiny_trainer(model=model, loss_fn=Penalised())
    trainer.fit(epochs=1)
    assert len(trainer._updates["main"].params) == 2


def test_a_model_that_is_frozen_as_a_whole() -> None:
    with pytest.raises(FitError, match="there is nothing to train"):
        tiny_trainer(model=nn.Linear(4, 3).requires_grad_(False)).fit(epochs=1)


def test_a_metric_may_be_a_method_of_the_model() -> None:
    class Model(nn.Linear):
        def size(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return self.weight.square().sum()

    model = Model(4, 3)
    trainer = tiny_trainer(model=model, metrics=[model.size])
    row = trainer.fit(epochs=2)[-1]
    assert row["val_size"] == pytest.approx(model.weight.square().sum().item())


def test_the_guard_sees_parameters_that_are_added_later() -> None:
    extra = nn.Parameter(torch.ones(1))

    class Unfreeze:
        @hookimpl
        def on_fit_start(self, state: State) -> None:
            state.updates["main"].optimizer.add_param_group({"params": [extra]})

        @hookimpl
        def on_backward_end(self) -> None:
            extra.grad = torch.tensor([float("nan")])

    with pytest.raises(FitError, match="gradient of a parameter outside the model is not finite"):
        tiny_trainer(plugins=[Unfreeze()]).fit(epochs=1)
    assert extra.isfinite().all()


def test_what_was_logged_arrives_also_when_a_run_fails() -> None:
    class Tracker:
        def __init__(self) -> None:
            self.steps: list[int] = []

        @hookimpl
        def on_log(self, entries: Any) -> None:
            self.steps += [entry.step for entry in entries]

        @hookimpl
        def on_batch_end(self, state: State) -> None:
            if state.batch == 3:
                raise ValueError("spoilt")

        @hookimpl
        def on_fit_end(self, trainer: Trainer) -> None:
            trainer.log({"late": 1})

    tracker = Tracker()
    with pytest.raises(ValueError, match="spoilt"):
        tiny_trainer(plugins=[tracker], train_data=tiny_batches(4)).fit(epochs=1)
    assert tracker.steps == [1, 2, 3, 3]


@pytest.mark.parametrize("value", [torch.ones(3), torch.tensor(1 + 2j), 1 + 2j, np.complex64(1 + 2j), "text", None])
def test_what_is_no_number_is_refused_at_once_and_spoils_nothing(value: Any) -> None:
    entries: list[Any] = []

    class Plugin:
        @hookimpl
        def on_batch_end(self, trainer: Trainer) -> None:
            with pytest.raises(FitError, match="'bad' must be"):
                trainer.log({"good": 1.0, "bad": value})
            with pytest.raises(FitError, match="'bad' must be"):
                trainer.record("bad", value)

        @hookimpl
        def on_log(self, entries: Any) -> None:
            seen.extend(entries)

    seen = entries
    tiny_trainer(plugins=[Plugin()]).fit(epochs=1)
    assert all("good" not in entry.values for entry in entries)
    assert entries[0].values["lr"] == pytest.approx(0.1)


@pytest.mark.parity("T18")
def test_a_plugin_may_limit_the_batches() -> None:
    class Limit:
        @hookimpl(wrapper=True)
        def iter_batches(self) -> Any:
            return itertools.islice((yield), 1)

    @hookimpl
    def iter_batches(data: Any) -> Any:
        yield from reversed(list(data))

    for plugin in (Limit(), iter_batches):
        assert tiny_trainer(plugins=[plugin], train_data=tiny_batches(3)).fit(epochs=1)


class Output(OrderedDict[str, Any]):
    @property
    def logits(self) -> Tensor:
        found: Tensor = self["logits"]
        return found


def test_outputs_and_inputs_keep_their_type() -> None:
    class Model(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            return Output(logits=super().forward(x))

    def right(outputs: Any, targets: Tensor) -> Tensor:
        return (outputs.logits.argmax(1) == targets).float()

    batches = [(UserDict(x=x), y) for x, y in tiny_batches(2)]
    model = Model(4, 3)
    trainer = tiny_trainer(
        model=model, loss_fn=lambda o, t: F.cross_entropy(o.logits, t), metrics=[right], train_data=batches, val_data=None
    )
    trainer.fit(epochs=1)
    assert isinstance(trainer.predict(batches), Output)


def test_a_replaced_update_without_a_loss() -> None:
    class Direct:
        @hookimpl
        def run_update(self, trainer: Trainer) -> bool:
            for parameter in trainer.model.parameters():
                parameter.grad = torch.ones_like(parameter)
            trainer.maybe_step()
            return True

        @hookimpl
        def on_log(self) -> None:
            pass

    row = tiny_trainer(plugins=[Direct()], val_data=None).fit(epochs=1)[0]
    assert set(row) == {"epoch", "lr", "seconds"}


def test_a_batch_steps_once() -> None:
    @hookimpl
    def run_update(trainer: Trainer) -> bool:
        trainer.forward()
        trainer.compute_loss()
        trainer.backward()
        trainer.maybe_step()
        trainer.maybe_step()
        return True

    with pytest.raises(FitError, match="came to trainer.maybe_step\\(\\) twice"):
        tiny_trainer(plugins=[run_update]).fit(epochs=1)


def test_who_catches_an_exception_in_a_step_goes_on_without_half_a_gradient() -> None:
    class Forgiving:
        @hookimpl(wrapper=True)
        def train_step(self) -> Any:
            try:
                return (yield)
            except MemoryError:
                return True

        @hookimpl
        def on_backward_end(self, state: State) -> None:
            if state.batch == 2:
                raise MemoryError

    trainer, clean = tiny_trainer(plugins=[Forgiving()], train_data=tiny_batches(3)), tiny_trainer()
    trainer.fit(epochs=1)
    batches = tiny_batches(3)
    clean.fit([batches[0], batches[2]], epochs=1)
    assert torch.equal(trainer.model.weight, clean.model.weight)


def test_a_stop_is_heard_wherever_it_is_asked_for() -> None:
    def stopper(hook: str) -> Any:
        space: dict[str, Any] = {"hookimpl": hookimpl}
        exec(f"@hookimpl(specname={hook!r})\ndef stopping(trainer):\n    trainer.stop('enough')", space)
        return space["stopping"]

    for hook, rows in [("on_setup", 0), ("on_fit_start", 0), ("on_epoch_start", 0), ("on_train_epoch_start", 0), ("on_eval_start", 1)]:
        trainer = tiny_trainer(plugins=[stopper(hook)])
        with record_hooks(trainer) as calls:
            assert len(trainer.fit(epochs=3)) == rows, hook
        assert calls.hooks.count("on_batch_start") == 2 * rows, hook
        assert calls.hooks[-1] == "on_fit_end"

    @hookimpl
    def on_batch_end(trainer: Trainer, state: State) -> None:
        if state.step == 3:
            trainer.stop("enough")

    assert len(tiny_trainer(plugins=[on_batch_end]).fit(steps=3)) == 2, "the last step was made: the epoch is complete"


def test_a_pass_of_evaluation_hears_of_a_stop() -> None:
    @hookimpl
    def on_eval_batch_end(trainer: Trainer, state: State) -> None:
        trainer.stop("enough")
        assert state.stop_reason == "enough"

    tiny_trainer(plugins=[on_eval_batch_end]).fit(epochs=2)


def test_notes_name_the_right_place() -> None:
    @hookimpl
    def on_epoch_start(state: State) -> None:
        if state.epoch == 2:
            raise ValueError

    with pytest.raises(ValueError) as caught:  # noqa: PT011
        tiny_trainer(plugins=[on_epoch_start]).fit(epochs=2)
    assert caught.value.__notes__[0].endswith("before the first batch of epoch 2 (train)")

    phases: list[str] = []

    @hookimpl
    def on_exception(state: State) -> None:
        phases.append(state.where())

    trainer = tiny_trainer(plugins=[on_exception])
    trainer.fit(epochs=1)
    with pytest.raises(RuntimeError):
        trainer.predict(torch.ones(2, 7))
    assert phases == ["in epoch 1, batch 1 (predict)"]


def test_modules_that_do_more_than_set_a_flag_change_modes_properly() -> None:
    class Merging(nn.Linear):
        merged = False

        def train(self, mode: bool = True) -> Any:
            self.merged = not mode
            return super().train(mode)

        def forward(self, x: Tensor) -> Tensor:
            assert self.merged is not self.training
            return super().forward(x)

    model = Merging(4, 3)
    tiny_trainer(model=model).fit(epochs=2)
    assert model.training
    assert not model.merged


def test_a_partial_of_a_criterion_is_weighted_like_the_criterion() -> None:
    inputs, targets = torch.randn(6, 4), torch.tensor([0, 1, -1, -1, -1, 2])
    trainer = tiny_trainer(loss_fn=partial(F.cross_entropy, ignore_index=-1), optimizer=None)
    whole = trainer.evaluate([(inputs, targets)])["test_loss"]
    assert trainer.evaluate([(inputs[:2], targets[:2]), (inputs[2:], targets[2:])])["test_loss"] == pytest.approx(whole)


def test_a_loss_set_by_a_plugin_is_reported_right_from_the_first_epoch() -> None:
    @hookimpl
    def on_setup(trainer: Trainer) -> None:
        trainer.loss_fn = nn.CrossEntropyLoss(reduction="sum")

    row = tiny_trainer(plugins=[on_setup], optimizer=partial(torch.optim.SGD, lr=0.0)).fit(epochs=1)[0]
    sums = sum(F.cross_entropy(tiny_trainer().model(x), y, reduction="sum").item() for x, y in tiny_batches(2))
    assert row["loss"] == pytest.approx(sums, rel=1e-5)


@pytest.mark.parity("T21")
def test_history_is_not_changed_by_who_changes_a_row() -> None:
    trainer = tiny_trainer()
    trainer.fit(epochs=1)[0]["loss"] = -1
    assert trainer.history[0]["loss"] > 0


def test_predictions_are_copies() -> None:
    x = torch.ones(2, 3)
    trainer = Trainer(nn.Identity(), quiet=True)
    trainer.predict([x]).add_(1)
    assert x.sum() == 6

    class Reusing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.buffer = torch.empty(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.buffer.copy_(x)

    assert Trainer(Reusing(), quiet=True).predict(torch.arange(4.0), batch_size=2).tolist() == [0, 1, 2, 3]


def test_predictions_without_a_dimension_become_a_vector() -> None:
    class Total(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum()

    trainer = Trainer(Total(), quiet=True)
    assert trainer.predict(torch.ones(4), batch_size=2).tolist() == [2, 2]
    assert trainer.predict(torch.ones(4), batch_size=4).tolist() == [4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"plugins": "logging"}, r"plugins must be a list: plugins=\['logging'\]"),
        ({"metrics": "accuracy"}, r"metrics must be a list: metrics=\['accuracy'\]"),
    ],
)
def test_a_name_where_a_list_should_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        tiny_trainer(**arguments)


class Defaults:
    @hookimpl
    def on_fit_start(self) -> None:
        pass


@pytest.mark.parametrize("attribute", ["replaces", "runs_before", "runs_after"])
def test_a_string_where_names_should_be(attribute: str) -> None:
    class Plugin(Defaults):
        name = "plugin"

    setattr(Plugin, attribute, "csv")
    with pytest.raises(FitError, match=rf"{attribute} must be a tuple of names: {attribute} = \('csv',\)"):
        tiny_trainer(plugins=[Plugin()])


def test_plugins_given_as_objects_can_be_removed_and_cannot_be_called_defaults() -> None:
    with pytest.raises(FitError, match="two plugins are called 'defaults'"):
        tiny_trainer(plugins=[Defaults()])
    assert list(tiny_trainer(plugins=[("mine", Defaults()), "no:mine"]).plugins) == []
    assert list(tiny_trainer(plugins=["no:console"], quiet=True).plugins) == []


def test_a_metric_that_lacks_something_says_what() -> None:
    class Half:
        name, higher_is_better = "half", True

        def reset(self) -> None: ...

        def update(self, outputs: Any, targets: Any) -> None: ...

        def compute(self) -> float:
            return 0.0

    with pytest.raises(FitError, match="Half is no metric yet: it lacks merge"):
        tiny_trainer(metrics=[Half()])


def test_an_exception_that_is_raised_again_while_ending_is_mentioned_once() -> None:
    class Again:
        @hookimpl
        def on_batch_end(self) -> None:
            raise ValueError("once")

        @hookimpl
        def on_exception(self, exception: BaseException) -> None:
            raise exception

    with pytest.raises(ValueError, match="once") as caught:
        tiny_trainer(plugins=[Again()]).fit(epochs=1)
    assert len(caught.value.__notes__) == 1


@pytest.mark.parametrize("length", [{"steps": 0}, {"steps": -3}, {"epochs": 1.5}, {"epochs": "3"}])
def test_lengths_that_are_none(length: dict[str, Any]) -> None:
    with pytest.raises(FitError, match="must be at least 1 and whole"):
        tiny_trainer().fit(**length)


def test_a_model_behind_a_wrapper_still_gets_state() -> None:
    class Deep(nn.Linear):
        def forward(self, x: Tensor, state: State) -> Tensor:
            assert state.batch
            return super().forward(x)

    class Wrapped(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.inner(*args, **kwargs)

    class Wrap:
        @hookimpl(wrapper=True)
        def prepare_model(self) -> Any:
            return Wrapped((yield))

    assert tiny_trainer(model=Deep(4, 3), plugins=[Wrap()]).fit(epochs=1)


WORDS = ["result", "actor", "generator", "inner", "start", "call0", "error", "raised", "plan", "blame"]


@pytest.mark.parametrize("word", WORDS)
def test_arguments_of_own_hooks_may_have_any_name(word: str) -> None:
    heard: list[Any] = []
    space: dict[str, Any] = {"notice": notice, "hookimpl": hookimpl, "heard": heard, "__name__": __name__}
    exec(
        f"class Specs:\n    @notice\n    def on_mine(self, trainer, state, {word}):\n        'Mine.'\n"
        "class Plugin:\n    hookspecs = Specs\n"
        "    @hookimpl\n    def on_fit_start(self, trainer, state):\n        trainer.hooks.on_mine(trainer, state, 'given')\n"
        f"    @hookimpl\n    def on_mine(self, {word}):\n        heard.append({word})\n"
        f"class Wrapper:\n    @hookimpl(wrapper=True)\n    def on_mine(self, {word}):\n"
        f"        heard.append({word})\n        return (yield)\n",
        space,
    )
    tiny_trainer(plugins=[space["Plugin"](), space["Wrapper"]()]).fit(epochs=1)
    assert heard == ["given", "given"]


class Empty:
    pass


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (type("Specs", (), {"build": stage()(lambda self, trainer, state: None)}), "the hook must not be called 'build'"),
        (type("Specs", (), {"mine": stage("bools")(lambda self, trainer, state: None)}), "the hook 'mine' must return one of"),
        (type("Specs", (), {"mine": notice(lambda self, trainer, state, x_: None)}), "must not end with an underscore"),
        (Empty, "hookspecs must be a class or module with functions under @stage, @decision or @notice"),
        (Empty(), "hookspecs must be a class or module"),
    ],
)
def test_specifications_that_cannot_be(specs: Any, message: str) -> None:
    class Plugin(Defaults):
        name = "plugin"
        hookspecs = specs

    with pytest.raises(FitError, match=message):
        tiny_trainer(plugins=[Plugin()])


def test_counts_of_hooks_that_share_a_function_name() -> None:
    heard: list[str] = []

    class Plugin:
        first = once(hookimpl(specname="on_epoch_start")(lambda self: heard.append("start")))
        second = once(hookimpl(specname="on_epoch_end")(lambda self: heard.append("end")))

    tiny_trainer(plugins=[Plugin()]).fit(epochs=2)
    assert heard == ["start", "end"]


class StopsShort(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        if index == 20:
            raise StopIteration
        return X[0], Y[0]


def test_a_short_epoch_is_an_error_whoever_acts_between_data_and_loop() -> None:
    @hookimpl(wrapper=True)
    def iter_batches() -> Any:
        return (yield)

    with pytest.raises(FitError, match="train_data gave 2 batches, but its length is 8"):
        tiny_trainer(plugins=[iter_batches]).fit(DataLoader(StopsShort(), batch_size=8), epochs=1)


def test_decorators_without_their_argument() -> None:
    with pytest.raises(FitError, match="@every needs an interval"):

        @every  # type: ignore[arg-type]
        def on_epoch_end() -> None: ...

    with pytest.raises(FitError, match="@only_if needs a predicate"):

        @only_if
        @hookimpl
        def on_batch_end() -> None: ...


def test_hooks_that_would_never_run() -> None:
    class Async:
        @hookimpl
        async def on_epoch_end(self) -> None: ...

    class Partial:
        on_epoch_end = hookimpl(partial(print, "x"))

    with pytest.raises(FitError, match="a hook cannot be async"):
        tiny_trainer(plugins=[Async()])
    with pytest.raises(FitError, match="on_epoch_end carries @hookimpl but is no function: partial"):
        tiny_trainer(plugins=[Partial()])


def test_hooks_with_other_names_for_self_and_results_that_may_be_none() -> None:
    class Odd:
        @hookimpl
        def on_epoch_end(this, row: Any) -> None: ...

        @classmethod
        @hookimpl
        def on_fit_start(klass) -> None: ...

        @hookimpl
        def compute_loss(self, state: State) -> Any:
            return self.own(state) or None

        def own(self, state: State) -> Any:
            return None

    assert tiny_trainer(plugins=[Odd()]).fit(epochs=1)


@pytest.mark.parametrize(
    ("decorate", "message"),
    [
        (every(0), "cannot read the interval 0"),  # type: ignore[arg-type]
        (every("1 step", after="1 epoch"), "not supported between"),  # type: ignore[arg-type]
        (every("1 step", after=5, before=2), "cannot act after 5 and before 2"),
        (every("1 step", after=-1), "cannot act after -1"),
        (only_if(bool), "no signature found"),
    ],
)
def test_cadences_that_cannot_be(decorate: Any, message: str) -> None:
    class Plugin:
        @decorate
        @hookimpl
        def on_batch_end(self) -> None: ...

    with pytest.raises(FitError, match=f"plugin 'plugin' .*on_batch_end at .*{message}"):
        tiny_trainer(plugins=[Plugin()])


def test_a_predicate_of_a_wrapper_that_raises_is_blamed() -> None:
    class Plugin:
        @only_if(lambda state: 1 / 0)
        @hookimpl(wrapper=True)
        def forward(self) -> Any:
            return (yield)

    with pytest.raises(ZeroDivisionError) as caught:
        tiny_trainer(plugins=[Plugin()]).fit(epochs=1)
    assert caught.value.__notes__[0].startswith("raised in hook forward of plugin 'plugin'")


def test_clocks_start_with_the_first_run() -> None:
    heard: list[int] = []

    @every("2 seconds")
    @hookimpl
    def on_batch_end(state: State) -> None:
        heard.append(state.batch)

    trainer = tiny_trainer(plugins=[on_batch_end], val_data=None)
    time.sleep(2.1)
    trainer.fit(epochs=1)
    assert heard == []


def test_one_object_cannot_be_two_plugins() -> None:
    plugin = Defaults()
    with pytest.raises(FitError, match="is the same object as plugin 'a'"):
        tiny_trainer(plugins=[("a", plugin), ("b", plugin)])


def test_names_in_an_order_that_are_misspelt() -> None:
    class Plugin(Defaults):
        name = "plugin"
        runs_before = ("early-stoping",)

    class Fine(Defaults):
        name = "fine"
        runs_after = ("a-plugin-of-somebody-else",)

    with pytest.raises(FitError, match="runs_before names 'early-stoping', which does not exist; did you mean 'early-stopping'"):
        tiny_trainer(plugins=[Plugin()])
    assert tiny_trainer(plugins=[Fine()])


def test_a_name_that_fit_train_adds_later_is_known_whatever_is_near_it() -> None:
    class Before:
        runs_before = ("save-last", "max-time")

        @hookimpl
        def on_safe_point(self) -> None:
            pass

    tiny_trainer(plugins=[Before(), ("channels-last", Before()), ("max-tame", Before())]).fit(epochs=1)


def test_streams_of_one_batch_differ_also_around_a_nested_pass() -> None:
    drawn: list[float] = []
    evaluated: list[float] = []

    class Plugin:
        @hookimpl
        def on_batch_end(self, trainer: Trainer) -> None:
            drawn.append(torch.rand(1, generator=trainer.generator(self)).item())
            trainer.evaluate()
            drawn.append(torch.rand(1, generator=trainer.generator(self)).item())

        @hookimpl
        def on_eval_batch_end(self, trainer: Trainer) -> None:
            evaluated.append(torch.rand(1, generator=trainer.generator(self)).item())

    trainer = tiny_trainer(plugins=[Plugin()], val_data=None)
    trainer.fit(epochs=1)
    assert len(set(drawn)) == 4
    evaluated.clear()
    trainer.evaluate()
    trainer.evaluate()
    assert evaluated[0] == evaluated[1], "the same pass draws the same"


def test_a_function_can_draw_and_what_is_no_item_is_not_shown() -> None:
    @hookimpl
    def on_batch_start(trainer: Trainer) -> None:
        trainer.generator(on_batch_start)

    @hookimpl
    def on_show() -> None: ...

    @hookimpl
    def on_epoch_end(trainer: Trainer) -> None:
        trainer.show("x", torch.zeros(3))  # type: ignore[arg-type]

    with pytest.raises(FitError, match="cannot show 'x': Tensor is no item"):
        tiny_trainer(plugins=[on_batch_start, on_show, on_epoch_end]).fit(epochs=1)


@pytest.mark.parity("S5")
def test_keys_of_state_are_typed_and_counters_read_only() -> None:
    @hookimpl
    def on_batch_end(state: State) -> None:
        with pytest.raises(TypeError, match="a key must be a StateKey"):
            state["plain"] = 2  # type: ignore[index]
        state.step = 3  # type: ignore[misc]

    with pytest.raises(AttributeError) as caught:
        tiny_trainer(plugins=[on_batch_end]).fit(epochs=1)
    assert caught.value.__notes__[-1] == "the counters of state are read-only: the core counts"


def test_recorders_can_be_nested() -> None:
    trainer = tiny_trainer()
    with record_hooks(trainer) as outer:
        with record_hooks(trainer) as inner:
            trainer.fit(epochs=1)
        trainer.evaluate()
    assert outer.hooks[: len(inner.hooks)] == inner.hooks
    assert len(outer.hooks) > len(inner.hooks) > 0


@pytest.mark.parametrize("what", ["end_epoch", "skip_step", "skip_batch"])
def test_a_run_that_failed_in_a_batch_leaves_nothing_open_for_the_next(what: str) -> None:
    class Plugin:
        def __init__(self) -> None:
            self.runs = 0

        @hookimpl
        def on_fit_start(self, trainer: Trainer) -> None:
            self.runs += 1
            if self.runs == 2:
                getattr(trainer, what)("there is no batch yet")

        @hookimpl
        def on_batch_start(self) -> None:
            if self.runs == 1:
                raise ValueError("spoilt")

    trainer = tiny_trainer(plugins=[Plugin()])
    with pytest.raises(ValueError, match="spoilt"):
        trainer.fit(epochs=1)
    with pytest.raises(FitError, match=f"{what} does nothing"):
        trainer.fit(epochs=1)


def test_what_is_recorded_after_a_stop_in_mid_epoch_is_refused() -> None:
    class Plugin:
        @hookimpl
        def on_batch_end(self, trainer: Trainer) -> None:
            trainer.stop("enough")

        @hookimpl
        def on_fit_end(self, trainer: Trainer) -> None:
            trainer.record("late", 1.0)

    with pytest.raises(FitError, match="cannot record 'late' here"):
        tiny_trainer(plugins=[Plugin()]).fit(epochs=1)


def test_a_trainer_names_an_optimizer_given_as_a_class() -> None:
    assert "Update('main', Adam, steps=0)\n" in repr(tiny_trainer(optimizer=torch.optim.Adam))

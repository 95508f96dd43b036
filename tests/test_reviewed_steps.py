"""What a review of steps, windows and updates found, each with the case that failed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam
from torch.utils.data import DataLoader, TensorDataset

from fit_core import FitError, State, Trainer, TrainingError, Update, Updates, hookimpl
from fit_core.testing import Outcome, tiny_batches, tiny_trainer
from fit_gan import GAN, R1, R2, FeatureMatching, Samples, adversarial_updates
from fit_schedulers import LR, EarlyStopping

Run = Callable[..., Outcome]
DATA = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) + self.b(x)


CASES = [
    ({"accumulate": 4}, {}, 5, {"epochs": 2}),
    ({}, {"accumulate": 4}, 5, {"epochs": 2}),
    ({}, {"every": 5, "accumulate": 2}, 7, {"epochs": 10}),
    ({"every": 2}, {}, 5, {"epochs": 2}),
    ({"accumulate": 3}, {"every": 2}, 7, {"steps": 8}),
    ({"every": 3}, {"accumulate": 2}, 4, {"steps": 5}),
]


@pytest.mark.parametrize(("first", "second", "batches", "length"), CASES)
@pytest.mark.parametrize("remainder", ["step", "drop"])
def test_every_update_knows_how_many_steps_it_will_make(first: Any, second: Any, batches: int, length: Any, remainder: Any) -> None:
    model = Two()
    updates = Updates([Update("a", SGD(model.a.parameters(), lr=1.0), **first), Update("b", SGD(model.b.parameters(), lr=1.0), **second)])
    said: dict[str, Any] = {}

    @hookimpl
    def on_fit_start(state: State) -> None:
        said.update({name: update.steps_total for name, update in state.updates.items()})

    trainer = tiny_trainer(
        model=model, optimizer=updates, train_data=tiny_batches(batches), val_data=None, remainder=remainder, plugins=[on_fit_start, LR()]
    )
    trainer.fit(**length)
    for name, update in trainer.updates.items():
        assert said[name] == update.steps
        assert update.steps == 0 or update.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-6)


def test_a_very_long_run_is_sized_at_once() -> None:
    said = []

    @hookimpl
    def on_fit_start(trainer: Trainer, state: State) -> None:
        said.append({name: update.steps_total for name, update in state.updates.items()})
        trainer.stop("long enough")

    for length in ({"epochs": 10**9}, {"steps": 10**9}):
        model = Two()
        updates = Updates(
            [Update("a", SGD(model.a.parameters(), lr=0.1)), Update("b", SGD(model.b.parameters(), lr=0.1), every=3, accumulate=2)]
        )
        tiny_trainer(model=model, optimizer=updates, train_data=tiny_batches(4), plugins=[on_fit_start]).fit(**length)
    # in three epochs of four batches b is due 1, 1 and 2 times: a window for each
    assert said[0] == {"a": 4 * 10**9, "b": 10**9}
    assert said[1] == {"a": 10**9, "b": 10**9 // 4}


def test_the_steps_of_unsized_data_are_known_if_they_were_asked_for() -> None:
    said = []

    @hookimpl
    def on_fit_start(state: State) -> None:
        said.append((state.steps_total, state.updates["main"].steps_total))

    tiny_trainer(train_data=iter(tiny_batches(9)), plugins=[on_fit_start]).fit(steps=4)
    tiny_trainer(train_data=iter(tiny_batches(3)), plugins=[on_fit_start]).fit(epochs=1)
    tiny_trainer(plugins=[on_fit_start]).fit(epochs=math.inf, steps=4)
    assert said == [(4, 4), (None, None), (4, 4)]


def test_a_skip_asked_for_before_a_closure_is_kept() -> None:
    @hookimpl
    def on_batch_start(trainer: Trainer) -> None:
        trainer.skip_step("none of them")

    trainer = tiny_trainer(optimizer=partial(LBFGS, max_iter=3), plugins=[on_batch_start])
    before = trainer.model.weight.detach().clone()
    trainer.fit(epochs=1)
    assert torch.equal(trainer.model.weight, before)
    assert trainer.updates["main"].steps == 0


def test_a_skip_in_a_later_evaluation_of_a_closure() -> None:
    evaluations = []

    @hookimpl
    def on_loss_end(trainer: Trainer, state: State) -> None:
        evaluations.append(state.batch)
        if len(evaluations) == 2:
            trainer.skip_step("in the middle")

    trainer = tiny_trainer(optimizer=partial(LBFGS, max_iter=3), plugins=[on_loss_end], val_data=None)
    trainer.fit(epochs=1)
    assert trainer.updates["main"].steps == 1


def test_closures_cannot_share_a_forward_pass() -> None:
    model = Two()
    updates = Updates([Update("a", LBFGS(model.a.parameters())), Update("b", SGD(model.b.parameters(), lr=0.1))], shared_forward=True)
    with pytest.raises(FitError, match="update 'a' evaluates the batch itself, so that the updates cannot share a forward pass"):
        tiny_trainer(model=model, optimizer=updates).fit(epochs=1)


def test_a_step_of_a_short_window_can_be_skipped_while_gradients_are_finished() -> None:
    @hookimpl(wrapper=True)
    def finish_gradients(trainer: Trainer) -> Any:
        trainer.skip_step("never")
        return (yield)

    trainer = tiny_trainer(plugins=[finish_gradients], train_data=tiny_batches(5), accumulate=2)
    trainer.fit(epochs=1)
    assert trainer.updates["main"].steps == 0


def test_validation_by_steps_sees_the_step_of_a_short_window() -> None:
    seen = []

    @hookimpl
    def on_eval_start(state: State) -> None:
        seen.append((state.epoch, state.step))

    trainer = tiny_trainer(plugins=[on_eval_start], accumulate=4)
    rows = trainer.fit(epochs=3, val_every="1 step")
    assert seen == [(1, 1), (2, 2), (3, 3)]
    assert all("val_loss" in row for row in rows)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_stops_although_its_gradient_is(bad: float) -> None:
    @hookimpl
    def on_loss_end(state: State) -> None:
        if state.batch == 2 and state.phase == "train":
            state.loss = state.loss + bad

    with pytest.raises(TrainingError, match="loss is (inf|nan): update 'main', in epoch 1, batch 2"):
        tiny_trainer(plugins=[on_loss_end]).fit(epochs=1)
    skipping = tiny_trainer(plugins=[on_loss_end], finite="skip")
    skipping.fit(epochs=1)
    assert skipping.updates["main"].steps == 1


def test_the_loss_of_a_batch_without_weight_may_be_anything() -> None:
    batches = tiny_batches(2)
    batches[1] = (batches[1][0], torch.full_like(batches[1][1], -100))
    assert len(tiny_trainer(train_data=batches, val_data=None).fit(epochs=1)) == 1


def test_another_loss_takes_effect_in_windows_too() -> None:
    def gradients(changed: bool) -> Tensor:
        seen: list[Tensor] = []

        @hookimpl
        def on_step_start(trainer: Trainer) -> None:
            seen.append(trainer.model.weight.grad.clone())

        torch.manual_seed(0)
        trainer = Trainer(
            nn.Linear(4, 1),
            nn.MSELoss(reduction="mean" if changed else "sum"),
            partial(SGD, lr=0.0),
            plugins=[on_step_start],
            accumulate=2,
            quiet=True,
        )
        batches = [(DATA[:4], DATA[:4, :1]), (DATA[4:8], DATA[4:8, :1])]
        if changed:
            trainer.fit(batches, epochs=1)
            trainer.loss_fn = nn.MSELoss(reduction="sum")
        trainer.fit(batches, epochs=1)
        return seen[-1]

    assert torch.allclose(gradients(True), gradients(False))


def test_a_criterion_of_ones_own_may_have_nested_targets() -> None:
    class Nested(nn.CrossEntropyLoss):
        def forward(self, outputs: Any, targets: Any) -> Tensor:
            return super().forward(outputs, targets["label"])

    batches = [(x, {"label": y}) for x, y in tiny_batches(2)]
    assert len(tiny_trainer(loss_fn=Nested(), train_data=batches, val_data=None, accumulate=2).fit(epochs=1)) == 1


def test_precisions_may_be_mixed_within_a_model() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3).double(), nn.Linear(4, 3).bfloat16()

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x.double()).float() + self.b(x.bfloat16()).float()

    assert len(tiny_trainer(model=Mixed()).fit(epochs=1)) == 1


@pytest.mark.parametrize("name", ["val", "test", "val_d"])
def test_names_of_updates_leave_evaluation_its_own(name: str) -> None:
    with pytest.raises(FitError, match=f"an update cannot be called '{name}': the row has {name}_loss for something else"):
        Update(name, None)


def test_early_stopping_waits_for_the_loss_of_an_update_that_was_not_due() -> None:
    model = Two()
    updates = Updates([Update("a", SGD(model.a.parameters(), lr=0.1)), Update("b", SGD(model.b.parameters(), lr=0.1), every=5)])
    trainer = tiny_trainer(model=model, optimizer=updates, train_data=tiny_batches(3), plugins=[EarlyStopping("b_loss", patience=3)])
    rows = trainer.fit(epochs=6)
    assert [("b_loss" in row) for row in rows] == [False, True, False, True, True, False]


def test_a_replaced_run_update_may_skip_the_batch() -> None:
    @hookimpl
    def run_update(trainer: Trainer) -> bool:
        trainer.skip_batch("not this one")
        return True

    assert tiny_trainer(plugins=[run_update], val_data=None).fit(epochs=1)[0].keys() == {"epoch", "lr", "seconds"}


def test_the_guard_names_a_parameter_of_the_loss() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return nn.functional.cross_entropy(outputs * self.scale, targets)

    @hookimpl
    def on_backward_end(trainer: Trainer) -> None:
        trainer.loss_fn.scale.grad.fill_(math.nan)

    with pytest.raises(TrainingError, match="gradient of loss.scale is not finite"):
        tiny_trainer(loss_fn=Scale(), plugins=[on_backward_end]).fit(epochs=1)


def test_updates_begin_anew_in_another_trainer() -> None:
    model = Two()
    updates = Updates([Update("a", SGD(model.a.parameters(), lr=0.1)), Update("b", SGD(model.b.parameters(), lr=0.1))])
    for _ in range(2):
        trainer = tiny_trainer(model=model, optimizer=updates)
        trainer.fit(epochs=1)
        assert trainer.updates["a"].steps == 2


def gan(**changes: Any) -> GAN:
    torch.manual_seed(0)
    return GAN(nn.Linear(2, 4), nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(), nn.Linear(6, 1)), 2, **changes)


@pytest.mark.parametrize("term", [R2, R1, lambda: FeatureMatching("0")], ids=["r2", "r1", "features"])
@pytest.mark.parametrize("one", [True, False], ids=["one optimizer", "two updates"])
def test_terms_under_mixed_precision(term: Any, one: bool) -> None:
    model = gan()
    optimizer = partial(Adam, lr=1e-3) if one else adversarial_updates(model, partial(Adam, lr=1e-3))
    for plugins in (["mixed-precision", "adversarial", term()], ["adversarial", term(), "mixed-precision"]):
        trainer = Trainer(model, optimizer=optimizer, plugins=plugins, train_data=DATA, quiet=True)
        row = trainer.fit(epochs=1, batch_size=10)[0]
        column = next(name for name in ("r1", "r2", "feature_matching") if name in row)
        assert math.isfinite(row[column])
        assert math.isfinite(row["loss"])


def test_a_dataset_of_images_alone() -> None:
    model = gan()
    optimizer = adversarial_updates(model, partial(Adam, lr=1e-3))
    trainer = Trainer(model, optimizer=optimizer, plugins=["adversarial"], quiet=True)
    trainer.fit(DataLoader(TensorDataset(DATA), batch_size=8), epochs=1)
    trainer.fit(TensorDataset(DATA), epochs=1)
    assert trainer.updates["g"].steps == 7


def test_one_optimizer_may_have_any_name() -> None:
    model = gan()
    trainer = Trainer(model, optimizer={"both": Adam(model.parameters())}, plugins=["adversarial", R1()], train_data=DATA, quiet=True)
    assert "r1" in trainer.fit(epochs=1)[0]


def test_two_terms_of_one_kind_have_columns_of_their_own() -> None:
    model = gan()
    plugins = ["adversarial", FeatureMatching("0"), ("fm2", FeatureMatching("2"))]
    row = Trainer(model, optimizer=adversarial_updates(model, Adam), plugins=plugins, train_data=DATA, quiet=True).fit(epochs=1)[0]
    assert {"feature_matching", "fm2"} <= row.keys()


class Labelled(nn.Module):
    """Repeats what it is asked for, so that it can be seen."""

    def __init__(self, size: int, out: int) -> None:
        super().__init__()
        self.out, self.scale = out, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.scale * labels[:, None].float().repeat(1, self.out) / 2 + 0 * x.sum()


def test_a_strip_of_a_conditional_gan_stays_in_its_class() -> None:
    shown: dict[str, Any] = {}

    @hookimpl
    def on_show(name: str, item: Any) -> None:
        shown[name] = item.pixels[:, 0, 0, 0]

    model = GAN(Labelled(2, 4), Labelled(4, 1), 2, conditional=True)
    trainer = Trainer(
        model,
        optimizer=adversarial_updates(model, partial(SGD, lr=0.0)),
        plugins=["adversarial", Samples(count=6, strips=2, low=0.0), on_show],
        train_data=[(DATA[:4], torch.tensor([0, 1, 2, 0])), (DATA[4:8], torch.tensor([1, 2, 0, 1]))],
        quiet=True,
    )
    trainer.fit(epochs=1)
    assert shown["samples"].tolist() == [0, 0.5, 1, 0, 0.5, 1]
    assert shown["interpolation"].tolist() == [0.0] * 8 + [0.5] * 8


def test_predictions_in_half_precision_become_numbers_of_numpy(run_script: Run, run_fit: Run) -> None:
    import numpy as np

    source = (
        "from fit_core.testing import tiny_trainer\n"
        "def build_trainer(epochs: int = 1):\n    return tiny_trainer(epochs=epochs, plugins=['mixed-precision'])\n"
    )
    done = run_script(source, "--run-dir", "run")
    assert done.code == 0, done.stderr
    made = run_fit("predict", "script.py", "--checkpoint", "run", "--output", "p.npy")
    assert made.code == 0, made.stderr
    assert np.load(done.cwd / "p.npy").dtype == np.float32

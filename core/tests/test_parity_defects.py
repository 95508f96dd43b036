"""Defects of other trainers that a run here does not have, each through the public API."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fit_core import FitError, State, hookimpl
from fit_core.testing import tiny_batches, tiny_trainer

Pair = namedtuple("Pair", "inputs targets")


class Named(nn.Linear):
    """Names the state, as the plain layer does not."""

    def forward(self, inputs: Tensor, state: State) -> Tensor:
        return super().forward(inputs)


@pytest.mark.parity("C3")
def test_a_penalty_is_in_the_loss_of_training_and_of_validation() -> None:
    @hookimpl
    def on_loss_end(state: State) -> None:
        state.loss = state.loss + 10

    plain, mine = tiny_trainer().fit(epochs=1)[0], tiny_trainer(plugins=[on_loss_end]).fit(epochs=1)[0]
    for name in ("loss", "val_loss"):
        assert mine[name] == pytest.approx(plain[name] + 10)


@pytest.mark.parity("B6")
def test_endless_validation_data_is_cut_where_one_says() -> None:
    seen: list[int] = []

    def endless() -> Iterator[Any]:
        while True:
            yield from tiny_batches(1)

    @hookimpl
    def on_eval_batch_end(state: State) -> None:
        seen.append(state.batch)

    row = tiny_trainer(plugins=[on_eval_batch_end]).fit(val_data=endless(), epochs=1, limit_batches={"validate": 3})[0]
    assert seen == [1, 2, 3]
    assert row["val_loss"] > 0


@pytest.mark.parity("B7")
@pytest.mark.parametrize("model", [nn.Linear(4, 3), Named(4, 3)], ids=["inputs alone", "with state"])
def test_a_model_is_called_once_per_batch(model: nn.Module) -> None:
    called: list[int] = []
    model.register_forward_pre_hook(lambda *_: called.append(1))
    tiny_trainer(model=model).fit(epochs=1)
    assert len(called) == 3, "two batches of training and one of validation"


@pytest.mark.parity("B8")
@pytest.mark.parametrize("error", [TypeError, RuntimeError, torch.OutOfMemoryError])
def test_an_error_of_the_model_is_raised_as_it_is_after_one_call(error: type[Exception]) -> None:
    called: list[int] = []

    class Spoilt(nn.Linear):
        def forward(self, inputs: Tensor, state: State) -> Tensor:
            called.append(1)
            raise error("spoilt")

    with pytest.raises(error, match="spoilt") as caught:
        tiny_trainer(model=Spoilt(4, 3)).fit(epochs=1)
    assert caught.type is error
    assert len(called) == 1


@pytest.mark.parity("B9", "T4")
def test_a_loss_function_is_called_by_its_signature() -> None:
    given: list[Any] = []

    def several(*values: Tensor) -> Tensor:
        given.extend(values)
        return nn.functional.cross_entropy(*values)

    def optional(outputs: Tensor, targets: Tensor | None = None) -> Tensor:
        given.extend([outputs, targets])
        return nn.functional.cross_entropy(outputs, targets)  # type: ignore[arg-type]

    for loss_fn in (several, optional):
        tiny_trainer(loss_fn=loss_fn).fit(epochs=1)
    assert len(given) == 12
    assert all(isinstance(value, Tensor) for value in given)

    def wrong(outputs: Tensor, targets: Tensor, state: State) -> Tensor:
        raise TypeError("a mistake of one's own")

    with pytest.raises(TypeError, match="a mistake of one's own"):
        tiny_trainer(loss_fn=wrong).fit(epochs=1)


@pytest.mark.parity("B18")
def test_states_of_plugins_are_found_by_name(tmp_path: Path) -> None:
    class Holds:
        def __init__(self, held: int = 0) -> None:
            self.held = held

        @hookimpl
        def on_fit_start(self) -> None:
            pass

        def state_dict(self) -> dict[str, int]:
            return {"held": self.held}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.held = state["held"]

    saved = tiny_trainer(plugins=[("a", Holds(1)), ("b", Holds(2)), ("c", Holds(3))])
    saved.fit(epochs=1)
    saved.save(tmp_path / "saved")
    plugins = {name: Holds() for name in ("c", "new", "a")}
    tiny_trainer(plugins=list(plugins.items())).fit(epochs=2, resume=tmp_path / "saved", allow_changes=True)
    assert {name: plugin.held for name, plugin in plugins.items()} == {"c": 3, "new": 0, "a": 1}


@pytest.mark.parity("B19")
def test_a_prediction_that_failed_leaves_nothing_to_the_next() -> None:
    first, second = tiny_batches(2)

    def torn() -> Iterator[Any]:
        yield first
        raise OSError("torn")

    trainer = tiny_trainer()
    with pytest.raises(OSError, match="torn"):
        trainer.predict(torn())
    for each in (trainer, tiny_trainer()):
        assert torch.equal(each.predict([second]), each.model(second[0]))


@pytest.mark.parity("B21")
def test_a_wrapped_model_is_called_in_every_pass_and_the_own_one_is_kept() -> None:
    called: list[str] = []

    class Wrapper(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, inputs: Tensor) -> Any:
            called.append("training" if self.training else "validation")
            return self.inner(inputs)

    @hookimpl(wrapper=True)
    def prepare_model() -> Any:
        return Wrapper((yield))

    trainer = tiny_trainer(plugins=[prepare_model])
    trainer.fit(epochs=2)
    assert called == ["training", "training", "validation"] * 2
    assert isinstance(trainer.model, nn.Linear)


@pytest.mark.parity("B23")
def test_nothing_of_a_batch_is_left_out_silently() -> None:
    inputs, targets = tiny_batches(1)[0]
    with pytest.raises(FitError, match=r"not a tuple of 3; write a hook prepare_batch\(batch\)"):
        tiny_trainer().predict([(inputs, targets, targets)])


@pytest.mark.parity("B25")
def test_batches_of_the_data_are_not_changed_in_place() -> None:
    kept = [Pair({"input": inputs}, targets) for inputs, targets in tiny_batches(2)]
    before = [(batch.inputs["input"], batch.inputs["input"].clone()) for batch in kept]

    @hookimpl
    def on_batch_start(state: State) -> None:
        state.inputs["input"] = state.inputs["input"] + 1

    tiny_trainer(plugins=[on_batch_start], train_data=kept, val_data=None).fit(epochs=2)
    for batch, (same, value) in zip(kept, before, strict=True):
        assert batch.inputs["input"] is same
        assert torch.equal(same, value)

"""Chains: what is picked, gathered, laid out and sent, and that no pass mixes with another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as File

from fit_core import FitError, State, StateKey, Trainer, hookimpl
from fit_core.items import Image, Images
from fit_vis import imaging


def seen(list_: list[Any]) -> Callable[..., None]:
    def handler(picture: torch.Tensor, index: int, state: State) -> None:
        list_.append((state.phase, state.epoch, state.batch, index, picture))

    return handler


def test_every_picture_of_the_phases_that_were_said(make: Callable[..., Trainer]) -> None:
    found: list[Any] = []
    trainer = make(imaging.FromState("inputs").on_val().on_test().with_handler(seen(found)))
    trainer.fit(epochs=1)
    assert [each[:4] for each in found] == [("validate", 1, batch, i) for batch in (1, 2) for i in range(8)]
    assert torch.equal(torch.stack([each[4] for each in found]), torch.cat([inputs for inputs, _ in trainer.val_data]))
    trainer.evaluate()
    trainer.predict(trainer.test_data)
    assert [each[0] for each in found[16:]] == ["test"] * 16


@pytest.mark.parity("B31")
@pytest.mark.parametrize("count", [3, 8, 12, 100])
def test_cached_pictures_come_once_and_none_is_left_over(count: int, make: Callable[..., Trainer], sink: Any) -> None:
    trainer = make(sink, imaging.FromState("inputs").on_val().cache(count).show("pictures"))
    trainer.fit(epochs=2)
    trainer.evaluate()
    items = sink.of("pictures")
    assert len(items) == 2
    expected = torch.cat([inputs for inputs, _ in trainer.val_data])[:count]
    assert all(torch.equal(item.pixels, expected) for item in items)


def test_a_training_cache_survives_a_validation_in_its_midst(make: Callable[..., Trainer], sink: Any) -> None:
    trainer = make(sink, imaging.FromState("inputs").on_train().on_val().cache(20).show("pictures"))
    trainer.fit(epochs=1, val_every="1 step")
    assert [len(item.pixels) for item in sink.of("pictures")] == [16, 16, 20, 16, 16], "two validations, the third training batch, two more"


def test_intervals_of_training_and_of_validations(make: Callable[..., Trainer]) -> None:
    found: list[Any] = []
    chain = imaging.FromState("inputs").on_train().every("3 batches").with_handler(seen(found))
    make(chain).fit(epochs=2)
    assert [each[1:3] for each in found[::8]] == [(1, 1), (1, 4), (2, 3)], "batches 1, 4 and 7"
    found.clear()
    make(imaging.FromState("inputs").on_val().every("2 epochs").with_handler(seen(found))).fit(epochs=3)
    assert {each[1] for each in found} == {2}
    found.clear()
    make(imaging.FromState("inputs").on_train().every("1 epoch").cache(12).with_handler(seen(found))).fit(epochs=2)
    assert [each[1:4] for each in found] == [(epoch, 2, i) for epoch in (1, 2) for i in range(12)]


def test_chains_are_never_changed(make: Callable[..., Trainer], sink: Any) -> None:
    begun = imaging.FromState("inputs").cache(2)
    val, train = begun.on_val().show("val"), begun.on_train().make_grid().show("train")
    with pytest.raises(FitError, match="imaging does not say when to pick"):
        make(begun).fit(epochs=1)
    with pytest.raises(FitError, match=r"does not say where to send them"):
        make(begun.on_val()).fit(epochs=1)
    make(sink, val, train).fit(epochs=1)
    assert isinstance(sink.of("val")[0], Images)
    assert isinstance(sink.of("train")[0], Image)
    assert sink.of("train")[0].pixels.shape == (1, 6, 11)


def test_plugins_are_called_by_what_they_do(make: Callable[..., Trainer]) -> None:
    chain = imaging.FromState("inputs").on_val().cache(2).make_grid()
    chains = [chain.show("Val pictures"), chain.to_file("samples/{epoch}.png").show("x"), chain.named("mine").show("y")]
    assert list(make(*chains).plugins)[:3] == ["imaging-val-pictures", "imaging-samples", "mine"]


def test_files(make: Callable[..., Trainer], tmp_path: Path) -> None:
    chain = imaging.FromState("inputs").cache(4)
    trainer = make(
        chain.on_val().make_grid(2).to_file("val/{epoch:03d}.png"),
        chain.on_train().named("each").to_file("train/{phase}-{epoch}-{step}-{batch}-{index}.png"),
    )
    trainer.fit(epochs=2)
    assert sorted(path.name for path in (tmp_path / "val").iterdir()) == ["001.png", "002.png"]
    assert sorted(path.name for path in (tmp_path / "train").iterdir())[:2] == ["train-1-1-1-0.png", "train-1-1-1-1.png"]
    pixels = np.asarray(File.open(tmp_path / "val" / "001.png"))
    assert pixels.shape == (11, 11)
    first = (trainer.val_data[0][0][0, 0] * 255).round().numpy()
    assert (pixels[1:5, 1:5] == first).all()


def test_file_names_that_cannot_be(make: Callable[..., Trainer]) -> None:
    with pytest.raises(FitError, match="cannot fill in 'epok'; there are epoch, step, batch, phase and index"):
        imaging.FromState("inputs").to_file("{epok}.png")
    with pytest.raises(FitError, match=r"has 8 pictures to write: put \{index\} into the name, or make_grid\(\) before"):
        make(imaging.FromState("inputs").on_val().to_file("x.png")).fit(epochs=1)


PICTURES: StateKey[torch.Tensor] = StateKey("pictures")
MADE: StateKey[torch.Tensor] = StateKey("made")


class Reader:
    """Reads what a chain has put into the state."""

    def __init__(self) -> None:
        self.found: list[torch.Tensor] = []

    @hookimpl
    def on_forward_end(self, state: State) -> None:
        state[MADE] = torch.full((2, 1, 3, 3), 0.5)

    @hookimpl
    def on_eval_batch_end(self, state: State) -> None:
        self.found += [state[PICTURES]] if PICTURES in state else []


def test_from_a_key_to_a_key(make: Callable[..., Trainer]) -> None:
    reader = Reader()
    make(imaging.FromState(MADE).on_val().to_state(PICTURES), reader).fit(epochs=1)
    assert [tuple(found.shape) for found in reader.found] == [(2, 1, 3, 3)] * 2


def test_functions_transforms_single_pictures_and_none(make: Callable[..., Trainer]) -> None:
    found: list[Any] = []
    chain = imaging.FromState(lambda state: state.inputs[0] if state.batch == 1 else None, transform=lambda picture: 1 - picture)
    trainer = make(chain.on_val().with_handler(seen(found)))
    trainer.fit(epochs=1)
    ((*_, picture),) = found
    torch.testing.assert_close(picture, 1 - trainer.val_data[0][0][0])


def test_what_cannot_be_picked(make: Callable[..., Trainer]) -> None:
    with pytest.raises(FitError, match="the state has no attribute 'input'"):
        imaging.FromState("input")
    with pytest.raises(FitError, match=r"imaging-x cannot show samples of shape \(3,\) as pictures"):
        make(imaging.FromState("outputs").on_val().to_file("x/{index}.png")).fit(epochs=1)
    for wrong in (lambda chain: chain.cache(0), lambda chain: chain.make_grid(0), lambda chain: chain.every("often")):
        with pytest.raises(FitError):
            wrong(imaging.FromState("inputs"))


def test_a_chain_that_only_shows_costs_nothing_if_nobody_looks(make: Callable[..., Trainer]) -> None:
    called = []
    make(imaging.FromState(lambda state: called.append(1)).on_val().on_train().show("x")).fit(epochs=1)
    assert not called


def test_subclasses_keep_their_kind(make: Callable[..., Trainer], sink: Any) -> None:
    class Mine(imaging.FromState):
        """One of somebody's own."""

    assert isinstance(Mine("inputs").on_val().cache(2), Mine)

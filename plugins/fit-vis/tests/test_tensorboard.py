from __future__ import annotations

import io
import json
import math
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from fit_core import State, Trainer, hookimpl, items
from fit_core.replay import Moment, NoModel, replay
from fit_core.testing import check_plugin, tiny_batches, tiny_trainer
from fit_vis.tensorboard import TensorBoard


def records(path: Path) -> Iterator[Event]:
    """Yield the events of a file, as TensorBoard reads it."""
    with path.open("rb") as file:
        while header := file.read(12):
            (length,) = struct.unpack("<Q", header[:8])
            yield Event.FromString(file.read(length))
            assert len(file.read(4)) == 4


def events(folder: Path) -> list[Event]:
    return [event for path in sorted(folder.glob("**/events.out.tfevents.*")) for event in records(path)]


def values(folder: Path) -> list[tuple[str, int, Any]]:
    return [(value.tag, event.step, value) for event in events(folder) for value in event.summary.value]


def scalars(folder: Path, without: str = "seconds") -> list[tuple[str, int, float]]:
    """Return every scalar in its order, but for clocks."""
    found = [(tag, step, value.simple_value) for tag, step, value in values(folder) if value.WhichOneof("value") == "simple_value"]
    return [scalar for scalar in found if without not in scalar[0]]


class Shows:
    passive = True

    def __init__(self, shown: dict[str, items.Item]) -> None:
        self.shown = shown

    @hookimpl
    def on_epoch_end(self, trainer: Trainer) -> None:
        for name, item in self.shown.items():
            trainer.show(name, item)


def show(folder: Path, **shown: items.Item) -> dict[str, Any]:
    """Show items once, and return their values by tag."""
    with tiny_trainer(plugins=[TensorBoard(), Shows(shown)], run_dir=folder) as trainer:
        trainer.fit(epochs=1)
    return {tag: value for tag, step, value in values(folder) if value.WhichOneof("value") != "simple_value" and step == 2}


@pytest.mark.parity("V1", "V6")
def test_every_number_is_written_with_its_step_and_time(tmp_path: Path) -> None:
    class Logs:
        @hookimpl
        def on_step_end(self, trainer: Trainer, state: State) -> None:
            trainer.log({"twice": state.step * 2.0})

    with tiny_trainer(plugins=[TensorBoard(), Logs()], run_dir=tmp_path, metrics=["accuracy"], train_data=tiny_batches(3)) as trainer:
        rows = trainer.fit(epochs=2)
    found = scalars(tmp_path)
    assert [(step, value) for tag, step, value in found if tag == "twice"] == [(step, step * 2.0) for step in range(1, 7)]
    assert [step for tag, step, _ in found if tag == "loss"] == [1, 2, 3, 4, 5, 6]
    for name in ("loss", "val_loss", "accuracy", "val_accuracy", "lr"):
        assert [(step, value) for tag, step, value in found if tag == f"epoch/{name}"] == [
            (3, pytest.approx(rows[0][name])),
            (6, pytest.approx(rows[1][name])),
        ]
    times = [event.wall_time for event in events(tmp_path)]
    assert times == sorted(times)
    assert len(list((tmp_path / "tensorboard").glob("events*"))) == 1, "also for what is logged when the run is over"


def test_validations_inside_of_an_epoch_and_evaluations_can_be_told_apart(tmp_path: Path) -> None:
    class Logs:
        @hookimpl
        def on_eval_end(self, trainer: Trainer) -> None:
            trainer.log({"seen": 1.0})

    with tiny_trainer(plugins=[TensorBoard(), Logs()], run_dir=tmp_path, train_data=tiny_batches(4)) as trainer:
        trainer.fit(epochs=1, val_every="2 steps")
        trainer.evaluate()
    found = scalars(tmp_path)
    assert [step for tag, step, _ in found if tag == "val_loss"] == [2, 4]
    assert [step for tag, step, _ in found if tag == "test/seen"] == [4]


@pytest.mark.parity("V3")
def test_pictures_are_what_was_shown(tmp_path: Path) -> None:
    pixels = torch.rand(3, 40, 50)
    found = show(tmp_path, noise=items.Image(pixels), matrix=items.Heatmap(torch.eye(3)), grid=items.Images(torch.rand(4, 1, 64, 64)))
    picture = np.asarray(Picture.open(io.BytesIO(found["noise"].image.encoded_image_string)))
    assert (found["noise"].image.height, found["noise"].image.width) == picture.shape[:2] == (44, 54)
    assert (picture[2:-2, 2:-2] == (pixels * 255).round().permute(1, 2, 0).numpy()).all()
    assert np.asarray(Picture.open(io.BytesIO(found["grid"].image.encoded_image_string))).shape == (134, 134, 3)
    assert {"matrix", "noise", "grid"} == found.keys()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_histograms_hold_the_values(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = torch.tensor([0.0, 1.0, 1.0, 4.0]).to(dtype)
    found = show(tmp_path, weights=items.Histogram(weights, bins=4))["weights"].histo
    assert (found.min, found.max, found.num, found.sum, found.sum_squares) == (0, 4, 4, 6, 18)
    assert (list(found.bucket_limit), list(found.bucket)) == ([0, 1, 2, 3, 4], [0, 1, 2, 0, 1])


def test_a_histogram_without_a_finite_value_is_empty(tmp_path: Path) -> None:
    found = show(tmp_path, weights=items.Histogram(torch.tensor([math.nan, math.inf]), bins=2))["weights"].histo
    assert (found.num, list(found.bucket)) == (0, [0, 0, 0])


@pytest.mark.parity("V2")
def test_words_and_tables_are_text(tmp_path: Path) -> None:
    table = items.Table(["name", "loss"], [["a|b", 1 / 3], ["two\nlines", torch.tensor(2)]])
    found = {tag: value.tensor.string_val[0].decode() for tag, value in show(tmp_path, words=items.Text("# One\n"), best=table).items()}
    assert found["words/text_summary"] == "# One\n"
    first = [value.tensor.string_val[0].decode() for tag, _, value in values(tmp_path) if tag == "trainer/text_summary"]
    assert ["Linear, 15 parameters" in text for text in first] == [True]
    assert found["best/text_summary"].splitlines() == ["| name | loss |", "| --- | --- |", "| a\\|b | 0.333333 |", "| two lines | 2 |"]


@pytest.mark.parity("V4")
def test_embeddings_are_in_the_projector(tmp_path: Path) -> None:
    vectors = torch.randn(5, 3)
    show(tmp_path, plain=items.Embedding(vectors), **{"a b/c": items.Embedding(vectors, torch.arange(5), torch.rand(5, 3, 8, 8))})
    root = tmp_path / "tensorboard"
    assert (root / "projector_config.pbtxt").read_text() == (
        "embeddings {\n"
        '  tensor_name: "a_b/c 2"\n'
        '  tensor_path: "projector/a_b/c/step-00000002/vectors.tsv"\n'
        '  metadata_path: "projector/a_b/c/step-00000002/labels.tsv"\n'
        '  sprite { image_path: "projector/a_b/c/step-00000002/sprite.png" single_image_dim: 8 single_image_dim: 8 }\n'
        "}\n"
        "embeddings {\n"
        '  tensor_name: "plain 2"\n'
        '  tensor_path: "projector/plain/step-00000002/vectors.tsv"\n'
        "}\n"
    )
    found = np.loadtxt(root / "projector/a_b/c/step-00000002/vectors.tsv")
    assert found == pytest.approx(vectors.numpy())
    assert (root / "projector/a_b/c/step-00000002/labels.tsv").read_text() == "0\n1\n2\n3\n4\n"
    with Picture.open(root / "projector/a_b/c/step-00000002/sprite.png") as sprite:
        assert sprite.size == (24, 24)


def hyper_parameters(folder: Path) -> list[dict[str, Any]]:
    starts = [value.metadata.plugin_data.content for tag, _, value in values(folder) if tag == "_hparams_/session_start_info"]
    return [
        {
            name: getattr(value, value.WhichOneof("kind"))
            for name, value in HParamsPluginData.FromString(start).session_start_info.hparams.items()
        }
        for start in starts
    ]


def test_hyper_parameters_are_those_that_are_given(tmp_path: Path) -> None:
    sink = TensorBoard(hparams={"width": 16, "norm": True, "name": "a"})
    with tiny_trainer(plugins=[sink], run_dir=tmp_path, seed=3) as trainer:
        trainer.fit(epochs=1)
    assert hyper_parameters(tmp_path) == [{"seed": 3.0, "width": 16.0, "norm": True, "name": "a"}]
    assert [tag for tag, _, _ in values(tmp_path)].count("_hparams_/session_end_info") == 1


def test_hyper_parameters_of_a_script_are_its_options(tmp_path: Path) -> None:
    with tiny_trainer(plugins=[TensorBoard(hparams={"width": 64})], run_dir=tmp_path) as trainer:
        trainer.run_info = {"options": {"width": 32, "name": "x", "flag": None}}
        trainer.fit(epochs=1)
    assert hyper_parameters(tmp_path) == [{"width": 64.0, "name": "x"}], "what was given is over them"


class Interrupts:
    """Saves after some steps, and ends the run some steps later, as if it were killed: nothing is closed."""

    passive = True

    def __init__(self, folder: Path, save: int, leave: int) -> None:
        self.folder, self.save, self.leave = folder, save, leave
        self.points = 0

    @hookimpl(trylast=True)
    def on_safe_point(self, trainer: Trainer) -> None:
        self.points += 1
        if self.points == self.save:
            trainer.save(self.folder / "saved")
        if self.points == self.leave:
            for name in ("run", "saved"):
                shutil.copytree(self.folder / name, self.folder / f"killed-{name}")


def sequence(folder: Path, *others: Any, log_every: int, name: str = "run") -> Trainer:
    class Everything:
        passive = True

        @hookimpl
        def on_step_end(self, trainer: Trainer, state: State) -> None:
            if state.step % 2 == 0:
                trainer.show("weights", items.Histogram(trainer.model.weight))
            if state.step % 3 == 0:
                trainer.show("space", items.Embedding(trainer.model.weight))

    plugins = [TensorBoard(hparams={"a": 1}), Everything(), *others]
    return tiny_trainer(
        plugins=plugins, run_dir=folder / name, train_data=tiny_batches(4), metrics=["accuracy"], seed=0, log_every=log_every
    )


def told(folder: Path) -> list[tuple[str, int, bytes]]:
    """Return everything that a run has written, of each tag in its order: when numbers are flushed depends on who saves."""
    config = folder / "tensorboard" / "projector_config.pbtxt"
    found = [(tag, step, value.SerializeToString(deterministic=True)) for tag, step, value in values(folder)]
    found = [value for value in found if "seconds" not in value[0] and not value[0].startswith("trainer/")]  # clocks, and who interrupts
    return [*sorted(found, key=lambda value: value[0]), ("config", 0, config.read_bytes())]


@settings(max_examples=8, deadline=None)
@given(save=st.integers(1, 9), later=st.integers(0, 9), log_every=st.sampled_from([1, 3, 50]))
def test_a_run_that_was_killed_and_resumed_has_everything_once(
    save: int, later: int, log_every: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("resumed")
    with sequence(folder, log_every=log_every, name="whole") as whole:
        whole.fit(epochs=2)
    with sequence(folder, Interrupts(folder, save, min(save + later, 10)), log_every=log_every) as torn:
        torn.fit(epochs=2)
    shutil.rmtree(folder / "run")
    (folder / "killed-run").rename(folder / "run")
    with sequence(folder, log_every=log_every) as again:
        again.fit(epochs=2, resume=folder / "killed-saved")
    assert told(folder / "run") == told(folder / "whole")
    starts = [event.step for event in events(folder / "run") if event.session_log.status == SessionLog.START]
    assert starts == [min(save - (save > 4) - (save == 10), 8) + 1], "a reader that has seen more forgets it"


def test_the_same_trainer_can_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    with sequence(tmp_path, log_every=1) as trainer:
        trainer.fit(epochs=1)
        trainer.save(tmp_path / "saved")
        trainer.fit(epochs=1)
        trainer.fit(epochs=2, resume=tmp_path / "saved")
    assert [step for tag, step, _ in scalars(tmp_path / "run") if tag == "epoch/loss"] == [4, 8]


def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    with sequence(tmp_path, log_every=1) as trainer:
        trainer.fit(epochs=1)
        trainer.save(tmp_path / "saved")
    (file,) = (tmp_path / "run" / "tensorboard").glob("events*")
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:7])
    with sequence(tmp_path, log_every=1) as again:
        again.fit(epochs=2, resume=tmp_path / "saved")
    assert [step for tag, step, _ in scalars(tmp_path / "run") if tag == "epoch/loss"] == [4, 8]


@pytest.mark.parity("B32")
def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    trainers = [tiny_trainer(plugins=[TensorBoard()], run_dir=tmp_path) for _ in range(4)]
    for trainer in trainers:
        trainer.fit(epochs=1)
    for trainer in trainers:
        trainer.close()
    assert len(list((tmp_path / "tensorboard").glob("events*"))) == 4
    assert [tag for tag, _, _ in scalars(tmp_path)].count("epoch/loss") == 4


def test_a_resumed_run_leaves_the_files_of_others_alone(tmp_path: Path) -> None:
    with sequence(tmp_path, log_every=1) as one:
        one.fit(epochs=1)
        one.save(tmp_path / "saved")
        one.fit(epochs=1)
    with tiny_trainer(plugins=[TensorBoard()], run_dir=tmp_path / "run") as other:
        other.fit(epochs=1)
    before = len(scalars(tmp_path / "run"))
    with sequence(tmp_path, log_every=1) as again:
        again.fit(epochs=2, resume=tmp_path / "saved")
    assert len(scalars(tmp_path / "run")) == before
    assert len(list((tmp_path / "run" / "tensorboard").glob("events*"))) == 3


def test_what_was_saved_is_in_the_file_before_the_process_ends(tmp_path: Path) -> None:
    class Looks:
        @hookimpl(trylast=True)
        def on_safe_point(self, trainer: Trainer, state: State) -> None:
            if state.step == 2 and state.position == "batch":
                trainer.save(tmp_path / "saved")
                seen.extend(scalars(tmp_path / "run"))

    seen: list[tuple[str, int, float]] = []
    with tiny_trainer(plugins=[TensorBoard(), Looks()], run_dir=tmp_path / "run", log_every=50) as trainer:
        trainer.fit(epochs=1)
    assert [(tag, step) for tag, step, _ in seen] == [("loss", 1), ("lr", 1), ("loss", 2), ("lr", 2)]


def test_nothing_stays_open_after_a_run(tmp_path: Path) -> None:
    trainer = tiny_trainer(plugins=[TensorBoard()], run_dir=tmp_path)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
    trainer.fit(epochs=1)
    assert before == (len(os.listdir("/proc/self/fd")) if before else 0)  # noqa: PTH208


@pytest.mark.parametrize("inputs", ["one", "two"])
def test_the_graph_is_added_without_side_effects(inputs: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5))

        def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
            return self.net(x if y is None else x + y)

    batches = [((x, x) if inputs == "two" else x, y) for x, y in tiny_batches(3)]
    trained = []
    for graph in (False, True):
        torch.manual_seed(0)
        settings = {"model": Two(), "train_data": batches, "val_data": None, "test_data": None, "seed": 1}
        with tiny_trainer(plugins=[TensorBoard(graph=graph)], run_dir=tmp_path / str(graph), **settings) as trainer:
            trainer.fit(epochs=1)
        trained.append(trainer.model.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])
    assert not [event for event in events(tmp_path / "False") if event.graph_def]
    assert [b"BatchNorm1d" in event.graph_def for event in events(tmp_path / "True") if event.graph_def] == [True]


def test_a_graph_that_cannot_be_made_is_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")

    class Fails(torch.nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            if torch.jit.is_tracing():
                raise ValueError("not\nthis")
            return super().forward(input)

    with (
        tiny_trainer(plugins=[TensorBoard(graph=True)], model=Fails(4, 3), run_dir=tmp_path) as trainer,
        pytest.warns(UserWarning, match="there is no graph: the model cannot be traced: ValueError: not$"),
    ):
        trainer.fit(epochs=1)
    assert len(trainer.history) == 1


def test_rows_of_an_old_run_can_be_sent(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "loss": 2.0, "val_loss": 3.0}, {"epoch": 2, "loss": 1.0, "val_loss": 2.0}]
    with Trainer(NoModel(), plugins=[TensorBoard()], run_dir=tmp_path, quiet=True) as trainer:
        replay(trainer, [Moment(row, 10 * int(row["epoch"]), 1e9 + row["epoch"]) for row in rows], ("val_",))
    assert [(tag, step, value) for tag, step, value in scalars(tmp_path) if tag == "epoch/val_loss"] == [
        ("epoch/val_loss", 10, 3.0),
        ("epoch/val_loss", 20, 2.0),
    ]
    times = [event.wall_time for event in events(tmp_path) for value in event.summary.value if value.tag == "epoch/loss"]
    assert times == [1e9 + 1, 1e9 + 2]


def test_an_absolute_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    with tiny_trainer(plugins=[f"tensorboard:folder={tmp_path / 'elsewhere'}"], run_dir=tmp_path / "run") as trainer:
        trainer.fit(epochs=1)
    assert scalars(tmp_path / "elsewhere")
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == '["elsewhere", "run"]'


def test_it_conforms() -> None:
    check_plugin(TensorBoard(hparams={"a": 1}), plugins=[Shows({"a": items.Text("x")})])

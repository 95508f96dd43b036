"""What a review found in the sinks: resumed runs, folders, names and options."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from fit_core import FitError, State, Trainer, hookimpl, items
from fit_core.testing import tiny_batches, tiny_trainer
from fit_vis import ShowFiles, TensorBoard, Visdom
from fit_vis.summaries import session_start


class Epochs:
    """Shows an item at the end of each epoch, from one on, and saves the first one."""

    passive = True

    def __init__(self, item: items.Item, saved: Path) -> None:
        self.item, self.saved = item, saved

    @hookimpl
    def on_epoch_end(self, trainer: Trainer, state: State) -> None:
        trainer.show("each", self.item)
        if state.epoch >= 2:
            trainer.show("later", self.item)

    @hookimpl
    def on_safe_point(self, trainer: Trainer) -> None:
        if len(trainer.history) == 1 and not self.saved.exists():
            trainer.save(self.saved)


def train(folder: Path, sink: object, item: items.Item, epochs: int, resume: Path | None = None) -> None:
    data = tiny_batches(1)
    with tiny_trainer(plugins=[sink, Epochs(item, folder / "saved")], run_dir=folder, train_data=data, seed=0) as trainer:
        trainer.fit(epochs=epochs, resume=resume)


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_resumed_run_removes_what_came_later_even_if_its_last_file_is_gone(tmp_path: Path) -> None:
    text = items.Text("x")
    train(tmp_path, ShowFiles(keep=2), text, 4)
    assert below(tmp_path / "shown") == [f"{name}/step-0000000{step}.md" for name in ("each", "later") for step in (3, 4)]
    train(tmp_path, ShowFiles(keep=2), text, 2, resume=tmp_path / "saved")
    assert below(tmp_path / "shown") == ["each/step-00000002.md", "later/step-00000002.md"]


def test_a_resumed_run_leaves_what_others_show_in_the_same_folder(tmp_path: Path) -> None:
    class Others:
        passive = True

        @hookimpl
        def on_epoch_end(self, trainer: Trainer) -> None:
            trainer.show("others", items.Embedding(torch.eye(3)))

    both = tmp_path / "both"
    sinks = [TensorBoard(folder=both / "board"), ShowFiles(folder=both / "files")]
    with tiny_trainer(plugins=[*sinks, Others()], run_dir=tmp_path / "other", train_data=tiny_batches(1)) as other:
        other.fit(epochs=3)
    before = {place: set(below(both / place)) for place in ("board/projector/others", "files/others")}
    for sink in (TensorBoard(folder=both / "board"), ShowFiles(folder=both / "files")):
        run = tmp_path / type(sink).__name__
        train(run, sink, items.Embedding(torch.eye(2)), 3)
        train(run, type(sink)(folder=sink.folder), items.Embedding(torch.eye(2)), 1, resume=run / "saved")
    assert {place: set(below(both / place)) for place in before} == before
    assert {path.name for path in (both / "board/projector/each").iterdir()} == {"step-00000001"}


def test_every_option_is_a_hyper_parameter() -> None:
    (value,) = session_start({"hidden": [64, 32], "data": Path("digits"), "width": 3, "no": None}).value
    start = HParamsPluginData.FromString(value.metadata.plugin_data.content).session_start_info
    found = {name: each.string_value or each.number_value for name, each in start.hparams.items()}
    assert found == {"hidden": "[64, 32]", "data": "digits", "width": 3.0}


@pytest.mark.parametrize("sink", [ShowFiles, TensorBoard])
def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path, sink: type[ShowFiles | TensorBoard]) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FitError, match="cannot write to .*file"):
        train(tmp_path / "run", sink(folder=tmp_path / "file"), items.Text("x"), 1)


@pytest.mark.parametrize("sink", [ShowFiles, TensorBoard])
def test_names_are_as_long_as_one_likes(tmp_path: Path, sink: type[ShowFiles | TensorBoard]) -> None:
    class Long:
        passive = True

        @hookimpl
        def on_epoch_end(self, trainer: Trainer) -> None:
            for end in "ab":
                trainer.show("層" * 300 + end, items.Embedding(torch.eye(2)))

    with tiny_trainer(plugins=[sink(folder=tmp_path / "out"), Long()], run_dir=tmp_path) as trainer:
        trainer.fit(epochs=1)
    assert sum(name.endswith("vectors.tsv") for name in below(tmp_path / "out")) == 2


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let no file have more than 30,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def visdom() -> Visdom:
    pytest.importorskip("visdom")
    return Visdom(offline="always")


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("sink", [ShowFiles, TensorBoard, visdom])
def test_a_disk_that_is_full_is_one_line(tmp_path: Path, sink: Callable[[], object]) -> None:
    with pytest.raises(FitError, match=r"cannot write to .*; choose another folder, or make room"):
        train(tmp_path, sink(), items.Histogram(torch.randn(3000), bins=3000), 3)

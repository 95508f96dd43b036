"""TensorBoard itself, in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from browser import Page

from fit_core import State, Trainer, hookimpl, items
from fit_core.testing import tiny_batches, tiny_trainer
from fit_vis.tensorboard import TensorBoard

ORANGE, BLUE = "#E69F00", "#0072B2"


def plain(colour: str, size: int = 8) -> torch.Tensor:
    """Return a picture of one colour."""
    return torch.tensor([int(colour[place : place + 2], 16) for place in (1, 3, 5)], dtype=torch.uint8).view(3, 1, 1).expand(3, size, size)


class Shows:
    passive = True

    @hookimpl
    def on_epoch_end(self, trainer: Trainer) -> None:
        trainer.show("colours", items.Images(torch.stack([plain(ORANGE), plain(BLUE)]), ["orange", "blue"]))
        trainer.show("weights", items.Histogram(trainer.model.weight))
        trainer.show("words", items.Text("some **bold** words"))
        trainer.show("results", items.Table(["name", "value"], [["first", 0.125]]))
        pictures = torch.stack([plain(ORANGE if number % 2 else BLUE, 16) for number in range(30)])
        labels = [f"kind {number % 2}" for number in range(30)]
        trainer.show("space", items.Embedding(torch.randn(30, 6) + 9 * (torch.arange(30) % 2)[:, None], labels, pictures))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two runs, shown by a server."""
    folder = tmp_path_factory.mktemp("runs")
    for width in (16, 32):
        sink = TensorBoard(hparams={"width": width}, graph=True)
        name = f"width-{width}"
        with tiny_trainer(
            plugins=[sink, Shows()], metrics=["accuracy"], train_data=tiny_batches(20), run_dir=folder / name, seed=0
        ) as trainer:
            trainer.fit(epochs=3)
    log = folder.parent / "tensorboard.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0", "--host", "127.0.0.1"]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        until = time.monotonic() + 60
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())):
            assert time.monotonic() < until and process.poll() is None, log.read_text()  # noqa: PT018
            time.sleep(0.2)
        yield found[0]
    finally:
        process.terminate()
        process.wait(20)


def test_scalars(address: str, page: Page, keep: Callable[..., None]) -> None:
    page.open(f"{address}#scalars")
    page.wait_for("epoch", "loss", "width-16/tensorboard", "width-32/tensorboard")
    page.open(f"{address}?tagFilter=loss#timeseries")
    page.wait_for("/loss", "/val_loss", "width-16/tensorboard", "Smoothed")
    keep("tensorboard-scalars")
    cards = page.run("document.querySelectorAll('scalar-card').length")
    assert cards >= 3
    assert page.run("document.querySelectorAll('line-chart svg path, line-chart canvas').length") >= 3


def test_images(address: str, page: Page, keep: Callable[..., None]) -> None:
    page.open(f"{address}#images")
    page.wait_for("colours", "width-16/tensorboard")
    page.wait_for_colour(ORANGE, 0.005)
    page.wait_for_colour(BLUE, 0.005)
    keep("tensorboard-images")


def test_histograms_and_text(address: str, page: Page, keep: Callable[..., None]) -> None:
    page.open(f"{address}#histograms")
    page.wait_for("weights")
    keep("tensorboard-histograms")
    page.open(f"{address}#text&tagFilter=words%7Cresults")
    page.wait_for("some bold words", "first", "0.125")
    keep("tensorboard-text")


def test_the_projector(address: str, page: Page, keep: Callable[..., None]) -> None:
    until = time.monotonic() + 60
    while "projector" not in page.text().partition("Inactive")[0]:  # the server looks for embeddings when it is asked what there is
        assert time.monotonic() < until
        page.open(address)
        time.sleep(2)
    page.open(f"{address}#projector")
    page.wait_for("Points: 30", "Dimension: 6", "space 60", seconds=60)
    page.wait_for_colour(ORANGE, 0.0005)  # of the thumbnails
    page.wait_for_colour(BLUE, 0.0005)
    keep("tensorboard-projector", still=False)  # the points turn


def test_hyper_parameters_with_metrics(address: str, page: Page, keep: Callable[..., None]) -> None:
    page.open(f"{address}#hparams")
    page.wait_for("width", "16.000", "32.000", "epoch/val_accuracy")
    keep("tensorboard-hparams")


def test_a_reader_that_has_seen_what_was_lost_forgets_it(tmp_path: Path) -> None:
    """TensorBoard reads while a run is killed and resumed: it shows each step once, with the values of the run that went on."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Saves:
        passive = True

        @hookimpl(trylast=True)
        def on_safe_point(self, trainer: Trainer, state: State) -> None:
            if state.step == 5 and not (tmp_path / "saved").exists():
                trainer.save(tmp_path / "saved")
            if state.step == 11 and not reader.Tags()["scalars"]:
                reader.Reload()
                raise KeyboardInterrupt

        @hookimpl
        def on_step_end(self, trainer: Trainer, state: State) -> None:
            trainer.log({"life": float(lives), f"only {lives}": 1.0})

    def trainer() -> Trainer:
        return tiny_trainer(plugins=[TensorBoard(), Saves()], run_dir=tmp_path / "run", train_data=tiny_batches(4), seed=0, log_every=1)

    lives = 1
    reader = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    with pytest.raises(KeyboardInterrupt), trainer() as torn:
        torn.fit(epochs=4)
    assert [event.step for event in reader.Scalars("life")] == list(range(1, 12))
    lives = 2
    with trainer() as again:
        again.fit(epochs=4, resume=tmp_path / "saved")
    reader.Reload()
    assert [(event.step, event.value) for event in reader.Scalars("life")] == [(step, 1 + (step > 5)) for step in range(1, 17)]
    assert [event.step for event in reader.Scalars("only 1")] == [1, 2, 3, 4, 5]


def test_the_graph(address: str, page: Page, keep: Callable[..., None]) -> None:
    page.open(f"{address}#graphs")
    page.wait_for("Linear")
    keep("tensorboard-graph")

"""Visdom's page, in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import visdom
from assets import fetch
from browser import Page, share
from test_tensorboard_page import BLUE, ORANGE, plain
from test_visdom import Server

from fit_core import Trainer, hookimpl, items
from fit_core.testing import tiny_batches, tiny_trainer
from fit_vis.visdom import Visdom


class Shows:
    passive = True

    @hookimpl
    def on_epoch_end(self, trainer: Trainer) -> None:
        trainer.show("colours", items.Images(torch.stack([plain(ORANGE), plain(BLUE)]), ["orange", "blue"]))
        trainer.show("weights", items.Histogram(torch.randn(1000, generator=torch.Generator().manual_seed(0))))
        names = ["setosa", "versicolor", "virginica"]
        trainer.show("confusion", items.Heatmap(torch.tensor([[48, 2, 0], [3, 45, 2], [0, 9, 41]]), names, names, "truth", "prediction"))
        trainer.show("points", items.Scatter(torch.rand(30, 2), [f"kind {number % 2}" for number in range(30)]))
        trainer.show("words", items.Text("some words & more"))
        trainer.show("results", items.Table(["name", "value"], [["first", 0.125]]))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    fetch(Path(visdom.__file__).parent / "static")
    running = Server(tmp_path_factory.mktemp("envs"))
    yield running
    running.stop()


def title(window: str) -> str:
    """Return an expression for the window of a title."""
    return f"[...document.querySelectorAll('.react-grid-item')].find(w => w.querySelector('.bar').innerText.includes('{window}'))"


def test_the_page_has_lines_pictures_and_histograms(server: Server, page: Page, keep: Callable[..., None], tmp_path: Path) -> None:
    sink = Visdom("http://127.0.0.1", server.port)
    with tiny_trainer(
        plugins=[sink, Shows()], metrics=["accuracy"], train_data=tiny_batches(20), run_dir=tmp_path / "run", seed=0
    ) as trainer:
        trainer.fit(epochs=3)
    page.open(f"http://127.0.0.1:{server.port}/env/run")
    page.wait_for("epoch/loss", "epoch/val_loss", "epoch/val_accuracy", "some words & more", "first", "0.125")
    page.wait_for("versicolor", "truth", "prediction", "kind 1", "weights, step 60")
    keep("visdom")
    shown = page.still()

    def window(name: str) -> object:
        left, top, right, bottom = page.box(title(name))
        return shown[max(top, 0) : bottom, max(left, 0) : right]

    assert share(window("colours"), ORANGE) > 0.1
    assert share(window("colours"), BLUE) > 0.1
    assert share(window("weights"), BLUE) > 0.02, "bars"
    for colour in (BLUE, ORANGE, "#009E73"):
        assert share(window("loss"), colour) > 0.0005, "a line each"
    assert share(window("confusion"), "#FDE725") > 0.03, "the yellow of what is most"
    boxes = [page.box(title(name)) for name in ("loss", "accuracy", "colours", "weights", "confusion", "points", "words", "results")]
    for place, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:place]:
            beside = left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom
            assert beside, "no window lies on another"


def test_the_page_goes_on_while_a_run_does(server: Server, page: Page, tmp_path: Path) -> None:
    seen: list[str] = []

    class Looks:
        passive = True

        @hookimpl(trylast=True)
        def on_epoch_end(self, trainer: Trainer) -> None:
            if trainer.current_state().epoch == 1:
                page.open(f"http://127.0.0.1:{server.port}/env/live")
            trainer.show("epoch", items.Text(f"this is epoch {trainer.current_state().epoch}"))
            seen.append(page.wait_for(f"this is epoch {trainer.current_state().epoch}"))

    with tiny_trainer(plugins=[Visdom("http://127.0.0.1", server.port, env="live"), Looks()], run_dir=tmp_path / "run") as trainer:
        trainer.fit(epochs=3)
    assert len(seen) == 3

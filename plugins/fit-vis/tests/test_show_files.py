from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from fit_core import FitError, Trainer, hookimpl, items
from fit_core.testing import check_plugin, tiny_batches, tiny_trainer
from fit_vis.show_files import ShowFiles


class Shows:
    """Shows an item at the end of each epoch."""

    passive = True

    def __init__(self, **shown: items.Item) -> None:
        self.shown = shown

    @hookimpl
    def on_epoch_end(self, trainer: Trainer) -> None:
        for name, item in self.shown.items():
            trainer.show(name.replace("__", "/"), item)


def show(folder: Path, sink: ShowFiles | None = None, epochs: int = 1, **shown: items.Item) -> Path:
    """Show items at the end of each epoch of two steps, and return where the files are."""
    with tiny_trainer(plugins=[sink or ShowFiles(), Shows(**shown)], run_dir=folder) as trainer:
        trainer.fit(epochs=epochs)
    return folder / "shown"


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_pixels_are_those_that_were_shown(tmp_path: Path) -> None:
    pixels = torch.rand(3, 40, 50)
    folder = show(tmp_path, noise=items.Image(pixels), bytes=items.Image((pixels * 255).round().to(torch.uint8)))
    for name in ("noise", "bytes"):
        found = np.asarray(Picture.open(folder / name / "step-00000002.png"))
        assert found.shape == (44, 54, 3)
        assert (found[2:-2, 2:-2] == (pixels * 255).round().permute(1, 2, 0).numpy()).all()


def test_numbers_are_kept_exactly(tmp_path: Path) -> None:
    values = torch.tensor([[1.0, 1 / 3], [float("nan"), float("inf")]], dtype=torch.float64)
    folder = show(
        tmp_path,
        matrix=items.Heatmap(values, ("a", "b"), row_title="truth"),
        weights=items.Histogram(torch.tensor([0.0, 1.0, 1.0, float("nan")]), bins=2),
        points=items.Scatter(torch.tensor([[0.5, 1.0]]), ["a"], ["width", "height"]),
        best=items.Table(["name", "loss"], [["a|b", torch.tensor(0.25)], ["c", None]]),
        noise=items.Images(torch.rand(2, 1, 8, 8), ["one", "two"]),
    )
    found = {name.split("/")[0]: json.loads((folder / name).read_text()) for name in names(folder) if name.endswith(".json")}
    assert found == {
        "matrix": {
            "values": [[1.0, 1 / 3], ["nan", "inf"]],
            "row_names": ["a", "b"],
            "column_names": [],
            "row_title": "truth",
            "column_title": "",
        },
        "weights": {"counts": [1, 2], "edges": [0.0, 0.5, 1.0], "not_finite": 1},
        "points": {"points": [[0.5, 1.0]], "labels": ["a"], "axis_titles": ["width", "height"]},
        "best": {"columns": ["name", "loss"], "rows": [["a|b", 0.25], ["c", None]]},
        "noise": {"captions": ["one", "two"]},
    }
    pictures = {name.split("/")[0] for name in names(folder) if name.endswith(".png")}
    assert pictures == {"matrix", "weights", "points", "noise"}, "a table is no picture"


def test_words_and_vectors_have_files_of_their_own(tmp_path: Path) -> None:
    vectors = torch.randn(5, 3, dtype=torch.float64)
    item = items.Embedding(vectors, ["a\tb", "c", "d", "e", "f"], torch.rand(5, 1, 4, 6))
    folder = show(tmp_path, summary=items.Text("# One\n"), space=item)
    assert (folder / "summary" / "step-00000002.md").read_text() == "# One\n"
    found = np.loadtxt(folder / "space" / "step-00000002" / "vectors.tsv", delimiter="\t")
    assert found == pytest.approx(vectors.numpy(), rel=1e-8)
    assert (folder / "space" / "step-00000002" / "labels.tsv").read_text().splitlines() == ["a b", "c", "d", "e", "f"]
    sprite = np.asarray(Picture.open(folder / "space" / "step-00000002" / "sprite.png"))
    assert sprite.shape == (18, 18, 3), "three squares in a row"
    assert (sprite[0] == 255).all(), "white above what is not square"
    assert (sprite[12:, 12:] == 255).all(), "nothing where the sixth would be"
    assert (folder / "space" / "step-00000002.png").exists()


@pytest.mark.parametrize(
    ("name", "where"),
    [("a__b", "a/b"), ("../../a", "a"), ("/etc/passwd", "etc/passwd"), (" a b: c?", "a_b_c_"), ("..", "_"), ("ä", "ä")],
)
def test_names_stay_below_the_folder(name: str, where: str, tmp_path: Path) -> None:
    folder = show(tmp_path / "run", **{name: items.Text("x")})
    assert names(folder) == [f"{where}/step-00000002.md"]
    assert names(tmp_path) == [f"run/shown/{where}/step-00000002.md"], "and no draft is left"


def test_what_is_shown_twice_at_a_step_gets_a_number(tmp_path: Path) -> None:
    class Twice:
        @hookimpl
        def on_epoch_end(self, trainer: Trainer) -> None:
            trainer.show("a", items.Text("one"))
            trainer.show("a", items.Text("two"))

    with tiny_trainer(plugins=[ShowFiles(), Twice()], run_dir=tmp_path) as trainer:
        trainer.fit(epochs=2)
    assert names(tmp_path / "shown" / "a") == [f"step-0000000{step}{number}.md" for step in (2, 4) for number in ("-2", "")]
    assert (tmp_path / "shown" / "a" / "step-00000004-2.md").read_text() == "two"


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    folder = show(tmp_path, ShowFiles(keep=2), epochs=4, a=items.Heatmap(torch.eye(2)), b__c=items.Embedding(torch.eye(3)))
    heat = [f"a/step-0000000{step}.{end}" for step in (6, 8) for end in ("json", "png")]
    space = [f"b/c/step-0000000{step}{end}" for step in (6, 8) for end in (".png", "/vectors.tsv")]
    assert names(folder) == sorted(heat + space)


def test_a_resumed_run_has_the_files_of_one_that_was_not_interrupted(tmp_path: Path) -> None:
    def trainer(folder: str, *others: object) -> Trainer:
        plugins = [ShowFiles(), Numbers(), *others]
        return tiny_trainer(plugins=plugins, run_dir=tmp_path / folder, train_data=tiny_batches(4), seed=0)

    class Numbers:
        passive = True

        @hookimpl
        def on_step_end(self, trainer: Trainer) -> None:
            trainer.show("step", items.Text(str(trainer.current_state().step)))

    class Fails:
        passive = True

        @hookimpl
        def on_step_end(self, trainer: Trainer) -> None:
            step = trainer.current_state().step
            if step == 7:
                trainer.show("step", items.Text("of a run that is lost"))
                raise KeyboardInterrupt

        @hookimpl
        def on_safe_point(self, trainer: Trainer) -> None:
            if trainer.current_state().step == 3:
                trainer.save(tmp_path / "saved")

    with trainer("whole") as whole:
        whole.fit(epochs=2)
    with pytest.raises(KeyboardInterrupt), trainer("torn", Fails()) as torn:
        torn.fit(epochs=2)
    assert "step-00000007-2.md" in names(tmp_path / "torn" / "shown" / "step")
    with trainer("torn") as again:
        again.fit(epochs=2, resume=tmp_path / "saved")
    contents = [
        {name: (tmp_path / run / "shown" / "step" / name).read_text() for name in names(tmp_path / run / "shown" / "step")}
        for run in ("whole", "torn")
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 8


def test_what_evaluate_shows_does_not_replace_what_was_trained(tmp_path: Path) -> None:
    class Ends:
        @hookimpl
        def on_eval_end(self, trainer: Trainer) -> None:
            trainer.show("a", items.Text("x"))

    with tiny_trainer(plugins=[ShowFiles(), Ends()], run_dir=tmp_path) as trainer:
        trainer.fit(epochs=1)
        trainer.evaluate()
    assert names(tmp_path / "shown" / "a") == ["step-00000002.md", "test-step-00000002.md"]


WRONG: dict[str, tuple[items.Item, str]] = {
    "image": (items.Image(torch.rand(2, 4, 4)), "pixels must be (channels, height, width) with 1 or 3 channels, not (2, 4, 4)"),
    "images": (items.Images(torch.rand(3, 4, 4)), "pixels must be (count, channels, height, width) with 1 or 3 channels, not (3, 4, 4)"),
    "empty": (items.Images(torch.rand(0, 1, 4, 4)), "not (0, 1, 4, 4)"),
    "captions": (items.Images(torch.rand(2, 1, 4, 4), ["one"]), "there are 1 captions for 2 of them"),
    "columns": (items.Images(torch.rand(2, 1, 4, 4), columns=0), "columns must be at least 1"),
    "figure": (items.Figure("a plot"), "figure must be a matplotlib figure, not str"),
    "bins": (items.Histogram(torch.rand(2), bins=0), "bins must be at least 1, not 0"),
    "heat map": (items.Heatmap(torch.rand(2)), "values must be (rows, columns), not (2,)"),
    "row names": (items.Heatmap(torch.rand(2, 3), ["a"]), "there are 1 row_names for 2 of them"),
    "points": (items.Scatter(torch.rand(5, 4)), "points must be (count, 2) or (count, 3), not (5, 4)"),
    "labels": (items.Scatter(torch.rand(5, 2), torch.arange(4)), "there are 4 labels for 5 of them"),
    "axes": (items.Scatter(torch.rand(5, 2), axis_titles=["x"]), "there are 1 axis_titles for 2 of them"),
    "table": (items.Table(["a", "b"], [[1, 2], [3]]), "row 1 has 1 values for 2 columns"),
    "vectors": (items.Embedding(torch.rand(3)), "vectors must be (count, dimensions), not (3,)"),
    "pictures": (items.Embedding(torch.rand(3, 2), pictures=torch.rand(2, 1, 4, 4)), "there are 2 pictures for 3 of them"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_item_that_does_not_fit_together_is_refused(what: str, tmp_path: Path) -> None:
    item, said = WRONG[what]
    with pytest.raises(FitError) as refused:
        show(tmp_path, it=item)
    assert str(refused.value).startswith("cannot show 'it': ")
    assert said in str(refused.value)
    assert not names(tmp_path)


def test_nothing_else_is_kept() -> None:
    with pytest.raises(FitError, match="keep must be at least 1, not 0"):
        ShowFiles(keep=0)


def test_it_conforms() -> None:
    check_plugin(ShowFiles(), plugins=[Shows(a=items.Text("x"))])

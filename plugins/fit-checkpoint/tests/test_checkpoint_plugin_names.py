"""How checkpoints are called."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fit_checkpoint import ModelCheckpoint
from fit_checkpoint.naming import Template, free
from fit_core import FitError
from fit_core.testing import tiny_batches, tiny_trainer


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("epoch-{epoch:02}-{val_loss:.3f}", "epoch-07-0.123"),
        ("{step:08}", "00000120"),
        ("plain", "plain"),
        ("{lr:e}", "1.000000e-03"),
        ("{bad:.2f}_{huge:.0f}", "nan_inf"),
        ("{top-5}", "0.5"),
    ],
)
def test_names(text: str, name: str) -> None:
    values = {"epoch": 7, "step": 120, "val_loss": 0.12345, "lr": 1e-3, "bad": math.nan, "huge": math.inf, "top-5": 0.5}
    assert Template(text).filled(values) == name


def test_what_a_name_needs_of_the_row() -> None:
    assert Template("{epoch}-{step}-{val_loss}-{loss}-{val_loss}").values == ("val_loss", "loss")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{epoch", "cannot read name='{epoch': expected '}' before end of string; write values in braces, such as epoch-{epoch:02}"),
        ("{}", "cannot read name='{}': write the name of a value and its format, such as {val_loss:.3f}"),
        ("{epoch!r}", "cannot read name='{epoch!r}': write the name of a value and its format"),
        ("{loss:03d}", "name='{loss:03d}' has the wrong format for 'loss', such as 0.5: Unknown format code 'd'"),
        ("{loss:{step}}", "has the wrong format for 'loss', such as 0.5"),
        ("{loss:,.1f}", "name='{loss:,.1f}' makes the folder '-123,456.8'; use up to 200 letters, digits and _ = + - . only"),
        ("{loss:8.3f}", "makes the folder '   0.500'"),
        ("a/{epoch}", "makes the folder 'a/1'"),
        ("../x", "makes the folder '../x'"),
        ("..", "makes the folder '..'"),
        (".hidden", "makes the folder '.hidden'"),
        ("", "makes the folder ''"),
        ("é", "makes the folder 'é'"),
        ("a\n", r"makes the folder 'a\n'"),
        (
            "best",
            "makes the folder 'best'; use up to 200 letters, digits and _ = + - . only (no . at the beginning), and not just best or last",
        ),
        ("x" * 201, "use up to 200 letters"),
    ],
)
def test_names_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(FitError) as raised:
        ModelCheckpoint(name=text)
    assert message in str(raised.value)


def test_a_value_can_make_a_name_impossible_later() -> None:
    with pytest.raises(FitError, match=r"makes the folder '[0-9]+'; use up to 200"):
        Template("{loss:.0f}").filled({"loss": 1e201})


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    assert free(tmp_path, "a") == "a"
    (tmp_path / "a").mkdir()
    (tmp_path / "a-2").write_text("")
    assert free(tmp_path, "a") == "a-3"


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir() if path.is_dir())


@pytest.mark.parity("C8")
def test_values_of_the_row_are_in_the_name(tmp_path: Path) -> None:
    plugin = "checkpoint:every=1 epoch,last=all,name=epoch-{epoch:02}-{val_loss:.3f}-{step}"
    rows = tiny_trainer(plugins=[plugin], run_dir=tmp_path).fit(epochs=2)
    assert names(tmp_path) == [f"epoch-{n:02}-{row['val_loss']:.3f}-{2 * n}" for n, row in enumerate(rows, 1)]


def test_in_the_midst_of_an_epoch_there_is_no_row(tmp_path: Path) -> None:
    plugin = ModelCheckpoint(every="3 steps", last="all", name="{epoch}-{loss:.0f}")
    tiny_trainer(plugins=[plugin], run_dir=tmp_path, train_data=tiny_batches(4)).fit(epochs=1)
    assert names(tmp_path)[1:] == ["step-00000003"]
    tiny_trainer(plugins=[ModelCheckpoint(every="3 steps", name="{epoch}-{step}", last=2)], run_dir=tmp_path / "2").fit(epochs=2)
    assert names(tmp_path / "2") == ["2-3", "2-4"]


def test_a_constant_name_is_numbered(tmp_path: Path) -> None:
    trainer = tiny_trainer(plugins=[ModelCheckpoint(every="1 epoch", best=0, name="model")], run_dir=tmp_path)
    trainer.fit(epochs=3)
    assert names(tmp_path) == ["model"]
    trainer.fit(epochs=1)
    assert names(tmp_path) == ["model-2"]


def test_a_wrong_key_is_found_at_the_first_epoch(tmp_path: Path) -> None:
    trainer = tiny_trainer(
        plugins=[ModelCheckpoint(every="9 epochs", best=0, name="{epoch}-{acuracy}")], run_dir=tmp_path, metrics=["accuracy"]
    )
    message = r"checkpoint names checkpoints by 'acuracy', but the row has: accuracy, epoch, .*, step, .*; did you mean 'accuracy'\?"
    with pytest.raises(FitError, match=message):
        trainer.fit(epochs=9)
    assert len(trainer.history) == 1
    assert not (tmp_path / "checkpoints").exists()


def test_a_key_that_no_validation_gives_is_found_before(tmp_path: Path) -> None:
    trainer = tiny_trainer(plugins=[ModelCheckpoint(best=0, name="{val_loss:.3f}")], run_dir=tmp_path, val_data=None)
    with pytest.raises(FitError, match="checkpoint names checkpoints by 'val_loss', but there is no validation data"):
        trainer.fit(epochs=9)
    assert trainer.current_state().step == 0

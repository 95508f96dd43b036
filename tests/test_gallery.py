"""The gallery: each example is built and begun here, and described in docs/gallery.

In `nox -s full` (FIT_GALLERY=all) each is run by the command in its docstring, is resumed, and reaches at its end what its page says.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from torch import Tensor, nn

from fit_core import Trainer, hookimpl
from fit_core.cli.scripts import own_hooks
from fit_core.items import Item
from fit_core.modes import set_seed
from fit_core.script import load_script
from fit_core.testing import ForkServer, check_resume, run_fit

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PAGES = ROOT / "docs" / "gallery"
ALL = os.environ.get("FIT_GALLERY") == "all"
BEGUN = ("reinforce",)
"""Those that are run by their command, and resumed, at every change."""

each = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
some = pytest.mark.parametrize("path", [path for path in EXAMPLES if ALL or path.stem in BEGUN], ids=lambda path: path.stem)
full = pytest.mark.skipif(not ALL, reason="takes minutes: FIT_GALLERY=all")


def build(name: str, seed: int = 0, **options: Any) -> Trainer:
    """Build an example's trainer as `fit train --seed` does, with what its command adds."""
    set_seed(seed)
    trainer = load_script(ROOT / "examples" / f"{name}.py").build_trainer(**options)
    trainer.seeded(seed, given=True)
    trainer.use(["no:console"])
    return trainer


def command(path: Path) -> list[str]:
    """Return the command that the second paragraph of an example's docstring shows."""
    found = re.match(r'"""[^\n]+\n\n(fit train [^\n]+)\n"""\n', path.read_text())
    assert found, f"{path.name} does not begin with a line of what it is, and its command"
    return shlex.split(found[1])


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


class Shown:
    """Keeps the last of everything that is shown."""

    passive = True

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}

    @hookimpl
    def on_show(self, name: str, item: Item) -> None:
        self.items[name] = item


# what all of them keep to


@each
def test_it_begins(path: Path, tmp_path: Path) -> None:
    """Two batches of each pass; and whoever builds the trainer in Python has all hooks of the script, as `fit train` would."""
    trainer = build(path.stem)
    assert own_hooks(sys.modules[path.stem], trainer) == []
    trainer.run_dir = tmp_path
    before = [p.detach().clone() for p in trainer.model.parameters()]
    with trainer:
        row = trainer.fit(epochs=1, limit_batches=2)[0]
    assert row["loss"] == row["loss"]
    assert any(not torch.equal(mine, old) for mine, old in zip(trainer.model.parameters(), before, strict=True))


@each
def test_its_command_is_on_its_page_and_it_is_in_the_index(path: Path) -> None:
    page = PAGES / f"{path.stem}.md"
    text = page.read_text()
    assert shlex.join(command(path)) in text
    assert command(path)[2] == f"examples/{path.name}"
    assert f"]({page.name})" in (PAGES / "index.md").read_text()
    assert blocks(page), "a page shows the lines that matter"


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_what_pages_show_is_in_the_examples(page: Path) -> None:
    """A block is lines of the file that its first line names, in their order; `...` stands for those left out."""
    for block in blocks(page):
        name, shown = block.split("\n", 1)
        path = ROOT / name.removeprefix("# ")
        assert path.parent == ROOT / "examples", f"{page.name}: a block begins with `# examples/NAME.py`, not {name!r}"
        source, place = path.read_text(), 0
        for part in re.split(r"^ *\.\.\.\n", shown, flags=re.MULTILINE):
            found = re.compile(pattern(part), re.MULTILINE).search(source, place)
            assert found, f"{page.name} shows what {path.name} does not have:\n{part}"
            place = found.end()


def pattern(part: str) -> str:
    """Return a pattern for lines that may be indented further in the file."""
    lines = part.strip("\n").split("\n")
    return r"^(?P<indent> *)" + r"\n(?P=indent)".join(map(re.escape, lines)).replace(r"\n(?P=indent)\n", r"\n\n") + "$"


@some
def test_its_command_runs(path: Path, tmp_path: Path, fork_server: ForkServer) -> None:
    done = run_fit("train", path, *command(path)[3:], "--epochs", "1", "--limit-batches", "3", cwd=tmp_path, server=fork_server)
    assert done.code == 0, done.stderr
    alone = fork_server.run(path, "--dry-run", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert "dry run: nothing was kept" in alone.stdout


@some
def test_it_can_be_resumed(path: Path) -> None:
    check_resume(lambda: build(path.stem), epochs=2, limit_batches=6)


# what they reach


def ran(name: str, **options: Any) -> tuple[Trainer, dict[str, float]]:
    """Run an example to its end; return its trainer and its last row."""
    trainer = build(name, **options)
    row = trainer.fit()[-1]
    print(name, options, {key: round(value, 4) for key, value in row.items()})
    return trainer, row


@pytest.fixture(scope="module")
def judge() -> Callable[[Tensor], Tensor]:
    """Gives probabilities (count, 10) of images (count, 64) from 0 to 1, from a model that knows real digits."""
    digits = load_digits()
    model = LogisticRegression(C=10, max_iter=3000).fit(digits.data / 16, digits.target)
    return lambda images: torch.tensor(model.predict_proba(images.reshape(len(images), 64).numpy()))


@full
def test_digits() -> None:
    trainer, _ = ran("digits")
    assert trainer.evaluate()["test_accuracy"] > 0.98


@full
def test_transfer() -> None:
    assert ran("transfer")[1]["val_accuracy"] > 0.95


@full
def test_two_optimizers() -> None:
    assert ran("two_optimizers")[1]["val_accuracy"] > 0.85


@full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["gan", "wgan_gp"])
def test_gans(name: str, judge: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    trainer = build(name)
    trainer.run_dir = tmp_path
    trainer.fit()
    with torch.no_grad():
        samples = trainer.plugins["generator-ema"].averaged.module(torch.randn(500, 16)) / 2 + 0.5
    said = judge(samples)
    print(name, said.max(1).values.mean(), said.argmax(1).bincount())
    assert said.max(1).values.mean() > 0.8
    assert len(said.argmax(1).unique()) == 10


@full
def test_vae(judge: Callable[[Tensor], Tensor]) -> None:
    shown = Shown()
    trainer = build("vae")
    trainer.use([shown])
    row = trainer.fit()[-1]
    images = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    mean = images[:1500].mean(0).clamp(1e-3, 1 - 1e-3)
    without = nn.functional.binary_cross_entropy(mean.expand(297, 64), images[1500:], reduction="none").sum(1).mean()
    said = judge(shown.items["digits"].pixels)
    print(row, without, said.max(1).values.mean(), said.argmax(1).bincount())
    assert row["val_loss"] < without - 3, "an image costs less than without a code"
    assert row["val_kl"] > 2
    assert trainer.plugins["kl"].weight == 1
    assert said.max(1).values.mean() > 0.7
    assert len(said.argmax(1).unique()) == 10


@full
def test_svm_is_at_the_minimum_that_scikit_learn_finds() -> None:
    module = load_script(ROOT / "examples" / "svm.py")
    shown = Shown()
    trainer = build("svm")
    trainer.use([shown])
    row = trainer.fit()[-1]
    places, signs = module.points()
    best = SVC(C=1 / (module.RATE * len(places)), kernel="linear").fit(places.numpy(), signs[:, 0].numpy())

    def objective(weight: Tensor, bias: Tensor) -> float:
        return float(module.hinge(places @ weight.T + bias, signs) + module.RATE / 2 * weight.square().sum())

    least = objective(torch.tensor(best.coef_).float(), torch.tensor(best.intercept_).float())
    reached = objective(*(p.detach() for p in trainer.model.parameters()))
    print(row, reached, least)
    assert least - 1e-4 < reached < 1.01 * least
    assert row["accuracy"] > 0.95
    assert shown.items["boundary"].figure.axes[0].get_title() == "epoch 40"


@full
def test_quadratic() -> None:
    trainer, row = ran("quadratic")
    assert torch.allclose(trainer.model.place, torch.tensor([5.0, 0.0, 1.0]), atol=1e-3)
    assert row["distance"] < 1e-3


@full
def test_all_five_optimizers_find_a_minimum_of_himmelblaus_function() -> None:
    trainer = build("himmelblau")
    shown = Shown()
    trainer.use([shown])
    row = trainer.fit()[-1]
    losses = {name: value for name, value in row.items() if name.endswith("_loss")}
    print(losses)
    assert len(losses) == 5
    assert max(losses.values()) < 0.01
    found = {name: tuple(place.detach().round().int().tolist()) for name, place in trainer.model.places.items()}
    assert found == {"sgd": (4, -2), "momentum": (4, -2), "adagrad": (3, 2), "rmsprop": (3, 2), "adam": (3, 2)}
    lines = shown.items["paths"].figure.axes[0].lines
    ends = {line.get_label(): tuple(round(float(values[-1])) for values in line.get_data()) for line in lines}
    assert ends == found


@full
def test_diabetes() -> None:
    trainer, _ = ran("diabetes")
    assert trainer.evaluate()["test_r2"] > 0.5


@full
@pytest.mark.timeout(600)
def test_characters() -> None:
    trainer = build("characters")
    shown = Shown()
    trainer.use([shown])
    row = trainer.fit()[-1]
    print(row, shown.items["written"].text, sep="\n")
    assert row["val_bits"] < 2.2
    assert len(shown.items["written"].text) == 201


@full
def test_memory_that_is_carried_on() -> None:
    assert ran("carried")[1]["val_accuracy"] > 0.99
    assert ran("carried", carry=False)[1]["val_accuracy"] < 0.65


@full
def test_several() -> None:
    row = ran("several")[1]
    assert row["val_sum_accuracy"] > 0.87
    assert row["val_greater_accuracy"] > 0.96


@full
def test_lbfgs_is_where_scikit_learn_is() -> None:
    module = load_script(ROOT / "examples" / "lbfgs.py")
    trainer, row = ran("lbfgs")
    inputs, targets = module.data()
    best = LogisticRegression(C=1 / (module.RATE * len(inputs)), tol=1e-8, max_iter=1000).fit(inputs.numpy(), targets[:, 0].numpy())
    assert row["epoch"] < 10
    assert torch.allclose(trainer.model.weight, torch.tensor(best.coef_), atol=1e-3)


@full
def test_adversarial_training_withstands_attacks() -> None:
    defended, open_ = ran("adversarial")[1], ran("adversarial", defend=False)[1]
    assert defended["val_robust_accuracy"] > open_["val_robust_accuracy"] + 0.15
    assert defended["val_accuracy"] > 0.92


@full
def test_projected_descent_shows_what_adam_does_wrong() -> None:
    assert ran("projected")[0].model.x.item() < -0.95
    assert ran("projected", amsgrad=False)[0].model.x.item() > 0.95


@full
def test_appearances_are_known_to_another_network() -> None:
    trainer, row = ran("appearance")
    module = load_script(ROOT / "examples" / "appearance.py")
    set_seed(1)
    another = module.classifier().eval()
    with torch.no_grad():
        said = another(trainer.model.pixels).argmax(1)
    assert row["certainty"] > 0.8
    assert int((said == torch.arange(10)).sum()) >= 8


@full
def test_sam_finds_a_flatter_minimum() -> None:
    def rise(trainer: Trainer) -> float:
        """By how much the loss rises at a distance of 0.1, uphill."""
        module = load_script(ROOT / "examples" / "sam.py")
        inputs, targets = trainer.train_data
        params, losses = list(trainer.model.parameters()), []
        for _ in range(2):
            trainer.model.zero_grad()
            loss = nn.functional.cross_entropy(trainer.model(inputs), targets)
            loss.backward()
            losses.append(loss.item())
            module.climb(params, module.taken(params), 0.1)
        return losses[1] - losses[0]

    (flat, row), (sharp, _) = ran("sam"), ran("sam", rho=0.0)
    assert row["val_accuracy"] > 0.93
    assert rise(flat) < 0.8 * rise(sharp)


def test_sam_without_a_radius_is_plain_descent_in_windows_too() -> None:
    def weights(*without: str) -> list[Tensor]:
        trainer = build("sam", rho=0.0)
        trainer.use(without)
        trainer.accumulate = 2
        trainer.fit(epochs=1, limit_batches=5)
        return [p.detach() for p in trainer.model.parameters()]

    for mine, plain in zip(weights(), weights("no:sam"), strict=True):
        torch.testing.assert_close(mine, plain)


@full
def test_reinforce_balances_the_pole() -> None:
    assert ran("reinforce")[1]["val_length"] > 195


def test_every_example_has_an_outcome() -> None:
    said = Path(__file__).read_text().split("# what they reach", 1)[1]
    assert [path.name for path in EXAMPLES if f'"{path.stem}"' not in said] == []

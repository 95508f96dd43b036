"""Makes the pictures of the documentation, from real runs: python docs/pictures.py FOLDER.

What the plugins show is written by `show-files`; the newest of each name is copied as NAME.png, and tables and words as they are. Every
example is run, and has the picture that it shows itself, or else its curves. A picture that is missing, or of one colour, is an error.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor, nn

from fit_core import State, Trainer, hookimpl
from fit_core.modes import set_seed
from fit_core.script import load_script
from fit_vis import imaging

EXPECTED = (
    "activations-0",
    "class_appearance",
    "curves",
    "feature_maps-0",
    "filters",
    "saliency",
    "train_batch",
    "val_best_samples",
    "val_confusion",
    "val_embedding",
    "val_pictures",
    "val_precision_recall_curve",
    "val_roc_curve",
    "val_worst_samples",
    "tumours-val_precision_recall_curve",
    "tumours-val_roc_curve",
)
EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
SHOWN = {"appearance": "appearance", "gan": "samples", "himmelblau": "paths", "svm": "boundary", "vae": "digits", "wgan_gp": "samples"}
"""What examples show themselves."""
DIGITS = (
    "activations:histograms=true,layers=*",
    "class-appearance:every=20 epochs",
    "confusion-matrix",
    "curves",
    "embedding:layer=5,avg_pool=2",
    "feature-maps",
    "filters",
    "gradients",
    "model-summary",
    "precision-recall-curve",
    "roc-curve",
    "saliency",
    "train-batch",
    "worst-samples",
)


class Shift:
    """Moves training pictures by one pixel at random, in all directions."""

    @hookimpl
    def on_batch_start(self, trainer: Trainer, state: State) -> None:
        """Move the batch."""
        across, down = torch.randint(-1, 2, (2,), generator=trainer.generator(self)).tolist()
        state.inputs = state.inputs.roll((down, across), (2, 3))


def digits(folder: Path) -> None:
    """Train a small CNN on scikit-learn's digits."""
    data = load_digits()
    images, labels = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(512, 10),
    )  # fmt: skip
    grid = imaging.FromState("inputs").on_val().cache(32).make_grid(columns=8).show("val_pictures")
    train(folder, model, nn.CrossEntropyLoss(), (images, labels), [*DIGITS, grid, Shift()], epochs=20)


def tumours(folder: Path) -> None:
    """Train a small network on scikit-learn's breast cancer data: an event, malignant or not."""
    data = load_breast_cancer()
    samples = torch.tensor(data.data, dtype=torch.float32)
    samples = (samples - samples.mean(0)) / samples.std(0)
    labels = torch.tensor(data.target == 0, dtype=torch.float32)[:, None]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 1))
    train(folder, model, nn.BCEWithLogitsLoss(), (samples, labels), ["roc-curve", "precision-recall-curve"], epochs=30)


def train(folder: Path, model: nn.Module, loss_fn: nn.Module, data: tuple[Tensor, Tensor], plugins: list[object], epochs: int) -> None:
    """Train on a tenth of the data, so that there are mistakes to look at, and show."""
    order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(0))
    cut = len(order) // 10
    parts = [(data[0][chosen], data[1][chosen]) for chosen in (order[:cut], order[cut:])]
    metrics = ["accuracy"] if data[1].dim() == 1 else []
    optimizer = partial(torch.optim.AdamW, lr=0.005)
    shown = ["show-files", "lr:schedule=cosine"]
    with Trainer(model, loss_fn, optimizer, metrics=metrics, plugins=[*shown, *plugins], run_dir=folder, seed=0, quiet=True) as trainer:
        trainer.fit(*parts, epochs=epochs)


def example(script: Path, run: Path, folder: Path) -> None:
    """Run an example as it is, and copy its picture."""
    set_seed(0)
    trainer = load_script(script).build_trainer()
    trainer.run_dir = run
    trainer.seeded(0, given=True)
    trainer.use(["show-files", "curves", "samples", "no:console"] if "gan" in script.stem else ["show-files", "curves", "no:console"])
    with trainer:
        trainer.fit()
    newest = sorted((run / "shown" / SHOWN.get(script.stem, "curves")).glob("*.png"))[-1]
    shutil.copy(newest, folder / f"{script.stem}.png")


def collect(run: Path, folder: Path, prefix: str = "") -> None:
    """Copy the newest file of each name and kind."""
    for file in sorted((run / "shown").glob("**/*.*")):
        name = "-".join(file.parent.relative_to(run / "shown").parts)
        if file.suffix in (".png", ".md", ".json") and not file.parent.name.startswith("step-"):  # those are of an embedding
            shutil.copy(file, folder / f"{prefix}{name}{file.suffix}")


def check(folder: Path) -> None:
    """Look whether every picture is there, and shows something."""
    for name in (*EXPECTED, *(script.stem for script in EXAMPLES)):
        pixels = np.asarray(Image.open(folder / f"{name}.png").convert("L"))
        if pixels.std() < 5:
            sys.exit(f"{name}.png shows nothing")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        for prefix, run in {"": digits, "tumours-": tumours}.items():
            run(Path(place) / run.__name__)
            collect(Path(place) / run.__name__, target, prefix)
        for script in EXAMPLES:
            example(script, Path(place) / script.stem, target)
    check(target)

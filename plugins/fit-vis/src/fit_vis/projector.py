"""Vectors as files that TensorBoard's projector and projector.tensorflow.org read."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from torch import Tensor

from fit_core.items import Embedding
from fit_vis.numbers import floats
from fit_vis.pixels import as_bytes, write_png
from fit_vis.places import replaced

LARGEST = 8192
"""Pixels of the side of the largest picture that a browser's graphics card takes."""
CONFIG = "projector_config.pbtxt"
ENTRY = "entry.pbtxt"


def add_to_projector(root: Path, name: PurePosixPath, step: int, item: Embedding, begun: float) -> None:
    """Write vectors into a folder of their own, and name them in the configuration beside it.

    Args:
        root: where TensorBoard looks for the configuration.
        name: of the folder below `root/projector`, and in the projector.
        step: likewise.
        item: what to show.
        begun: when the run began to write, in seconds since the Unix epoch: it tells what this run shows from what others do.
    """
    where = PurePosixPath("projector") / name / f"step-{step:08}"
    side = write_embedding(root / where, item)
    (root / where / ENTRY).write_text(owned(begun) + entry(where, f"{name} {step}", item.labels is not None, side))
    configure(root)


def configure(root: Path) -> None:
    """Write the configuration anew, of everything that there is: of each name the newest first, which is what the projector shows."""
    newest_first = sorted((root / "projector").glob(f"**/{ENTRY}"), reverse=True)
    texts = (path.read_text() for path in sorted(newest_first, key=lambda path: path.parent.parent))
    text = "".join(text.partition("\n")[2] for text in texts)  # without the line that says whose it is
    replaced(root / CONFIG, lambda draft: draft.write_text(text))


def forget_after(root: Path, step: int, begun: float) -> None:
    """Remove what a run showed after a step."""
    own = [path.parent for path in root.glob(f"projector/**/{ENTRY}") if path.read_text().startswith(owned(begun))]
    late = [folder for folder in own if int(folder.name.removeprefix("step-")) > step]
    for folder in late:
        shutil.rmtree(folder)
    if late:
        configure(root)


def owned(begun: float) -> str:
    """Return the comment with which the entry of a run begins."""
    return f"# run {begun:.6f}\n"


def entry(where: PurePosixPath, name: str, labels: bool, side: int | None) -> str:
    """Return what the configuration says of one folder.

    Args:
        where: the folder, relative to the configuration.
        name: in the projector.
        labels: whether there are some.
        side: of thumbnails; None if there are none.
    """
    lines = [f'tensor_name: "{name}"', f'tensor_path: "{where}/vectors.tsv"']
    if labels:
        lines.append(f'metadata_path: "{where}/labels.tsv"')
    if side is not None:
        lines.append(f'sprite {{ image_path: "{where}/sprite.png" single_image_dim: {side} single_image_dim: {side} }}')
    return "".join(["embeddings {\n", *(f"  {line}\n" for line in lines), "}\n"])


def write_embedding(folder: Path, item: Embedding) -> int | None:
    """Write vectors as `vectors.tsv`, labels as `labels.tsv` and thumbnails as `sprite.png`; return the side of a thumbnail."""
    folder.mkdir(parents=True, exist_ok=True)
    if item.labels is not None:
        write_labels(folder / "labels.tsv", item.labels)
    side = None if item.pictures is None else write_sprite(folder / "sprite.png", item.pictures)
    np.savetxt(folder / "vectors.tsv", floats(item.vectors), fmt="%.9g", delimiter="\t")
    return side


def write_labels(path: Path, labels: Tensor | Sequence[str]) -> None:
    """Write a label to a line; tabs and line ends in it become spaces."""
    values = labels.tolist() if isinstance(labels, Tensor) else labels
    path.write_text("".join(" ".join(str(label).split()) + "\n" for label in values))


def write_sprite(path: Path, pictures: Tensor) -> int:
    """Write thumbnails as one sheet of squares, row by row, and return the pixels of a square's side.

    Args:
        path: of the PNG.
        pictures: (count, channels, height, width). Those that are not square get white edges; large ones are made smaller, so that the
            sheet has 8192 pixels at most.
    """
    thumbnails = as_bytes(pictures)
    columns = math.ceil(math.sqrt(len(thumbnails)))
    side = min(max(pictures.shape[-2:]), max(1, LARGEST // columns))
    sheet = Image.new("RGB", (columns * side, columns * side), "white")
    for number, pixels in enumerate(thumbnails):
        picture = Image.fromarray(pixels)
        picture.thumbnail((side, side))
        row, column = divmod(number, columns)
        sheet.paste(picture, (column * side + (side - picture.width) // 2, row * side + (side - picture.height) // 2))
    write_png(path, np.asarray(sheet))
    return side

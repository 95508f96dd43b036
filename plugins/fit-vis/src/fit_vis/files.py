"""The files of one item: a stem and what they hold."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from fit_core.items import Embedding, Item, Text
from fit_vis.drawing import picture
from fit_vis.exact import exact
from fit_vis.pixels import write_png
from fit_vis.places import replaced
from fit_vis.projector import write_embedding

NUMBERED = re.compile(r"(.*\d{8})(?:-(\d+))?$")


def numbered(stem: str, count: int) -> str:
    """Return the stem of what is shown for the n-th time: `step-00000120`, then `step-00000120-2`."""
    return stem if count == 1 else f"{stem}-{count}"


def stems(folder: Path, prefix: str) -> list[str]:
    """Return the stems in a folder that begin so, in the order in which they were shown."""
    return sorted({stem for path in folder.glob(f"{prefix}*") if NUMBERED.match(stem := path.name.partition(".")[0])}, key=order)


def order(stem: str) -> tuple[str, int]:
    """Return what says which of two stems was shown first."""
    match = NUMBERED.match(stem)
    assert match is not None
    return match[1], int(match[2] or 1)


def shown_later(root: Path, prefix: str, last: Mapping[Path, str]) -> Iterator[tuple[Path, str]]:
    """Yield the folders and stems below a folder of what was shown after the last of its name, or of a name that has none.

    Args:
        root: what lies below it.
        prefix: what stems begin with.
        last: stems by folder.
    """
    for folder in sorted({path.parent for path in root.rglob(f"{prefix}*")}):
        for stem in stems(folder, prefix):
            if folder not in last or order(stem) > order(last[folder]):
                yield folder, stem


def remove(folder: Path, stem: str) -> None:
    """Remove the files of an item."""
    for path in (folder / stem, *folder.glob(f"{stem}.*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write(folder: Path, stem: str, item: Item) -> None:
    """Write an item: its picture, its exact numbers, its words, its vectors; what lies there already is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, numbers = picture(item), exact(item)
    if isinstance(item, Text):
        replaced(folder / f"{stem}.md", lambda draft: draft.write_text(item.text))
    if isinstance(item, Embedding):
        write_embedding(folder / stem, item)
    if numbers is not None:
        replaced(folder / f"{stem}.json", lambda draft: draft.write_text(json.dumps(numbers) + "\n"))
    if pixels is not None:
        replaced(folder / f"{stem}.png", lambda draft: write_png(draft, pixels))

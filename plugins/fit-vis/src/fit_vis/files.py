"""The files of one item: a stem and what they hold."""

from __future__ import annotations

import json
import re
import shutil
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
    found = {match[0]: match for path in folder.glob(f"{prefix}*") if (match := NUMBERED.match(path.name.partition(".")[0]))}
    return sorted(found, key=lambda stem: (found[stem][1], int(found[stem][2] or 1)))


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

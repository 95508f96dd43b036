"""Pictures as files, when nobody else shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image as Picture

from fit_core import State, hookimpl
from fit_core.items import Image, Images, Item
from fit_gan.pictures import as_bytes, grid

if TYPE_CHECKING:
    from fit_core import Trainer


class SampleFiles:
    """Writes pictures that plugins show as PNG into the folder `samples` of the run, unless another plugin shows them.

    Args:
        scale: pixels in the file for one of the picture.
    """

    def __init__(self, scale: int = 4) -> None:
        self.scale = scale

    @hookimpl
    def on_show(self, trainer: Trainer, state: State, name: str, item: Item) -> None:
        others = [actor for actor in trainer.hooks.plans["on_show"].actors if actor.member.plugin is not self]
        if others or not isinstance(item, (Image, Images)):
            return
        folder = trainer.ensure_run_dir() / "samples"
        folder.mkdir(exist_ok=True)
        pixels, columns = (item.pixels, item.columns) if isinstance(item, Images) else (item.pixels[None], 1)
        write_png(folder / f"{name}-{state.epoch:04}.png", as_bytes(grid(pixels, columns)).squeeze(-1).numpy(), self.scale)


def write_png(path: Path, pixels: Any, scale: int) -> None:
    """Write an array (height, width) or (height, width, 3) of uint8 as a PNG, magnified."""
    picture = Picture.fromarray(pixels)
    picture.resize((picture.width * scale, picture.height * scale), Picture.Resampling.NEAREST).save(path)

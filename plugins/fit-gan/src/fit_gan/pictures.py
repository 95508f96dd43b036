"""Pictures in a grid."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def grid(pixels: Tensor, columns: int | None = None, border: int = 1) -> Tensor:
    """Lay pictures out in rows.

    Args:
        pixels: (count, channels, height, width), from 0 to 1.
        columns: how many in a row; None: about a square.
        border: black pixels between them.

    Returns:
        (channels, height, width).
    """
    count, channels, height, width = pixels.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    padded = torch.zeros(rows * columns, channels, height + border, width + border)
    padded[:count, :, border:, border:] = pixels.detach().float().cpu()
    laid = padded.reshape(rows, columns, channels, height + border, width + border).permute(2, 0, 3, 1, 4)
    return torch.nn.functional.pad(laid.reshape(channels, rows * (height + border), columns * (width + border)), (0, border, 0, border))


def as_bytes(picture: Tensor) -> Tensor:
    """Return a picture (channels, height, width), from 0 to 1, as uint8 (height, width, channels)."""
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)

"""Samples as pictures: shapes, scales, grids, bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def as_pictures(
    values: Tensor, shape: Sequence[int] | None = None, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Tensor | None:
    """Return samples as pictures, without waiting for the device.

    Args:
        values: (count, channels, height, width) or (count, height, width); or anything with a shape.
        shape: (channels, height, width) of one sample.
        mean: of each channel, and `std`: what was subtracted and divided by; given one of them, the other is 0 or 1.
        std: see `mean`.

    Returns:
        (count, channels, height, width) from 0 to 1, a copy. Bytes are divided by 255. Floats without mean and std are as they are if all
        are from 0 to 1; otherwise the range of all of them, with 0 and 1, becomes 0 to 1. None if they are no pictures.
    """
    values = values.detach()
    if shape is not None:
        if math.prod(shape) * len(values) != values.numel():
            return None
        values = values.reshape(len(values), *shape)
    elif values.dim() == 3:
        values = values[:, None]
    if values.dim() != 4 or values.shape[1] not in (1, 3) or values.is_complex():
        return None
    pictures = values.float() / 255 if values.dtype == torch.uint8 else values.float()
    if mean is not None or std is not None:
        pictures = pictures * column(std or [1.0], pictures) + column(mean or [0.0], pictures)
    elif values.dtype != torch.uint8 and pictures.numel():
        low, high = pictures.amin().clamp(max=0), pictures.amax().clamp(min=1)
        pictures = (pictures - low) / (high - low)
    return pictures.clamp(0, 1)


def column(numbers: Sequence[float], like: Tensor) -> Tensor:
    """Return one number for each channel as (channels, 1, 1)."""
    return torch.tensor(list(numbers), dtype=like.dtype, device=like.device).reshape(-1, 1, 1)


def stretched(values: Tensor) -> Tensor:
    """Stretch each of several maps or pictures to 0 to 1 by its own range; one without any becomes 0.

    Args:
        values: (count, ...).
    """
    flat = values.flatten(1).float()
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    scale = torch.where(high > low, high - low, 1)
    return ((flat - low) / scale).reshape(values.shape)


def signed(values: Tensor) -> Tensor:
    """Map weights to 0 to 1 so that 0 becomes a half, by one scale for all."""
    return (values.float() / values.abs().amax().clamp(min=torch.finfo(torch.float32).tiny) + 1) / 2


def grid(pixels: Tensor, columns: int | None = None, border: int = 1) -> Tensor:
    """Lay pictures out in rows on black.

    Args:
        pixels: (count, channels, height, width), 0 to 1.
        columns: how many in a row; None: about a square.
        border: pixels between and around them.

    Returns:
        (channels, rows * (height + border) + border, columns * (width + border) + border).
    """
    count, channels, height, width = pixels.shape
    columns = min(columns or math.ceil(math.sqrt(count)), max(count, 1))
    rows = math.ceil(count / columns)
    cells = F.pad(pixels, (0, border, 0, border, 0, 0, 0, rows * columns - count))
    laid = cells.reshape(rows, columns, channels, height + border, width + border).permute(2, 0, 3, 1, 4)
    return F.pad(laid.reshape(channels, rows * (height + border), columns * (width + border)), (border, 0, border, 0))


def png(picture: Tensor) -> bytes:
    """Return a picture as the bytes of a PNG file. Waits for the device.

    Args:
        picture: (channels, height, width), one or three channels, 0 to 1.
    """
    from PIL import Image

    bytes_ = (picture.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8).permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(bytes_.squeeze(2).numpy() if bytes_.shape[2] == 1 else bytes_.numpy()).save(file, "png")
    return file.getvalue()

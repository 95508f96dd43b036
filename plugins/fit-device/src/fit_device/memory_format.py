"""Tensors of images with their channels last in memory: shapes and values are the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


def is_image(tensor: Tensor) -> bool:
    """Tell a floating tensor of four dimensions: (batch, channels, height, width), or a kernel."""
    return not is_lazy(tensor) and tensor.dim() == 4 and tensor.layout == torch.strided and tensor.is_floating_point()


def to_channels_last(tensor: Tensor) -> Tensor:
    """Return an image with its channels last; anything else as it is."""
    return tensor.contiguous(memory_format=torch.channels_last) if is_image(tensor) else tensor


def parameters_to_channels_last(module: nn.Module) -> None:
    """Change the memory format of kernels in place: parameters stay the same objects."""
    for tensor in (*module.parameters(), *module.buffers()):
        if is_image(tensor):
            tensor.data = to_channels_last(tensor.data)

"""What truths and predictions are called below pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

FEW = 8
"""How many numbers of a target or an output are said."""


def class_name(classes: Sequence[str], index: int) -> str:
    """Return the name of a class, or its number if there are no names."""
    return classes[index] if 0 <= index < len(classes) else str(index)


def guess(output: Tensor, target: Tensor) -> Tensor:
    """Return what a model says of a sample: the class of the highest score if the truth is one of several classes, else the output."""
    classes = output.dim() == target.dim() + 1 and len(output) > 1 and not target.is_floating_point()
    return output.argmax(0) if classes else output


def labels(targets: Tensor, classes: Sequence[str]) -> list[str]:
    """Return what to call each of several targets, (count, ...). Waits for the device, once."""
    if targets.dim() == 1 and not targets.is_floating_point():
        return [class_name(classes, index) for index in targets.tolist()]
    return [said(target, classes) for target in targets.cpu()]


def said(value: Tensor, classes: Sequence[str]) -> str:
    """Say a class, a number, a few numbers, or a shape."""
    if value.dim() == 0 and not value.is_floating_point():
        return class_name(classes, int(value))
    if value.numel() > FEW:
        return f"{'x'.join(map(str, value.shape))} numbers"
    numbers: Any = value.flatten().tolist()
    return ", ".join(f"{number:.3g}" for number in numbers)

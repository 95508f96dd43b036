"""What figures are made of: bins, classes, principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


class Bins(NamedTuple):
    """How often values lie where.

    Attributes:
        counts: (bins,).
        edges: (bins + 1,), rising.
        left_out: how many values are not finite.
    """

    counts: NDArray[np.int64]
    edges: Floats
    left_out: int


def floats(values: Tensor) -> Floats:
    """Return a tensor of any type as an array of the same shape."""
    return values.detach().cpu().double().numpy()


def binned(values: Tensor, bins: int) -> Bins:
    """Count values in bins of equal width, from the smallest to the largest that is finite.

    Args:
        values: any shape and type.
        bins: how many. Without a finite value all are empty, between 0 and 1.
    """
    found = floats(values).ravel()
    finite = found[np.isfinite(found)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    room = max(abs(low), abs(high), 1e-300) * 1e-12 * bins
    if high - low < room:  # bins would be narrower than numbers are apart
        half = max(abs(low), 1.0) / 2
        low, high = low - half, high + half
    counts, edges = np.histogram(finite / 2, bins, (low / 2, high / 2))  # halves: the span of the largest floats is not finite
    return Bins(counts.astype(np.int64), edges * 2, int(found.size - finite.size))


def classes(labels: Tensor | Sequence[str] | None, count: int) -> tuple[NDArray[np.int64], list[str]]:
    """Return the number of the class of each point, and the names of classes in order; one without a name if there are no labels."""
    if labels is None:
        return np.zeros(count, np.int64), [""]
    values = np.asarray(labels.detach().cpu().tolist() if isinstance(labels, Tensor) else list(labels))
    names, numbers = np.unique(values, return_inverse=True)
    return numbers.astype(np.int64), [str(name) for name in names.tolist()]


def principal(vectors: Tensor, components: int = 2) -> Tensor:
    """Return the coordinates of vectors along the directions in which they vary most.

    Args:
        vectors: (count, dimensions).
        components: how many; where there are fewer dimensions, the others are zero.

    Returns:
        (count, components) in float64; the sign of each component is such that its largest coordinate is positive.
    """
    centered = vectors.detach().cpu().double()
    centered = centered - centered.mean(0)
    wide = centered.shape[1] > centered.shape[0]
    values, found = torch.linalg.eigh(centered @ centered.T if wide else centered.T @ centered)  # the smaller of the two
    top = found.flip(1)[:, :components]
    places = top * values.flip(0)[:components].clamp(min=0).sqrt() if wide else centered @ top
    largest = places.gather(0, places.abs().argmax(0, keepdim=True))
    places = places * torch.where(largest < 0, -1.0, 1.0)
    return torch.nn.functional.pad(places, (0, components - places.shape[1]))

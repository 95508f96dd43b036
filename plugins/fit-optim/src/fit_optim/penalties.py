"""Penalties on the size of weights: functions of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def power_penalty(weights: Sequence[Tensor], p: float) -> Tensor:
    """Return `sum(|w|^p) / p` over all elements of all weights.

    Its gradient is `sign(w) |w|^(p - 1)`: the weights themselves for p=2, their signs for p=1.
    """
    return _total([w.abs().pow(p).sum() for w in weights]) / p


def norm_penalty(weights: Sequence[Tensor], p: float) -> Tensor:
    """Return the sum of the p-norms of the weights: not squared, and one norm for each tensor."""
    return _total([torch.linalg.vector_norm(w, p) for w in weights])


def _total(parts: Sequence[Tensor]) -> Tensor:
    device = parts[0].device
    return torch.stack([part.to(device) for part in parts]).sum()

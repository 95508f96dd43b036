"""The norm of an update's gradients, computed once for all who look at it."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

kind_of = attrgetter("dtype", "device", "layout", "requires_grad")
"""What gradients have in common that torch can take together."""
version_of = attrgetter("_version")


class GradientNorm:
    """The Euclidean norm of gradients, kept as long as nobody changes one of them.

    What changes a gradient is seen by its version counter, as autograd sees it.

    Attributes:
        is_wanted: whether anybody has asked for it in this call of `fit`: the guard looks at it then, instead of at the gradients.
    """

    __slots__ = ("_gradients", "_norm", "_versions", "is_wanted")

    def __init__(self) -> None:
        self.is_wanted = False
        self.forget()

    def forget(self) -> None:
        """Keep nothing, not even the gradients."""
        self._gradients: list[Tensor] = []
        self._versions: list[int] = []
        self._norm: Tensor | None = None

    def of(self, gradients: list[Tensor]) -> Tensor:
        """Return the norm of all gradients together, a tensor without dimensions."""
        versions = list(map(version_of, gradients))
        if self._norm is None or versions != self._versions or list(map(id, gradients)) != list(map(id, self._gradients)):
            self._norm, self._gradients, self._versions = norm_of(gradients), gradients, versions
        return self._norm


def norm_of(gradients: list[Tensor], norm_type: float = 2.0) -> Tensor:
    """Do what torch's `get_total_norm` does, to the bit; in half the time for gradients that are alike."""
    if not are_alike(gradients):
        return get_total_norm(gradients, norm_type)
    total: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, norm_type)), norm_type)
    return total


def are_alike(gradients: Sequence[Tensor]) -> bool:
    """Tell whether torch can take them together: dense ones of one dtype, on one device, that want no gradient themselves."""
    kinds = set(map(kind_of, gradients))
    return len(kinds) == 1 and kinds.pop()[2:] == (torch.strided, False)

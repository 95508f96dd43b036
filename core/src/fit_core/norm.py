"""The norm of an update's gradients, computed once for the guard and for those who ask for it when a step begins."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, is_

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

kind_of = attrgetter("dtype", "device", "layout", "requires_grad")
"""What gradients have in common that torch can take together."""
version_of = attrgetter("_version")


class GradientNorm:
    """The Euclidean norm of gradients: the guard's, from its look on until somebody may have changed them.

    The plan forgets it after each implementation of `on_step_start` that may change gradients. What one changes and asks for in
    the same breath is seen by the version counters, as autograd sees it.

    Attributes:
        is_wanted: whether anybody has asked for it in this call of `fit`: the guard looks at it then, instead of at the gradients.
    """

    __slots__ = ("_gradients", "_norm", "_versions", "is_wanted")

    def __init__(self) -> None:
        self.is_wanted = False
        self.forget()

    def forget(self) -> None:
        """Keep nothing, not even the gradients."""
        self._norm: Tensor | None = None
        self._gradients: list[Tensor] = []
        self._versions: list[int] = []

    def keep(self, gradients: list[Tensor]) -> Tensor | None:
        """Compute the norm of all gradients together, and keep it; None if they are not alike, or have no version counters."""
        if not are_alike(gradients) or any(map(Tensor.is_inference, gradients)):
            self.forget()
            return None
        self._norm, self._gradients = _norm_of_alike(gradients, 2.0), gradients
        self._versions = list(map(version_of, gradients))
        return self._norm

    def of(self, gradients: list[Tensor]) -> Tensor:
        """Return what is kept of these gradients, else compute it: a tensor without dimensions, not to be written to."""
        self.is_wanted = True
        is_kept = self._norm is not None and len(gradients) == len(self._gradients) and all(map(is_, gradients, self._gradients))
        if self._norm is not None and is_kept and list(map(version_of, gradients)) == self._versions:
            return self._norm
        return norm_of(gradients, 2.0)


def norm_of(gradients: list[Tensor], norm_type: float) -> Tensor:
    """Do what torch's `get_total_norm` does, to the bit; in half the time for gradients that are alike."""
    return _norm_of_alike(gradients, norm_type) if are_alike(gradients) else get_total_norm(gradients, norm_type)


def _norm_of_alike(gradients: list[Tensor], norm_type: float) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, norm_type)), norm_type)
    return norm


def are_alike(gradients: Sequence[Tensor]) -> bool:
    """Tell whether torch can take them together: dense ones of one dtype, on one device, that want no gradient themselves."""
    kinds = set(map(kind_of, gradients))
    return len(kinds) == 1 and kinds.pop()[2:] == (torch.strided, False)

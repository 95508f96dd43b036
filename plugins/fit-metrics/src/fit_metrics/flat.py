"""Values of several numbers, each with a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch

from fit_core.errors import FitError


def flat(name: str, value: Any) -> dict[str, float]:
    """Return the elements of a value as numbers: of a vector `name_0`, of a matrix `name_0_0`, of a mapping `name_key`.

    Raises:
        FitError: it is no nest of numbers.
    """
    if isinstance(value, Mapping):
        return {each: number for key, one in value.items() for each, number in flat(f"{name}_{key}", one).items()}
    try:
        found = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise FitError(f"metric {name!r} gave {type(value).__name__}, which is no number, array or mapping of numbers") from None
    return {"_".join([name, *map(str, place)]): float(found[place]) for place in product(*map(range, found.shape))}

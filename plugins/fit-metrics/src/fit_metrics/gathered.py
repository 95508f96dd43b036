"""What can only be computed with everything at hand: tensors of a whole pass, gathered on the CPU in bounded memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from fit_core.errors import FitError
from fit_metrics.aggregates import Kept, Observed, Value

CHUNK = 2**22
"""How many bytes wait on the device before they are sent to the CPU at once."""
LIMIT = 2**30
"""How many bytes are gathered at most, if nothing else is said."""


class Gathered:
    """Tensors of all batches, joined along their first dimension on the CPU.

    Args:
        limit: how many bytes at most.
        what: who gathers, for the error.
    """

    def __init__(self, limit: int = LIMIT, what: str = "a metric") -> None:
        self.limit, self.what = limit, what
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._waiting: list[tuple[Tensor, ...]] = []
        self._parts: list[tuple[Tensor, ...]] = []
        self._bytes = self._sent = 0
        self._devices: set[torch.device] = set()

    def add(self, *tensors: Tensor) -> None:
        """Take in tensors of a batch, the same number each time.

        Raises:
            FitError: it is more than the limit allows.
        """
        self._bytes += sum(tensor.nbytes for tensor in tensors)
        if self._bytes > self.limit:
            raise FitError(
                f"{self.what} would gather more than {self.limit / 2**20:,.0f} MB of outputs and targets; "
                "allow more (max_bytes=), evaluate on less data (limit_batches=), or use a metric that need not gather"
            )
        for tensor, first in zip(tensors, (self._waiting or self._parts or [tensors])[0], strict=True):
            if tensor.shape[1:] != first.shape[1:]:
                raise FitError(
                    f"{self.what} cannot join batches of shapes {tuple(first.shape)} and {tuple(tensor.shape)}; "
                    "use a metric that looks at samples one by one"
                )
        self._waiting.append(tuple(tensor.detach().clone() for tensor in tensors))
        if self._bytes - self._sent >= CHUNK:
            self._send()

    def merge(self, other: Gathered) -> None:
        """Take in what another one has seen after it."""
        for part in [*other._parts, *other._waiting]:
            self.add(*part)

    def joined(self) -> tuple[Tensor, ...]:
        """Return everything; an empty tuple if there was nothing. Waits for the device."""
        self._send()
        for device in self._devices:
            torch.cuda.synchronize(device)
        return tuple(map(torch.cat, zip(*self._parts, strict=True))) if self._parts else ()

    def state_dict(self) -> dict[str, Any]:
        """Return everything. Waits for the device."""
        return {"joined": list(self.joined())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.reset()
        if state["joined"]:
            self.add(*state["joined"])

    def _send(self) -> None:
        if self._waiting:
            self._devices |= {each.device for each in self._waiting[0] if each.device.type == "cuda"}
            self._parts.append(tuple(sent(torch.cat(each)) for each in zip(*self._waiting, strict=True)))
            self._waiting, self._sent = [], self._bytes


def sent(tensor: Tensor) -> Tensor:
    """Return a tensor on its way to the CPU, into pinned memory, so that nothing waits for it."""
    if tensor.device.type == "cpu":
        return tensor
    place = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.device.type == "cuda")
    return place.copy_(tensor, non_blocking=True)


class Quantile(Kept):
    """A quantile of all values, with linear interpolation; they are gathered.

    Args:
        q: which, 0 to 1.
        max_bytes: how much is gathered at most.

    Raises:
        FitError: `q` is not between 0 and 1.
    """

    costly = True

    def __init__(self, q: float, max_bytes: int = LIMIT) -> None:
        if not 0 <= q <= 1:
            raise FitError(f"q must be between 0 and 1, not {q}")
        self.q = q
        self.suffix = f"_q{q * 100:g}"
        self.values = Gathered(max_bytes, f"the quantile {q:g}")

    def reset(self) -> None:
        """Forget everything."""
        self.values.reset()

    def add(self, seen: Observed) -> None:
        """Take in what was observed."""
        values = seen.values
        counted = torch.ones_like(values, dtype=torch.bool) if seen.weights is None else seen.weights.expand_as(values) != 0
        self.values.add(values.flatten(), counted.flatten())  # choosing here would wait

    def merge(self, other: Quantile) -> None:
        """Take in what another one has seen."""
        self.values.merge(other.values)

    def compute(self) -> Value:
        """Return the quantile. Waits for the device."""
        found = self.values.joined()
        values = found[0][found[1]].double().sort().values if found else torch.empty(0)
        if not len(values) or values[-1].isnan():
            return math.nan
        place = self.q * (len(values) - 1)
        low, high = values[math.floor(place)], values[math.ceil(place)]
        return float(low + (high - low) * (place - math.floor(place)))

    def state_dict(self) -> dict[str, Any]:
        """Return everything. Waits for the device."""
        return self.values.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.values.load_state_dict(state)

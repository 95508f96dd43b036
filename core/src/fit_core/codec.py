"""State as JSON and tensors: what JSON cannot hold is tagged, so that decoding gives back the same values of the same types.

`{"$tuple": [...]}` is a tuple, `{"$tensor": name}` a tensor that lies in a file beside, and so on. A dict of text is itself, unless a
key begins with the mark. Nothing is ever unpickled.
"""

from __future__ import annotations

import base64
import math
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fit_core.errors import FitError
from fit_core.weights import check_savable, own_memory

MARK = "$"


class Encoder:
    """Turns values into what JSON can hold.

    Attributes:
        tensors: those that were met, by the name they are saved under.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._storages: set[int] = set()

    def encode(self, value: Any, where: str) -> Any:
        """Return a value as JSON.

        Args:
            value: nested in any way.
            where: what an error calls it.

        Raises:
            FitError: it holds something that cannot be saved; the message says what and where.
        """
        kind = type(value)
        if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
            return value
        if kind is list:
            return [self.encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if kind is dict and all(type(key) is str and not key.startswith(MARK) for key in value):
            return {key: self.encode(item, f"{where}[{key!r}]") for key, item in value.items()}
        if kind in PAIRS:
            return {PAIRS[kind]: [[self.encode(k, f"a key of {where}"), self.encode(v, f"{where}[{k!r}]")] for k, v in value.items()]}
        if kind in ITEMS:
            return {ITEMS[kind]: [self.encode(item, f"{where}[{i}]") for i, item in enumerate(value)]}
        if kind in (Tensor, torch.nn.Parameter):
            return self._tensor(value, where)
        if kind in TEXTS:
            tag, write = TEXTS[kind]
            return {tag: write(value)}
        numpy: Any = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)) and value.dtype.kind in "biufc":
            array = numpy.ascontiguousarray(value)
            tag = "$array" if kind is numpy.ndarray else "$scalar"
            return {tag: [value.dtype.str, list(value.shape), base64.b64encode(array.tobytes()).decode()]}
        raise FitError(
            f"cannot save {where}: it is {kind.__module__}.{kind.__qualname__}; return numbers, text, tensors and nestings of them"
        )

    def _tensor(self, value: Tensor, where: str) -> dict[str, Any]:
        if value.layout == torch.sparse_coo:
            value = value.detach()
            parts = [self._tensor(part, f"{where}.{name}") for name, part in (("indices", value._indices()), ("values", value._values()))]
            return {"$sparse": [*parts, list(value.shape), value.is_coalesced()]}
        check_savable(value, where)
        name = where
        while name in self.tensors:
            name += "'"
        storage = value.untyped_storage().data_ptr()
        self.tensors[name] = own_memory(value, shared=storage in self._storages)
        self._storages.add(storage)
        if value.is_contiguous() or not _is_dense(value):
            return {"$tensor": name}
        return {"$strided": [name, list(value.stride())]}  # the order of memory is that of sums


def _is_dense(value: Tensor) -> bool:
    """Tell whether a tensor fills its memory without gap or overlap, in whatever order of its dimensions."""
    expected = 1
    for stride, size in sorted(zip(value.stride(), value.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the value that was encoded.

    Args:
        value: as `Encoder.encode` returned it, or JSON gives it back.
        tensors: by the names that the encoder gave them.
    """
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if not tag.startswith(MARK):
        return {key: decode(item, tensors) for key, item in value.items()}
    content = value[tag]
    if tag == "$tensor":
        return tensors[content]
    if tag == "$strided":
        laid_out = tensors[content[0]]
        return torch.empty_strided(laid_out.shape, content[1], dtype=laid_out.dtype).copy_(laid_out)
    if tag == "$sparse":
        indices, values, shape, coalesced = content
        parts = decode(indices, tensors), decode(values, tensors)
        return torch.sparse_coo_tensor(*parts, shape, is_coalesced=coalesced, check_invariants=True)
    if tag in FROM_PAIRS:
        return FROM_PAIRS[tag]((decode(k, tensors), decode(v, tensors)) for k, v in content)
    if tag in FROM_ITEMS:
        return FROM_ITEMS[tag](decode(item, tensors) for item in content)
    if tag in FROM_TEXT:
        return FROM_TEXT[tag](content)
    return _array(tag, *content)


def _array(tag: str, dtype: str, shape: list[int], text: str) -> Any:
    import numpy

    array = numpy.frombuffer(base64.b64decode(text), dtype=dtype).reshape(shape).copy()
    return array if tag == "$array" else array.reshape(())[()]


def _counter(pairs: Any) -> Counter[Any]:
    return Counter(dict(pairs))


PAIRS: dict[type, str] = {dict: "$dict", OrderedDict: "$ordered", Counter: "$counter"}
"""Mappings, written as pairs: of keys and values of any type, in their order."""
ITEMS: dict[type, str] = {tuple: "$tuple", set: "$set", frozenset: "$frozenset", torch.Size: "$size"}
"""Collections, written as lists."""
TEXTS: dict[type, tuple[str, Callable[[Any], str]]] = {
    float: ("$float", repr),  # nan, inf and -inf
    complex: ("$complex", repr),
    bytes: ("$bytes", lambda value: base64.b64encode(value).decode()),
    torch.dtype: ("$dtype", lambda value: str(value).removeprefix("torch.")),
    torch.device: ("$device", str),
}
"""Single values, written as text."""
FROM_PAIRS: dict[str, Callable[[Any], Any]] = {"$dict": dict, "$ordered": OrderedDict, "$counter": _counter}
FROM_ITEMS: dict[str, Callable[[Any], Any]] = {"$tuple": tuple, "$set": set, "$frozenset": frozenset, "$size": torch.Size}
FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "$float": float,
    "$complex": complex,
    "$bytes": base64.b64decode,
    "$dtype": lambda text: getattr(torch, text),
    "$device": torch.device,
}

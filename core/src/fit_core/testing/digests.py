"""The state of a trainer as digests by readable paths: what two runs are compared by."""

from __future__ import annotations

import ctypes
import hashlib
import random
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Set
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fit_core.cadence import Every
from fit_core.capture import capture
from fit_core.optimizers import parameters_of
from fit_core.saving import SaveLast
from fit_core.testing.differences import HASHED

if TYPE_CHECKING:
    from fit_core.trainer import Trainer

Leaves = dict[str, dict[str, str]]
LONGEST = 60
"""Characters of a value that is kept as it is."""
SCALARS = (bool, int, float, complex, str, type(None))
SINGLE = (torch.float32, torch.float64, torch.int64, torch.int32, torch.bool)
"""Types of tensors of which a single element is kept as it is."""


def leaves(trainer: Trainer, without: str = "") -> Leaves:
    """Return what a checkpoint would hold, by kind and readable path; clocks, and who keeps which checkpoint, are left out.

    Args:
        trainer: at a safe point.
        without: a plugin that is left out.
    """
    captured = capture(trainer)
    core, call = captured["core"], captured["call"] or {}
    found: Leaves = {"tensor": {}, "call": {name: digest(core[name]) for name in ("seed", "streams", "batch_count")}}
    for file, module in trainer.named_modules().items():
        found["tensor"] |= {f"{file} {name}": digest(value) for name, value in module.state_dict().items()}
    found["setting"], found["moment"], found["window"] = _updates(trainer, core["updates"], call.get("open", {}))
    found["history"] = _history(core["history"])
    found["plugin"] = _plugins(trainer, {n: own for n, own in captured["plugins"].items() if n not in left_out(trainer, without)})
    for kind, part in _call(core, call).items():
        found[kind] = found.get(kind, {}) | part
    return found


def left_out(trainer: Trainer, without: str) -> set[str]:
    """Return the plugins whose state is left out: those that keep checkpoints, of which an interruption makes one more."""
    return {SaveLast.name, *trainer.checkpoints._held, without}


def _updates(trainer: Trainer, saved: Mapping[str, Any], windows: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    """Return options, state and open gradients of every optimizer, each by the name of its parameter."""
    modules = trainer.named_modules()
    names = {id(p): name if file == "model" else f"{file}.{name}" for file in modules for name, p in modules[file].named_parameters()}
    settings, moments, open_ = dict[str, str](), dict[str, str](), dict[str, str]()
    for name, update in trainer.updates.items():
        settings |= {f"{name} steps": digest(update.steps), f"{name} last lr": digest(saved[name]["lr"])}
        for number, (optimizer, state) in enumerate(zip(update.optimizers, saved[name]["optimizers"], strict=True)):
            who = name if len(update.optimizers) == 1 else f"{name}[{number}]"
            known = [names.get(id(p), f"parameter {i}") for i, p in enumerate(parameters_of(optimizer))]
            for place, group in enumerate(state["param_groups"]):
                of = f" of group {place}" if len(state["param_groups"]) > 1 else ""
                settings |= {f"{who} {key}{of}": digest(value) for key, value in group.items() if key not in ("params", "param_names")}
            for parameter, values in state["state"].items():
                which = known[parameter] if isinstance(parameter, int) else str(parameter)
                moments |= {f"{who} {key} of {which}": told for key, told in flat(values)}
        opened = windows.get(name, {"window": {}, "gradients": {}})
        known = [names.get(id(p), f"parameter {i}") for i, p in enumerate(update.params)]
        open_ |= {f"{name} {key}": told for key, told in flat(opened["window"])}
        open_ |= {f"{name} gradient of {known[i]}": digest(value) for i, value in opened["gradients"].items()}
    return settings, moments, open_


def _history(rows: list[dict[str, Any]]) -> dict[str, str]:
    timeless = [{name: value for name, value in row.items() if not is_clock(name)} for row in rows]
    last = {f"{name} of epoch {timeless[-1].get('epoch')}": digest(value) for name, value in timeless[-1].items()} if timeless else {}
    return {"earlier rows": digest(timeless[:-1]), **last}


def _plugins(trainer: Trainer, saved: Mapping[str, Any]) -> dict[str, str]:
    timed = {
        (member.name, name) for member in trainer.members for name, each in member._named_gates() if each.counter == "now_()"
    }  # in how many seconds they are due
    found: dict[str, str] = {}
    for name, parts in saved.items():
        found |= {f"{name!r} {path}".rstrip(): told for path, told in flat(parts.get("own", {}))}
        cadences = {key: value for key, value in parts["cadences"].items() if (name, key) not in timed}
        found |= {f"{name!r} cadence {path}": told for path, told in flat(cadences)}
    return found


def _call(core: Mapping[str, Any], call: Mapping[str, Any]) -> Leaves:
    if not call:
        return {}
    said = {"length": call["length"], "origin": call["origin"], "stopped": call["stopped"], "end_epoch": call["end_epoch"]}
    due = {} if Every(call["val_due"]["interval"].removeprefix("every ")).timed else call["val_due"]
    states = core["random"]["states"]
    numbers = {name: digest(value) for name, value in states.items() if value is not None}
    numbers["torch"] = numbers.pop("cpu")
    measured = {} if call["meter"] is None else dict(flat(call["meter"]))
    return {
        "random": numbers | {f"plugin {name!r} asked for": digest(times) for name, times in core["random"]["streams"].items()},
        "data": {**dict(flat(call["data"], "state")), "batches of the epoch": digest(call["batches"])},
        "call": dict(flat({**said, "validation due": due, "steps before": call["steps_before"]})),
        "mode": dict(flat(call["flags"])),
        "metric": measured | {name: digest(value) for name, value in call["val_values"].items()},
    }


def is_clock(name: str) -> bool:
    """Tell the name of a value that measures time."""
    return name == "seconds" or name.endswith("_seconds")


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of a nested value with their paths; those that measure time are left out."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            if not (isinstance(key, str) and is_clock(key)):
                yield from flat(item, f"{path} {key}".lstrip())
    elif isinstance(value, (list, tuple)) and 0 < len(value) <= 16:
        for i, item in enumerate(value):
            yield from flat(item, f"{path} {i}".lstrip())
    else:
        yield path, digest(value)


def digest(value: Any) -> str:
    """Return a short value as it is, and a digest of any other: two are equal if and only if the values are, to the bit.

    Values of types that no checkpoint can hold have only their type compared.
    """
    told = plain(value)
    return f"a {type(value).__qualname__}" if told is None else told


def plain(value: Any) -> str | None:
    """Return the digest of a value that is made of numbers, text, tensors, generators and nestings of them; else None."""
    if isinstance(value, SCALARS):
        said = repr(value)
        return said if len(said) <= LONGEST else hashed(said)
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, Mapping):
        items = sorted(f"{digest(key)}: {digest(item)}" for key, item in value.items())
        return "{}" if not items else hashed("{" + ", ".join(items))
    if isinstance(value, (list, tuple, deque)):
        return "[]" if not value else hashed("[" + ", ".join(map(digest, value)))
    if isinstance(value, Set):
        return "{}" if not value else hashed("{" + ", ".join(sorted(map(digest, value))))
    if isinstance(value, (bytes, bytearray, torch.dtype, torch.device, count)):
        return hashed(repr(value))
    return _of_generator(value) or _of_array(value)


def _of_tensor(value: Tensor) -> str:
    value = value.detach()
    if value.layout == torch.sparse_coo:
        return hashed(_of_tensor(value._indices()) + _of_tensor(value._values()) + str(tuple(value.shape)))
    head = f"{value.dtype} {tuple(value.shape)}"
    if value.device.type == "meta":
        return hashed(head)
    value = (value if value.layout == torch.strided else value.to_dense()).resolve_conj().resolve_neg().cpu().contiguous()
    if value.numel() == 1 and value.dtype in SINGLE:
        return f"{value.item()!r} in {str(value.dtype).removeprefix('torch.')} {tuple(value.shape) or ''}".rstrip()
    return hashed(head, (ctypes.c_char * value.nbytes).from_address(value.data_ptr()) if value.nbytes else b"")


def _of_generator(value: Any) -> str | None:
    if isinstance(value, random.Random):
        return hashed(repr(value.getstate()))
    if isinstance(value, torch.Generator):
        return _of_tensor(value.get_state())
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None and isinstance(value, numpy.Generator):
        return plain(value.bit_generator.state)
    return plain(value.get_state()) if numpy is not None and isinstance(value, numpy.RandomState) else None


def _of_array(value: Any) -> str | None:
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, (numpy.ndarray, numpy.generic)):
        return None
    return hashed(f"{value.dtype} {value.shape}", repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes())


def hashed(text: str, content: Any = b"") -> str:
    """Return the beginning of the SHA-256 of text and bytes: 64 bits."""
    found = hashlib.sha256(text.encode())
    found.update(content)
    return HASHED + found.hexdigest()[:16]

"""A batch: how it is split, moved, measured and handed to the model."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fit_core.errors import FitError


def split(batch: Any) -> tuple[Any, Any]:
    """Split a batch into inputs and targets.

    A tuple or list of two is (inputs, targets); a namedtuple with fields `inputs` and `targets` is split by them; anything
    else, a dict too, is inputs as a whole with targets None.

    Raises:
        FitError: a sequence of another length than two.
    """
    fields = getattr(batch, "_fields", ())
    if "inputs" in fields and "targets" in fields:
        return batch.inputs, batch.targets
    if not isinstance(batch, (tuple, list)) or is_one(batch):
        return batch, None
    if len(batch) == 1:
        return batch[0], None
    if len(batch) != 2:
        raise FitError(
            f"a batch must be (inputs, targets), inputs alone or a dict of inputs, not a {type(batch).__name__} of {len(batch)}; "
            "write a hook prepare_batch(batch) that returns (inputs, targets)"
        )
    return batch[0], batch[1]


def is_one(value: Any) -> bool:
    """Tell a tuple that is one thing with a method `to`, such as a `PackedSequence`."""
    return isinstance(value, tuple) and callable(getattr(value, "to", None))


def move(value: Any, device: torch.device) -> Any:
    """Bring every tensor of a nested value to a device.

    Tuples, namedtuples, lists, dicts and dataclasses keep their type; other objects with a method `to` are asked; the rest is left
    as it is. Nothing is changed in place.
    """
    if isinstance(value, Tensor):
        return value.to(device)
    if value is None or isinstance(value, (str, bytes, int, float)):
        return value
    if callable(getattr(value, "to", None)):
        return value.to(device)
    return map_structure(lambda item: move(item, device), value)


def map_structure(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to the items of one level of a tuple, namedtuple, list, dict or dataclass; leave anything else as it is."""
    if isinstance(value, tuple):
        if type(value) is not tuple and not hasattr(value, "_fields"):
            return value  # a torch.Size, say
        items = [function(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [function(item) for item in value]
    if isinstance(value, dict):
        return with_items(value, {key: function(item) for key, item in value.items()})
    if is_record(value):
        return with_fields(value, {name: function(item) for name, item in fields_of(value).items()})
    return value


def is_record(value: Any) -> bool:
    """Tell an instance of a dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def fields_of(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass's instance."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def with_fields(record: Any, fields: dict[str, Any]) -> Any:
    """Return a copy of a dataclass's instance with other fields; its constructor is not called."""
    result = copy.copy(record)
    for name, item in fields.items():
        object.__setattr__(result, name, item)  # it may be frozen
    return result


def with_items(value: dict[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    """Return a dict of the same type with other items: an output object with attributes keeps them."""
    if type(value) is dict:
        return items
    result = copy.copy(value)
    for key, item in items.items():
        result[key] = item
    return result


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield every tensor of a nested value."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, Mapping) or is_record(value):
        for item in (value if isinstance(value, Mapping) else fields_of(value)).values():
            yield from tensors(item)


def batch_size(*values: Any) -> int:
    """Return the length of the first tensor with a dimension, in any nesting; 1 if there is none."""
    return next((len(t) for value in values for t in tensors(value) if t.dim()), 1)


def describe(value: Any) -> str:
    """Say of what types and shapes a nested value is: `float32 (8, 3)`."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(describe, value)) + ")"
    if is_record(value):
        return f"{type(value).__name__} {describe(fields_of(value))}"
    return type(value).__name__


def describe_types(module: nn.Module) -> str:
    """Name the types of a module's parameters."""
    return " and ".join(sorted({str(p.dtype).removeprefix("torch.") for p in module.parameters()})) or "none"


def names_state(function: Callable[..., Any]) -> bool:
    """Tell whether a function has a parameter called `state`."""
    target = function.forward if isinstance(function, nn.Module) else function
    try:
        return "state" in inspect.signature(target).parameters
    except ValueError:  # a builtin without a signature
        return False


def needs_inputs(model: nn.Module) -> bool:
    """Tell whether a model's `forward` must be given something beside `state`."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except ValueError:  # a traced module has no signature
        return True
    return any(p.default is p.empty and p.kind not in kinds and p.name != "state" for p in parameters)


def call_model(model: nn.Module, inputs: Any, extra: dict[str, Any]) -> Any:
    """Call a model: a tuple or list of inputs becomes its arguments, a dict its keywords, None nothing.

    Args:
        model: the module to call.
        inputs: what a batch holds for it.
        extra: further keywords.
    """
    if inputs is None:
        return model(**extra)
    if isinstance(inputs, (tuple, list)) and not is_one(inputs):
        return model(*inputs, **extra)
    if isinstance(inputs, Mapping):
        return model(**inputs, **extra)
    return model(inputs, **extra)


def join(outputs: list[Any]) -> Any:
    """Join the outputs of several batches along the first dimension, in any nesting; numbers become a vector.

    Args:
        outputs: emptied on the way, so that there are never two copies of all of them.

    Returns:
        Joined tensors in the nesting of one batch; where shapes differ, the list of all batches. Lists of anything but
        tensors hold one item per sample, and are chained.
    """
    first = outputs[0]
    if isinstance(first, Tensor) and not first.dim():
        return torch.stack(outputs) if all(isinstance(o, Tensor) and not o.dim() for o in outputs) else outputs
    if len(outputs) == 1:
        return first
    if all(isinstance(o, (tuple, list)) and not any(map(in_places, o)) for o in outputs):
        return type(first)(item for output in outputs for item in output)
    if isinstance(first, Tensor):
        fitting = all(isinstance(o, Tensor) and o.dim() and o.shape[1:] == first.shape[1:] for o in outputs)
        return concatenate(outputs) if fitting else outputs
    if isinstance(first, dict) and all(isinstance(o, dict) and o.keys() == first.keys() for o in outputs):
        by_key = {key: [o[key] for o in outputs] for key in first}
        outputs.clear()
        return with_items(first, {key: join(column) for key, column in by_key.items()})
    if isinstance(first, (tuple, list)) and all(isinstance(o, type(first)) and len(o) == len(first) for o in outputs):
        columns = [list(column) for column in zip(*outputs, strict=True)]
        outputs.clear()
        joined = [join(column) for column in columns]
        return type(first)(*joined) if hasattr(first, "_fields") else type(first)(joined)
    if is_record(first) and all(type(o) is type(first) for o in outputs):
        records = [fields_of(o) for o in outputs]
        outputs.clear()
        return with_fields(first, join(records))
    return None if all(o is None for o in outputs) else outputs


def in_places(item: Any) -> bool:
    """Tell what an item of a list says of it: a tensor, or several, is one of several outputs; anything else is a sample."""
    return isinstance(item, Tensor) or (isinstance(item, (tuple, list)) and any(map(in_places, item)))


def concatenate(parts: list[Tensor]) -> Tensor:
    """Return the parts as one tensor, releasing each as soon as it is copied."""
    dtype = functools.reduce(torch.promote_types, (part.dtype for part in parts))
    result = torch.empty((sum(map(len, parts)), *parts[0].shape[1:]), dtype=dtype)
    end = len(result)
    while parts:
        part = parts.pop()
        result[end - len(part) : end] = part
        end -= len(part)
    return result


def to_cpu(value: Any) -> Any:
    """Copy every tensor of a nested value to the CPU, out of its graph."""
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else map_structure(to_cpu, value)


def detach(value: Any) -> Any:
    """Take every tensor of a nested value out of its graph."""
    return value.detach() if isinstance(value, Tensor) else map_structure(detach, value)

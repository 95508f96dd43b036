"""Parameter groups taken apart: functions of groups, as torch's optimizers take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def undecayed(module: nn.Module) -> set[int]:
    """Return the ids of parameters that weight decay does harm: biases, and all that normalisation layers and vectors have."""
    found: set[int] = set()
    for layer in module.modules():
        for name, p in layer.named_parameters(recurse=False):
            if isinstance(layer, NORMS) or name.endswith("bias") or (not is_lazy(p) and p.dim() <= 1):
                found.add(id(p))
    return found


def tensor_of(item: Any) -> Tensor:
    """Return the parameter of an item: itself, or of a pair with its name."""
    tensor: Tensor = item[1] if isinstance(item, tuple) else item
    return tensor


def as_groups(items: Iterable[Any]) -> list[dict[str, Any]]:
    """Return groups: those that there are, and one of the parameters that stand alone."""
    listed = list(items)
    groups = [{**item, "params": items_of(item)} for item in listed if isinstance(item, Mapping)]
    alone = [item for item in listed if not isinstance(item, Mapping)]
    return [{"params": alone}, *groups] if alone else groups


def items_of(group: Mapping[str, Any]) -> list[Any]:
    """Return the parameters of a group as a list, which may be given as a single one."""
    return [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])


def split(groups: Iterable[Mapping[str, Any]], key: Callable[[Tensor], Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Take each group apart by a key of its parameters: pairs of key and group, in the order in which keys are met."""
    found: list[tuple[Any, dict[str, Any]]] = []
    for group in groups:
        parts: dict[Any, list[Any]] = {}
        for item in group["params"]:
            parts.setdefault(key(tensor_of(item)), []).append(item)
        found += [(value, {**group, "params": items}) for value, items in parts.items()]
    return found

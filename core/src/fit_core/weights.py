"""The tensors of a module: taken out for saving, each once, and put back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fit_core.errors import FitError, listed


def take(module: nn.Module, what: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a module on the CPU, and the names of those that are the same tensor as another.

    Args:
        module: whose parameters and buffers are saved.
        what: what an error calls it.

    Returns:
        Tensors by name, each its own memory; and for each further name of a tied tensor the name that it is saved under.

    Raises:
        FitError: the module has extra state that is no tensor.
    """
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    storages: set[int] = set()
    for name, value in checked(module, what).items():
        storage = value.untyped_storage().data_ptr()
        place = (storage, value.storage_offset(), value.shape, value.stride(), value.dtype, value.is_conj(), value.is_neg())
        if value.numel() and place in first:
            aliases[name] = first[place]
            continue
        kept[name] = own_memory(value, shared=storage in storages)
        storages.add(storage)
        first[place] = name
    return kept, aliases


def checked(module: nn.Module, what: str, lazy: bool = False) -> dict[str, Tensor]:
    """Return the tensors of a module that can all be saved.

    Args:
        module: whose parameters and buffers they are.
        what: what an error calls it.
        lazy: those that are not initialised yet may be among them.

    Raises:
        FitError: one cannot be saved, or the module has extra state that is no tensor.
    """
    found = module.state_dict()
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise FitError(f"cannot save {what}: {name!r} is {type(value).__name__}, not a tensor; keep it out of get_extra_state")
        if not (lazy and is_lazy(value)):
            check_savable(value, f"{name!r} of {what}")
    return found


def check_savable(value: Tensor, who: str) -> None:
    """Refuse a tensor that a checkpoint cannot hold.

    Raises:
        FitError: it is sparse, quantised, not initialised yet, or of complex128.
    """
    if is_lazy(value) or value.layout != torch.strided or value.is_quantized or value.dtype == torch.complex128:
        kind = "not initialised yet" if is_lazy(value) else f"{value.dtype}, {value.layout}".replace("torch.", "")
        raise FitError(f"cannot save {who}: it is a tensor ({kind}) that a checkpoint cannot hold")


def own_memory(value: Tensor, shared: bool) -> Tensor:
    """Return a contiguous tensor on the CPU that shares its memory with none of another size, or with any if `shared`."""
    value = value.detach().resolve_conj().resolve_neg().to("cpu").contiguous()
    return value.clone() if shared or value.untyped_storage().nbytes() != value.nbytes else value


def put(module: nn.Module, tensors: Mapping[str, Tensor], aliases: Mapping[str, str], what: str) -> None:
    """Copy saved tensors into a module.

    Args:
        module: as it was built, on any device.
        tensors: as `take` returned them.
        aliases: likewise.
        what: what an error calls it.

    Raises:
        FitError: names or shapes differ; then nothing was copied.
    """
    given = {**tensors, **{name: tensors[source] for name, source in aliases.items()}}
    check_fits(module, given, what)
    with torch.no_grad():
        module.load_state_dict(given)


def check_fits(module: nn.Module, given: Mapping[str, Tensor], what: str) -> None:
    """Refuse tensors that do not fit a module.

    Raises:
        FitError: names or shapes differ.
    """
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in given]
    further = [name for name in given if name not in wanted]
    if missing or further:
        parts = [f"it lacks {listed(missing[:3])}"] * bool(missing) + [f"it has {listed(further[:3])} besides"] * bool(further)
        raise FitError(f"the checkpoint does not fit {what}: {', '.join(parts)}; build the model with the options it was trained with")
    for name, value in wanted.items():
        if not is_lazy(value) and value.shape != given[name].shape:
            raise FitError(
                f"the checkpoint does not fit {what}: {name} has shape {tuple(given[name].shape)} there, but {tuple(value.shape)} here; "
                "build the model with the options it was trained with"
            )


def check_prepared(model: nn.Module, prepared: nn.Module) -> None:
    """Refuse a module in the model's place that would be saved in part only.

    Args:
        model: as the user gave it, whose weights are saved.
        prepared: what `prepare_model` returned.

    Raises:
        FitError: it has parameters or buffers that are not the model's.
    """
    own = {id(value) for value in (*model.parameters(), *model.buffers())}
    foreign = [name for name, value in (*prepared.named_parameters(), *prepared.named_buffers()) if id(value) not in own]
    if foreign:
        raise FitError(
            f"prepare_model returned a module with tensors of its own ({listed(foreign[:3])}), which would not be saved: "
            "put them into the model"
        )


def put_fitting(module: nn.Module, given: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Copy those tensors into a module that fit it.

    Args:
        module: as it was built, on any device.
        given: tensors by name.

    Returns:
        The names that the module has and got nothing for, and the given names that it has no place for; those of other
        shapes are in both.

    Raises:
        FitError: none fits.
    """
    wanted = module.state_dict()
    fitting = {name: value for name, value in given.items() if name in wanted and fits(value, wanted[name])}
    missing, unexpected = [name for name in wanted if name not in fitting], [name for name in given if name not in fitting]
    if not fitting:
        raise FitError(f"none of these weights fit: the model wants {listed(missing[:3])}, and there are {listed(unexpected[:3])}")
    with torch.no_grad():
        module.load_state_dict(fitting, strict=False)
    return missing, unexpected


def fits(value: Tensor, place: Tensor) -> bool:
    """Tell whether a tensor can be copied into another."""
    return is_lazy(place) or value.shape == place.shape

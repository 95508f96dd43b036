"""What producers of pictures share: whether anybody looks, which modules are meant, how the model is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fit_core import FitError, State
from fit_core.batch import call_model, names_state
from fit_core.errors import did_you_mean, listed
from fit_vis.pictures import as_pictures

if TYPE_CHECKING:
    from fit_core import Trainer

Patterns = str | list[str]
"""One shell pattern of names (`features.*`), or several; `*` matches dots too."""

WHOLE = "model"
"""What a model is called that is a single layer."""


def shown(trainer: Trainer) -> bool:
    """Tell whether any plugin shows pictures."""
    return trainer.hooks.hears("on_show")


def logged(trainer: Trainer) -> bool:
    """Tell whether any plugin takes numbers."""
    return trainer.hooks.hears("on_log")


def users_model(trainer: Trainer, state: State) -> nn.Module:
    """Return the module whose layers have the user's names: the user's own within a wrapper, or one in its place (averaged weights)."""
    model = trainer.model
    return model if any(module is model for module in state.model.modules()) else state.model


def matching_layers(model: nn.Module, patterns: Patterns) -> dict[str, nn.Module]:
    """Return the layers that match one of some patterns, by name, in the order of the model.

    `*` alone means the innermost layers, those without layers of their own.

    Raises:
        FitError: a pattern matches none.
    """
    named = {name or WHOLE: module for name, module in model.named_modules()}
    innermost = {name: module for name, module in named.items() if not any(True for _ in module.children())}
    if patterns == "*":
        return innermost
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in named):
            nearest = did_you_mean(pattern, named) or f" (there are {listed(innermost)})"
            raise FitError(f"no layer is called {pattern!r}{nearest}")
    return {name: module for name, module in named.items() if any(fnmatchcase(name, pattern) for pattern in wanted)}


def the_layer(model: nn.Module, name: str) -> nn.Module:
    """Return the layer of a name.

    Raises:
        FitError: there is none.
    """
    found = matching_layers(model, name)
    if len(found) > 1:
        raise FitError(f"{name!r} is more than one layer: {', '.join(found)}")
    return next(iter(found.values()))


def asked(trainer: Trainer, state: State, output: int | str | None = None) -> Callable[[Any], Any]:
    """Return the model of the pass as a function of inputs.

    Args:
        trainer: whose model it is.
        state: of the pass.
        output: which of several outputs to return.
    """
    extra = {"state": state} if names_state(trainer.model) or names_state(state.model) else {}
    return lambda inputs: picked(call_model(state.model, inputs, extra), output)


def picked(value: Any, which: int | str | None) -> Any:
    """Return one of several outputs or targets: by position, key or attribute; None: the value itself.

    Raises:
        FitError: there is no such one.
    """
    if which is None:
        return value
    if isinstance(which, str) and not isinstance(value, Mapping) and hasattr(value, which):
        return getattr(value, which)
    try:
        return value[which]
    except (KeyError, IndexError, TypeError):
        raise FitError(f"there is no output or target {which!r} in a {type(value).__name__}") from None


def tensor_or_error(who: str, what: str, value: Any, pick: bool = True) -> Tensor:
    """Return a tensor.

    Args:
        who: needs one.
        what: it is: "input", "output" or "target".
        value: what there is.
        pick: whether there is an option of this name, which picks one of several.

    Raises:
        FitError: it is something else.
    """
    if not isinstance(value, Tensor):
        raise FitError(
            f"{who} needs a tensor as {what}, not {type(value).__name__}; {f'pick one with {what}=' if pick else 'leave it out'}"
        )
    return value


def pictures_or_error(
    who: str,
    values: Any,
    shape: Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Tensor:
    """Return values as pictures, see `as_pictures`.

    Raises:
        FitError: they are none.
    """
    found = pictures_or_none(who, values, shape, mean, std) if isinstance(values, Tensor) else None
    if found is None:
        said = f"shape {tuple(values.shape[1:])}" if isinstance(values, Tensor) else f"type {type(values).__name__}"
        raise FitError(f"{who} cannot show samples of {said} as pictures; set shape=[channels,height,width] with 1 or 3 channels")
    return found


def pictures_or_none(
    who: str,
    values: Tensor,
    shape: Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Tensor | None:
    """Return values as pictures, see `as_pictures`; None if they are none.

    Raises:
        FitError: they are, of another number of channels than mean or std.
    """
    found = as_pictures(values, shape)
    for what, numbers in (("mean", mean), ("std", std)):
        if found is not None and numbers and len(numbers) not in (1, found.shape[1]):
            raise FitError(f"{who} has {len(numbers)} numbers as {what} for pictures of {found.shape[1]} channels; give one for each")
    return found if mean is None and std is None else as_pictures(values, shape, mean, std)


def prefix_of(state: State) -> str:
    """Return what the names of a pass begin with (`val_`), read from its row."""
    of_loss = next((name.removesuffix("loss") for name in state.row if name.endswith("_loss")), "")
    prefixes = sorted(state.validation, key=len, reverse=True)
    return of_loss or next((prefix for prefix in prefixes if any(name.startswith(prefix) for name in state.row)), "")


def matching_parameters(trainer: Trainer, patterns: Patterns) -> dict[str, nn.Parameter]:
    """Return the parameters that match one of some patterns, by name: the model's as it names them, those of a loss as `loss.NAME`.

    Raises:
        FitError: a pattern matches none.
    """
    roots = {"": trainer.model, **trainer.losses()}
    named = {".".join(filter(None, (root, name))): p for root, found in roots.items() for name, p in found.named_parameters()}
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise FitError(f"no parameter is called {pattern!r}{did_you_mean(pattern, named) or f' (there are {listed(named)})'}")
    return {name: p for name, p in named.items() if any(fnmatchcase(name, pattern) for pattern in wanted)}

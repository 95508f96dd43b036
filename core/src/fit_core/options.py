"""Options written as text: `early-stopping:patience=3,betas=[0.9,0.99]`, converted by type hints."""

from __future__ import annotations

import enum
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any, Literal, Union

from fit_core.cadence import Every
from fit_core.errors import FitError, did_you_mean, listed

SEQUENCES = (list, tuple, Iterable, Sequence)
NATIVE = (int, float, str, bool, type(None))
"""Types whose values JSON holds as they are."""
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def parse_spec(text: str) -> tuple[str | None, str, dict[str, str]]:
    """Split `alias=name:key=value,key=[a,b]` into alias (or None), name and options.

    Raises:
        FitError: it is not of this form.
    """
    head, _, tail = text.strip().partition(":")
    alias, equals, name = head.rpartition("=")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or (equals and not alias):
        raise FitError(f"cannot read the plugin {text!r}; write name, name:key=value,key=value or alias=name:key=value")
    options: dict[str, str] = {}
    for part in split_commas(tail):
        key, equals, value = part.partition("=")
        if not equals or not key.strip().isidentifier():
            raise FitError(f"cannot read the option {part!r} in {text!r}; write key=value")
        options[key.strip()] = value.strip()
    return alias or None, name, options


def split_commas(text: str) -> list[str]:
    """Split at commas outside of brackets, leaving out empty parts."""
    parts, depth = [""], 0
    for character in text:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def bind(factory: Callable[..., Any], options: Mapping[str, Any], who: str) -> dict[str, Any]:
    """Convert options by the type hints of a factory; values that are not text stay as they are.

    Raises:
        FitError: the factory has no such option, an option it needs is missing, or a value cannot be converted.
    """
    parameters = keywords(factory)
    hints = type_hints(factory)
    for name in options:
        if name not in parameters and not takes_any_keyword(factory):
            raise FitError(f"{who} has no option {name!r} (options: {listed(parameters)}){did_you_mean(name, parameters)}")
    missing = [name for name, p in parameters.items() if p.default is p.empty and name not in options]
    if missing:
        raise FitError(f"{who} needs a value for {', '.join(map(repr, missing))}")
    return {name: convert(value, hints.get(name, Any), f"option {name!r} of {who}") for name, value in options.items()}


def takes_any_keyword(factory: Callable[..., Any]) -> bool:
    """Tell whether a factory has `**options`, which it then checks itself."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(factory).parameters.values())


def keywords(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a factory that can be given by keyword."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: p for name, p in inspect.signature(factory).parameters.items() if p.kind in kinds}


def type_hints(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the type hints of a function, or of a class's constructor.

    A hint that names what is imported for type checkers only is `Any`.
    """
    made = factory.func if isinstance(factory, partial) else factory
    function: Any = made.__init__ if inspect.isclass(made) else made
    return {name: _hint(annotation, function) for name, annotation in getattr(function, "__annotations__", {}).items()}


def _hint(annotation: Any, function: Any) -> Any:
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__={"it": annotation}), function.__globals__)["it"]
    except NameError:
        return Any


def convert(value: Any, hint: Any, who: str) -> Any:
    """Turn text into what a type hint asks for.

    bool, int, float, str, path, enum, Literal, Optional, unions, lists, tuples; without a hint a number or
    boolean is recognised and anything else stays text.

    Raises:
        FitError: it cannot be done.
    """
    if not isinstance(value, str):
        return value
    for candidate in _members(hint):
        try:
            return _convert(value, candidate)
        except ValueError:
            continue
        except FitError as error:
            raise FitError(f"{who}: {error}") from None
    raise FitError(f"{who} must be {describe(hint)}, not {value!r}")


def as_text(value: Any) -> str:
    """Write a value so that `convert` reads the same again."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(as_text, value))}]"
    return str(value)


def describe(hint: Any) -> str:
    """Name a type hint for people."""
    names = []
    for member in sorted(filter(_has_text, _members(hint)), key=lambda member: member is type(None)):
        if typing.get_origin(member) is Literal:
            names += [str(value) for value in typing.get_args(member)]
        elif inspect.isclass(member) and issubclass(member, enum.Enum):
            names += [item.name.lower() for item in member]
        elif member is type(None):
            names.append("none")
        elif member is Every:
            names.append("an interval such as '100 steps'")
        elif member in SEQUENCES or typing.get_origin(member) in SEQUENCES:
            numbers = {int, float} & set(typing.get_args(member))
            what = f"a list of {'numbers' if float in numbers else 'whole numbers'}" if numbers else "a list"
            names.append(f"{what} in brackets, such as [{'1,2' if numbers else 'a,b'}]")
        else:
            names.append(getattr(member, "__name__", str(member)).lower())
    return " or ".join(names)


def _has_text(hint: Any) -> bool:
    """Tell whether text can become a type: an object or a function is given from Python."""
    if typing.get_origin(hint) is not None:
        return typing.get_origin(hint) is Literal or typing.get_origin(hint) in SEQUENCES
    return hint in (*NATIVE, Every, *SEQUENCES) or (inspect.isclass(hint) and issubclass(hint, (PurePath, enum.Enum)))


def _members(hint: Any) -> list[Any]:
    """Return the alternatives of a union, narrow types first, so that `int | str` reads 3 as a number."""
    if hint is Any or hint is inspect.Parameter.empty:
        return [int, float, bool, list, str]
    if typing.get_origin(hint) in (Union, types.UnionType):
        order = [type(None), int, float, bool]
        members = list(typing.get_args(hint))
        return sorted(members, key=lambda m: order.index(m) if m in order else (len(order) + (m is str)))
    return [hint]


def _convert(text: str, hint: Any) -> Any:
    """Turn text into one type; ValueError if it isn't of it."""
    origin = typing.get_origin(hint)
    if hint is type(None):
        return _choose(text.lower(), {"none": None, "null": None, "": None})
    if hint is bool:
        return _choose(text.lower(), dict.fromkeys(TRUE, True) | dict.fromkeys(FALSE, False))
    if hint in (int, float):
        return hint(text)
    if hint is str or (inspect.isclass(hint) and issubclass(hint, PurePath)):
        return hint(text)
    if origin is Literal:
        return _choose(text, {str(value): value for value in typing.get_args(hint)})
    if hint is Every:
        return Every(text)
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return _choose(text.lower(), {item.name.lower(): item for item in hint} | {str(item.value).lower(): item for item in hint})
    if origin in SEQUENCES or hint in SEQUENCES:
        return _sequence(text, hint, tuple if tuple in (origin, hint) else list)
    raise ValueError(f"no text can become {hint}")


def _sequence(text: str, hint: Any, kind: type) -> Any:
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError("not in brackets")
    items = split_commas(text[1:-1])
    arguments = [a for a in typing.get_args(hint) if a is not Ellipsis] or [Any]
    if kind is tuple and Ellipsis not in typing.get_args(hint) and len(arguments) > 1 and len(arguments) != len(items):
        raise ValueError("wrong length")
    item_hints = arguments if len(arguments) == len(items) else arguments[:1] * len(items)
    return kind(_first(item, item_hint) for item, item_hint in zip(items, item_hints, strict=True))


def _first(text: str, hint: Any) -> Any:
    for candidate in _members(hint):
        try:
            return _convert(text, candidate)
        except ValueError:
            continue
    raise ValueError(f"{text!r} is not {describe(hint)}")


def _choose(text: str, choices: Mapping[str, Any]) -> Any:
    if text not in choices:
        raise ValueError(f"{text!r} is none of {listed(choices)}")
    return choices[text]

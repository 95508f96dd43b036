"""Options written as text."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fit_core import FitError
from fit_core.docstring import argument_help, summary
from fit_core.options import as_text, bind, convert, parse_spec


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("-1e-3", float, -0.001),
        ("yes", bool, True),
        ("off", bool, False),
        ("a b", str, "a b"),
        ("x/y", Path, Path("x/y")),
        ("red", Colour, Colour.RED),
        ("g", Colour, Colour.GREEN),
        ("min", Literal["min", "max"], "min"),
        ("2", Literal[1, 2], 2),
        ("none", int | None, None),
        ("4", int | None, 4),
        ("3", float | int, 3),
        ("text", int | str, "text"),
        ("[0.9,0.99]", list[float], [0.9, 0.99]),
        ("[0.9,0.99]", tuple[float, float], (0.9, 0.99)),
        ("[1,2,3]", tuple[int, ...], (1, 2, 3)),
        ("[]", list[int], []),
        ("[[1,2],[3,4]]", list[list[int]], [[1, 2], [3, 4]]),
        ("1", int | bool, 1),
        ("yes", int | bool, True),
        ("[2,5]", Iterable[int], [2, 5]),
        ("[a]", Sequence[str], ["a"]),
        ("3", Any, 3),
        ("3.5", Any, 3.5),
        ("true", Any, True),
        ("word", Any, "word"),
        ("[1,2.5,x]", Any, [1, 2.5, "x"]),
    ],
)
def test_text_becomes_what_the_hint_asks_for(text: str, hint: Any, value: Any) -> None:
    converted = convert(text, hint, "option")
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("text", "hint", "wanted"),
    [
        ("x", int, "int"),
        ("2", bool, "bool"),
        ("blue", Colour, "red or green"),
        ("mid", Literal["min", "max"], "min or max"),
        ("x", int | None, "int or none"),
        ("1,2", list[float], "a list of (whole )?numbers in brackets"),
        ("[1]", tuple[float, float], "a list of (whole )?numbers in brackets"),
    ],
)
def test_other_text_is_refused(text: str, hint: Any, wanted: str) -> None:
    with pytest.raises(FitError, match=f"option 'x' must be {wanted}"):
        convert(text, hint, "option 'x'")


def test_values_that_are_no_text_stay_as_they_are() -> None:
    assert convert(3, str, "option") == 3


def test_specs() -> None:
    assert parse_spec("lr") == (None, "lr", {})
    assert parse_spec("es-acc=early-stopping:patience=3,monitor=val_accuracy") == (
        "es-acc",
        "early-stopping",
        {"patience": "3", "monitor": "val_accuracy"},
    )
    assert parse_spec("adam:betas=[0.9,0.99],path=a=b:c") == (None, "adam", {"betas": "[0.9,0.99]", "path": "a=b:c"})


words = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
texts = st.text(st.characters(categories=["Ll", "Nd"], include_characters="./:=-"), min_size=1, max_size=8)


@given(words, st.dictionaries(words, texts, max_size=3))
def test_what_is_written_is_what_is_read(name: str, options: dict[str, str]) -> None:
    text = name + (":" + ",".join(f"{key}={value}" for key, value in options.items()) if options else "")
    assert parse_spec(text) == (None, name, options)


def test_bind_names_what_is_missing() -> None:
    def factory(size: int, shape: str = "round") -> None:
        pass

    with pytest.raises(FitError, match="plugin 'x' needs a value for 'size'"):
        bind(factory, {"shape": "flat"}, "plugin 'x'")
    assert bind(factory, {"size": "3"}, "plugin 'x'") == {"size": 3}


def google(alpha: int = 1, *rest: int, beta: Any = 2, gamma: int = 3, delta: int = 4, **more: int) -> None:
    """Do it.

    More of it.

    Arguments:
      alpha (int):
        on the next
        line.
      *rest: further ones.
      beta (dict(str, int), optional): nested: parentheses.

        A second paragraph.
      gamma : with a space.
      **more: the rest.

    Returns:
      delta: nothing.
    """


def numpy_style(alpha: int = 1, beta: int = 2, gamma: int = 3) -> None:
    """Do it.

    Parameters
    ----------
    alpha, beta : int, optional
        Two
        at once.

        And more.
    gamma
        The third.

    Returns
    -------
    delta : int
        Nothing.
    """


def test_docstrings_of_both_styles_are_read() -> None:
    assert argument_help(google) == {
        "alpha": "on the next line.",
        "rest": "further ones.",
        "beta": "nested: parentheses. A second paragraph.",
        "gamma": "with a space.",
        "more": "the rest.",
    }
    assert argument_help(numpy_style) == {"alpha": "Two at once. And more.", "beta": "Two at once. And more.", "gamma": "The third."}
    assert summary(google) == "Do it.\n\nMore of it."
    assert summary(numpy_style) == "Do it."
    assert argument_help(len) == argument_help(lambda: 0) == {}


@pytest.mark.parametrize("value", [1, 2.5, True, None, "text", Path("a/b"), [1, 2], (0.5, 1.0), ["a", "b"], Colour.RED])
def test_what_is_written_is_read_again(value: Any) -> None:
    hints = {list: list[int] if value == [1, 2] else list[str], tuple: tuple[float, float], type(None): int | None}
    assert convert(as_text(value), hints.get(type(value), type(value)), "it") == value

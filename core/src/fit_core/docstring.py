"""What a docstring says of a function and of its arguments, in Google style or numpydoc."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

GOOGLE = re.compile(r"^(?:Args|Arguments|Parameters):[ \t]*\n((?:[ \t]+\S.*\n|[ \t]*\n)*)", re.MULTILINE)
NUMPYDOC = re.compile(r"^Parameters[ \t]*\n-{3,}[ \t]*\n(.*?)(?=^\S[^\n]*\n-{3,}|\Z)", re.MULTILINE | re.DOTALL)
GOOGLE_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\)+)?\s*:\s*(.*)$")
NUMPYDOC_ENTRY = re.compile(r"(\*{0,2}\w+(?:, *\*{0,2}\w+)*)\s*(?::.*)?()$")
SECTION = re.compile(r"^(?:[A-Z]\w+:|[A-Z]\w+[ \t]*\n-{3,})[ \t]*$", re.MULTILINE)


def argument_help(function: Callable[..., Any]) -> dict[str, str]:
    """Return what the docstring says of each argument."""
    text = (inspect.getdoc(function) or "") + "\n"
    google, numpydoc = GOOGLE.search(text), NUMPYDOC.search(text)
    if google:
        return dict(_entries(textwrap.dedent(google[1]), GOOGLE_ENTRY))
    return dict(_entries(numpydoc[1], NUMPYDOC_ENTRY)) if numpydoc else {}


def summary(function: Callable[..., Any]) -> str:
    """Return what the docstring says before its sections."""
    return SECTION.split(inspect.getdoc(function) or "", maxsplit=1)[0].strip()


def _entries(section: str, entry: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield each argument and what is said of it: an entry begins without indentation, and goes on with it."""
    for part in re.split(r"^(?=\S)", section, flags=re.MULTILINE):
        head, _, rest = part.partition("\n")
        match = entry.match(head.strip())
        if match:
            for name in match[1].split(","):
                yield name.strip(" *"), " ".join(f"{match[2]} {rest}".split())

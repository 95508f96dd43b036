"""The names of checkpoints: a format string over the row, the step and the epoch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter

from fit_core.errors import FitError

COUNTERS = ("epoch", "step")
"""What a name can say anywhere in a run; the rest of it are values of the row, which there are at the end of an epoch."""
ALLOWED = re.compile(r"(?!\.)[A-Za-z0-9_.=+-]{1,200}")
"""No folder that is hidden, and no character that a file system, a shell or a pointer file could stumble over."""
TAKEN = ("best", "last")
"""Names of the small files that point to checkpoints."""


class Template:
    """How checkpoints are called.

    Args:
        text: such as "epoch-{epoch:02}-{val_loss:.3f}".

    Attributes:
        values: the values of the row that it needs.

    Raises:
        FitError: it cannot be read, or would make names that no folder can have.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            parts = list(Formatter().parse(text))
        except ValueError as error:
            raise FitError(
                f"cannot read name={text!r}: {error}; write values in braces, such as epoch-{{epoch:02}}-{{val_loss:.3f}}"
            ) from None
        fields = [field for _, field, _, _ in parts if field is not None]
        if "" in fields or any(conversion for *_, conversion in parts):
            raise FitError(f"cannot read name={text!r}: write the name of a value and its format, such as {{val_loss:.3f}}")
        self._parts = [(literal, field, spec or "") for literal, field, spec, _ in parts]
        self.values = tuple(dict.fromkeys(field for field in fields if field not in COUNTERS))
        for sample in (0.5, -123456.75):
            self.filled({**dict.fromkeys(self.values, sample), **dict.fromkeys(COUNTERS, 1)})

    def filled(self, values: Mapping[str, float]) -> str:
        """Return the name with its values.

        Args:
            values: by name; those that it needs are among them.

        Raises:
            FitError: a value does not have this format, or no folder can have such a name.
        """
        made = ""
        for literal, field, spec in self._parts:
            made += literal
            if field is not None:
                try:
                    made += format(values[field], spec)
                except ValueError as error:
                    raise FitError(f"name={self.text!r} has the wrong format for {field!r}, such as {values[field]}: {error}") from None
        if not ALLOWED.fullmatch(made) or made in TAKEN:
            raise FitError(
                f"name={self.text!r} makes the folder {made!r}; use up to 200 letters, digits and _ = + - . only (no . at the beginning), "
                f"and not just {' or '.join(TAKEN)}"
            )
        return made


def free(parent: Path, wanted: str) -> str:
    """Return a name that nothing in a folder has: the wanted one, or one with a number."""
    number, name = 1, wanted
    while (parent / name).exists():
        number += 1
        name = f"{wanted}-{number}"
    return name


def numbered(parent: Path, wanted: str) -> list[Path]:
    """Return the folders that were called so, with a number or without."""
    return [path for path in sorted(parent.glob(f"{wanted}*")) if re.fullmatch(r"(-\d+)?", path.name[len(wanted) :])]

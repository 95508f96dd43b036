"""Where text goes: a terminal, a notebook, or anything that takes lines."""

from __future__ import annotations

import os
import sys
from typing import Any, Protocol, TextIO

from fit_logging.status import Status
from fit_logging.table import BEST


class Screen(Protocol):
    """What a display writes on.

    Attributes:
        live: whether `status` shows anything.
    """

    live: bool

    @property
    def width(self) -> int | None:
        """How many characters a line may have; None if any number."""

    def line(self, text: str) -> None:
        """Write a line that stays."""

    def status(self, status: Status) -> None:
        """Show how far the work is, in place of what was shown before."""

    def close(self) -> None:
        """Take away what does not stay."""


class Lines:
    """Writes lines only: for files, pipes, CI.

    Args:
        file: where to; None: standard output as it is at each moment.
    """

    live = False
    width = None

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file

    def line(self, text: str) -> None:
        """Write a line."""
        print(text, file=self._file or sys.stdout, flush=True)

    def status(self, status: Status) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing."""


class Terminal:
    """Keeps one line at the bottom of a terminal that changes. What others print goes above it.

    Colours are left out if the environment has `NO_COLOR`.

    Args:
        file: the terminal.
    """

    live = True

    def __init__(self, file: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=file, highlight=False, emoji=False, markup=False)
        self._bar = ("━", "─") if (getattr(file, "encoding", "") or "").lower().startswith("utf") else ("#", "-")
        self._live: Any = None

    @property
    def width(self) -> int:
        """How many characters a line may have."""
        return self._console.width

    def line(self, text: str) -> None:
        """Write a line; what is marked as best stands out."""
        from rich.text import Text

        shown = Text(text)
        shown.highlight_regex(rf"\S+{BEST.replace('*', '[*]')}", "bold green")
        self._console.print(shown, soft_wrap=True)

    def status(self, status: Status) -> None:
        """Show how far the work is."""
        from rich.live import Live
        from rich.text import Text

        before, bar, after = status.line(self.width - 1, *self._bar)
        shown = Text.assemble((before, "bold"), (bar, "cyan"), after, no_wrap=True, overflow="crop")
        if self._live is None:
            self._live = Live(shown, console=self._console, auto_refresh=False, transient=True)
            self._live.start(refresh=True)
        else:
            self._live.update(shown, refresh=True)

    def close(self) -> None:
        """Take the line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class Notebook:
    """Keeps one line of the output of a cell that changes."""

    live = True
    width = 120

    def __init__(self) -> None:
        self._handle: Any = None

    def line(self, text: str) -> None:
        """Write a line, below the one that changes."""
        print(text, flush=True)

    def status(self, status: Status) -> None:
        """Show how far the work is."""
        from IPython.display import display

        content = {"text/plain": "".join(status.line(self.width))}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def close(self) -> None:
        """Take the line away."""
        if self._handle is not None:
            self._handle.update({"text/plain": ""}, raw=True)
            self._handle = None


def screen() -> Screen:
    """Return what standard output is."""
    if in_notebook():
        return Notebook()
    file = sys.stdout
    if file is not None and file.isatty() and os.environ.get("TERM", "") not in ("dumb", ""):
        return Terminal(file)
    return Lines()


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    current = shell.get_ipython() if shell is not None else None
    return current is not None and hasattr(current, "kernel")

"""Tracebacks of users' code without the frames around it: what fit and click do on the way says nothing about a mistake."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

import click

import fit_core

OURS = str(Path(fit_core.__file__).parent)
HIDDEN = (OURS, str(Path(click.__file__).parent), "<fit plan", "<frozen ")
FULL = "--full-trace"
NOTE = f"(frames of fit and click are left out; {FULL} shows them)"


def print_short(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Be `sys.excepthook`: print a traceback without frames of fit and click, and without what started them.

    One that ends in fit itself is printed whole: it is a bug there.
    """
    told = traceback.TracebackException(kind, error, trace)
    frames = len(told.stack)
    if told.stack and not told.stack[-1].filename.startswith(OURS):
        first = next((i for i, frame in enumerate(told.stack) if frame.filename.startswith(OURS)), 0)
        told.stack[:] = told.stack[first:]
        _shorten(told)
    click.echo("".join(told.format()), nl=False, err=True)
    if len(told.stack) < frames:
        click.echo(NOTE, err=True)


def _shorten(told: traceback.TracebackException | None) -> None:
    """Leave out frames, also of the exceptions that led to this one."""
    if told is not None:
        told.stack[:] = [frame for frame in told.stack if not frame.filename.startswith(HIDDEN)]
        _shorten(told.__cause__)
        _shorten(told.__context__)

"""Names of files, and files that are whole or not there."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

LONGEST = 200
"""Bytes of the name of a folder."""
UNSAFE = re.compile(r"[^\w.+=-]+")


def relative(name: str) -> PurePosixPath:
    """Return a path below a folder for the name of an item: slashes make folders, what files should not be called becomes `_`."""
    parts = [short(UNSAFE.sub("_", part.strip()).lstrip(".")) for part in name.split("/")]
    return PurePosixPath(*[part for part in parts if part] or ["_"])


def short(name: str) -> str:
    """Return a name that is no longer than file systems take: a longer one keeps its beginning, and a number tells it from others."""
    if len(name.encode()) <= LONGEST:
        return name
    number = f"-{zlib.crc32(name.encode()):08x}"
    return name.encode()[: LONGEST - len(number)].decode(errors="ignore") + number


def replaced(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function write a file, which takes its place only when it is complete."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

"""Fashion-MNIST (Xiao et al. 2017) from Debian's package of it: no torch is needed to see whether it is there."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

FOLDER = Path("/usr/share/datasets/fashion-mnist")
HEADS = {"images-idx3": 16, "labels-idx1": 8}
"""The bytes before the data of each kind of file."""


def require() -> None:
    """End the program with one line if the files are not there."""
    if not (FOLDER / "train-images-idx3-ubyte.gz").exists():
        raise SystemExit(f"no Fashion-MNIST in {FOLDER}: apt-get install dataset-fashion-mnist")


@cache
def read(kind: str) -> bytearray:
    """Return the training set's pixels, (60000, 28, 28), or its labels, (60000,), as bytes.

    Args:
        kind: "images-idx3" or "labels-idx1".
    """
    return bytearray(gzip.decompress((FOLDER / f"train-{kind}-ubyte.gz").read_bytes())[HEADS[kind] :])

"""Every row of the comparison is shown by a test, or says why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_nothing_is_left() -> None:
    done = subprocess.run([sys.executable, Path(__file__).parent / "parity.py"], capture_output=True, text=True, check=True)
    assert done.stdout == "nothing is left\n"


def test_every_mark_is_of_a_row() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import parity; print(set(parity.shown()) - set(parity.rows()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

"""Lists the rows of docs/comparison.md that neither a test shows nor a reason excuses: python tests/parity.py."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| ([A-Z]\d+) \| (.*?) \| (.*) \|$", re.MULTILINE)
MARK = re.compile(r"@pytest\.mark\.parity\(([^)]*)\)")


def rows() -> dict[str, str]:
    """Return what is said of each id."""
    return {name: here for name, _, here in ROW.findall((ROOT / "docs" / "comparison.md").read_text())}


def shown() -> dict[str, list[str]]:
    """Return the files of tests that carry each id."""
    found: dict[str, list[str]] = {}
    for file in sorted(ROOT.glob("**/tests/**/test_*.py")):
        for ids in MARK.findall(file.read_text()):
            for name in re.findall(r'"(\w+)"', ids):
                found.setdefault(name, []).append(str(file.relative_to(ROOT)))
    return found


def left() -> list[str]:
    """Return the ids that have neither a test nor a reason."""
    tested = shown()
    return [name for name, here in rows().items() if name not in tested and not here.startswith("not here: ")]


if __name__ == "__main__":
    print("\n".join(f"{name}: {rows()[name]}" for name in left()) or "nothing is left")

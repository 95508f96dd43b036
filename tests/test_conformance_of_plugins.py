"""Every plugin of this repository passes every check."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from fit_core.testing import failures

ROOT = Path(__file__).parent.parent
DECLARED = [
    name
    for package in [ROOT / "core", *sorted((ROOT / "plugins").glob("fit-*"))]
    for name in tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"]["fit.plugins"]
]
CLASSES = [point.name for point in entry_points(group="fit.plugins") if point.name in DECLARED and isinstance(point.load(), type)]


EXCEPT = {
    "autocast": {"no waits"},  # the check runs on the meta device, where torch has no autocast; test_cost.py counts on the CPU
    "grad-scaler": {"no waits"},  # it has to know of each step whether it overflowed, and says so
}


@pytest.mark.parametrize("name", CLASSES)
def test_it_conforms(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    failed = failures(name, quiet=False)
    assert failed.keys() == EXCEPT.get(name, set()), failed


def test_every_plugin_is_checked() -> None:
    assert set(CLASSES) == set(DECLARED) - {"logging", "schedulers", "mixed-precision", "gan"}, "all but bundles"

"""Every plugin of this repository passes every check."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from fit_core.testing import check_plugin

ROOT = Path(__file__).parent.parent
DECLARED = [
    name
    for package in [ROOT / "core", *sorted((ROOT / "plugins").glob("fit-*"))]
    for name in tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"]["fit.plugins"]
]
CLASSES = [point.name for point in entry_points(group="fit.plugins") if point.name in DECLARED and isinstance(point.load(), type)]


@pytest.mark.parametrize("name", CLASSES)
def test_it_conforms(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_plugin(name, quiet=False)


def test_every_plugin_is_checked() -> None:
    assert set(CLASSES) == set(DECLARED) - {"logging", "schedulers"}, "all but bundles"

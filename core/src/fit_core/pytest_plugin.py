"""The test kit as pytest fixtures. torch is imported only by a test that uses one of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fit_core.testing import Outcome
    from fit_core.trainer import Trainer


@pytest.fixture
def tiny_trainer() -> Callable[..., Trainer]:
    """Make a trainer that runs in milliseconds; see `fit_core.testing.tiny_trainer`."""
    from fit_core import testing

    return testing.tiny_trainer


@pytest.fixture
def record_hooks() -> Callable[..., Any]:
    """Record the hooks that are called; see `fit_core.testing.record_hooks`."""
    from fit_core import testing

    return testing.record_hooks


@pytest.fixture
def run_fit(tmp_path: Path) -> Callable[..., Outcome]:
    """Run `fit` in a temporary folder; see `fit_core.testing.run_fit`."""
    from fit_core import testing

    return partial(testing.run_fit, cwd=tmp_path)


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., Outcome]:
    """Run a script in a temporary folder; see `fit_core.testing.run_script`."""
    from fit_core import testing

    return partial(testing.run_script, cwd=tmp_path)

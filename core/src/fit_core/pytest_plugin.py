"""The test kit as pytest fixtures. torch is imported only by a test that uses one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fit_core.testing import ForkServer, Outcome
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


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Run commands in processes forked from one that has imported torch; see `fit_core.testing.ForkServer`."""
    from fit_core import testing

    with testing.ForkServer() as server:
        yield server


@pytest.fixture
def run_fit(tmp_path: Path, fork_server: ForkServer) -> Callable[..., Outcome]:
    """Run `fit` in a temporary folder, in a forked process; see `fit_core.testing.run_fit`."""
    from fit_core import testing

    return partial(testing.run_fit, cwd=tmp_path, server=fork_server)


@pytest.fixture
def run_script(tmp_path: Path, fork_server: ForkServer) -> Callable[..., Outcome]:
    """Run a script in a temporary folder, in a forked process; see `fit_core.testing.run_script`."""
    from fit_core import testing

    return partial(testing.run_script, cwd=tmp_path, server=fork_server)

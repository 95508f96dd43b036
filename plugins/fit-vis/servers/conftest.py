from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Page, browser
from PIL import Image


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser") / "profile") as found:
        yield found


@pytest.fixture
def keep(page: Page, tmp_path: Path) -> Callable[..., None]:
    """Keep a screenshot where `FIT_SCREENSHOTS` says, to be looked at."""

    def write(name: str, still: bool = True) -> None:
        Image.fromarray(page.still() if still else page.pixels()).save(Path(os.environ.get("FIT_SCREENSHOTS", tmp_path)) / f"{name}.png")

    return write

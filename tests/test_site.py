"""The site is complete, without building it: `nox -s docs` does that."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest

from fit_core.entrypoints import offered_specs
from fit_core.hookspecs import SPECS

ROOT = Path(__file__).parent.parent
NAV = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
LISTED = re.findall(r"[:-] ([\w/.-]+\.md)$", NAV, re.MULTILINE)


@pytest.fixture(scope="module")
def makers() -> dict[str, ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "website")
        return {name: import_module(name) for name in ("reference", "elsewhere")}


@pytest.fixture(scope="module")
def made(makers: dict[str, ModuleType]) -> dict[str, str]:
    """The pages that are made when the site is built."""
    pages: dict[str, str] = {}
    for maker in makers.values():
        pages |= maker.pages()
    return pages


def test_every_page_is_in_the_navigation_once(made: dict[str, str]) -> None:
    docs = ROOT / "docs"
    written = {page.relative_to(docs).as_posix() for page in docs.glob("**/*.md") if page.parent.name != "pictures"}
    sources = {page for page in made if page.startswith(("examples/", "benchmarks/"))}  # links lead there
    assert sorted(LISTED) == sorted(written | (made.keys() - sources)), "nav in mkdocs.yml"


def test_the_reference_has_every_hook(made: dict[str, str]) -> None:
    names = [*SPECS, *(name for specs in offered_specs().values() for name in specs)]
    assert re.findall(r"^##+ ([a-z_]+)$", made["reference/hooks.md"], re.MULTILINE) == names


@pytest.mark.parametrize(("page", "group"), [("plugins", "fit.plugins"), ("metrics", "fit.metrics")])
def test_the_reference_has_every_name(made: dict[str, str], page: str, group: str) -> None:
    headings = re.findall(r"^### (.+)$", made[f"reference/{page}.md"], re.MULTILINE)
    assert sorted(headings) == sorted(point.name for point in entry_points(group=group))


def test_the_reference_has_every_command_with_its_options(made: dict[str, str]) -> None:
    text = made["reference/commands.md"]
    headings = re.findall(r"^##+ fit (.+)$", text, re.MULTILINE)
    assert {"train", "evaluate", "predict", "explain", "plugins", "metrics", "hooks", "runs compare"} <= set(headings)
    assert {point.name for point in entry_points(group="fit.commands")} <= set(headings)
    assert "| `--run-dir DIRECTORY` | Where the run keeps its files. |" in text


def test_links_of_files_outside_of_docs_lead_to_pages(made: dict[str, str]) -> None:
    assert "](../optim.md)" in made["packages/fit-optim.md"]
    assert "](../changelog.md)" in made["project/contributing.md"]


def test_the_page_on_performance_leads_to_what_was_run(made: dict[str, str]) -> None:
    links = re.findall(r"\]\((benchmarks/.+?)\)", made["performance.md"])
    assert {"benchmarks/compare.md", "benchmarks/peers/plain.md"} <= set(links) <= made.keys()
    assert "![fit, five other trainers and the plain loop, side by side](compare.svg)" in made["performance.md"]


def test_the_changelog_has_every_package(made: dict[str, str]) -> None:
    packages = ["fit-core", *sorted(folder.name for folder in (ROOT / "plugins").glob("fit-*"))]
    assert re.findall(r"^## (.+)$", made["changelog.md"], re.MULTILINE) == packages


def test_pictures_are_shown_where_there_are_some(makers: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    (tmp_path / "docs" / "pictures" / "curves.png").touch()
    monkeypatch.setattr(makers["elsewhere"], "ROOT", tmp_path)
    text = "Before.\n<!-- pictures/curves.png, pictures/none.png -->\n<!-- a remark -->\n"
    assert makers["elsewhere"].pictured(text, "figures.md") == "Before.\n![curves](pictures/curves.png)\n<!-- a remark -->\n"

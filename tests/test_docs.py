"""Every code block of README and docs runs."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fit_core import State, hookspecs
from fit_core.testing import ForkServer, Outcome

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
    ROOT / "core" / "README.md",
    ROOT / "CONTRIBUTING.md",
]
LANGUAGES = {"python", "console", "toml", "text"}
OTHERS = ROOT / "docs" / "from"
"""Pages that show programs for other libraries, as `py`: they are parsed, and never run."""
MADE = set(re.findall(r": ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
"""Pages of the site; those that are not in docs/ are made when it is built (test_site.py)."""


def blocks(page: Path) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def python_of(page: Path) -> list[str]:
    """Return what is to be run: not files, nor what is shown of examples, which tests/test_gallery.py looks at."""
    return [text for language, text in blocks(page) if language == "python" and not re.match(r"# (examples/)?\w+\.py\n", text)]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def made(page: Path, target: str) -> bool:
    """Whether a page of docs/ links to one that is made when the site is built."""
    docs = ROOT / "docs"
    path = Path(os.path.normpath(page.parent / target))
    return page.is_relative_to(docs) and path.is_relative_to(docs) and str(path.relative_to(docs)) in MADE


@pytest.fixture(scope="module")
def strict() -> Iterator[ForkServer]:
    """Processes in which warnings are errors."""
    with ForkServer("-W", "error") as server:
        yield server


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=name_of)
def test_python_blocks_run_in_their_order(page: Path, tmp_path: Path, strict: ForkServer) -> None:
    """All in one process, in a folder of their own; a block that begins with `# name.py` is that file."""
    (tmp_path / "page.py").write_text("\n\n".join(python_of(page)))
    done = strict.run("page.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_run(page: Path, tmp_path: Path, run_fit: Callable[..., Outcome]) -> None:
    """Every `$ fit ...` runs where the page's files are. What installs is run by .ci/run."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for language, text in blocks(page):
        written = re.match(r"# (\w+\.py)\n", text)
        if language == "python" and written:
            (tmp_path / written[1]).write_text(text)
    if not (tmp_path / "script.py").exists():
        shutil.copy(ROOT / "examples" / "digits.py", tmp_path / "script.py")
    for command in [
        line for language, text in blocks(page) if language == "console" for line in re.findall(r"^\$ (.*)", text, re.MULTILINE)
    ]:
        for part in command.split("&&"):
            words = shlex.split(part)
            if words[0] == "fit":
                done = run_fit(*words[1:])
                assert done.code == 0, f"{part}\n{done.stderr}"
            else:
                assert words[:1] in (["python3.11"], ["."], ["pip"], ["tox"]), f"what runs {part!r}?"


@pytest.mark.parametrize("page", [page for page in PAGES if "$ fit explain" in page.read_text()], ids=name_of)
def test_plans_are_those_that_run(page: Path, tmp_path: Path, run_fit: Callable[..., Outcome]) -> None:
    """What a page shows of a plan is printed, in this order; a line may be cut short, and `...` leaves some out."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    written = [text for language, text in blocks(page) if language == "python" and text.startswith("# script.py\n")]
    (tmp_path / "script.py").write_text(written[0] if written else (ROOT / "examples" / "digits.py").read_text())
    for text in [text for language, text in blocks(page) if language == "console"]:
        for command, shown in re.findall(r"^\$ (fit explain .*)\n((?:[^$].*\n|\n)*)", text, re.MULTILINE):
            printed = iter(run_fit(*shlex.split(command)[1:]).stdout.splitlines())
            for line in filter(None, shown.splitlines()):
                assert line == "..." or any(one.startswith(line) for one in printed), f"{command} does not print {line!r} there"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_what_they_are(page: Path) -> None:
    assert {language for language, _ in blocks(page)} <= LANGUAGES | ({"py"} if page.parent == OTHERS else set())
    for language, text in blocks(page):
        if language == "py":
            ast.parse(text)
        if language == "toml":
            assert tomllib.loads(text)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "ARCHITECTURE.md"], ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists() or made(page, target), target


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "concepts" / "loop.md"], ids=name_of)
def test_the_drawing_is_that_of_the_specifications(page: Path) -> None:
    drawing = re.search(r"```text\n.*?```", hookspecs.__doc__ or "", re.DOTALL)
    assert drawing is not None
    assert drawing[0] in page.read_text()


def test_the_table_of_state_is_complete() -> None:
    page = (ROOT / "docs" / "control.md").read_text()
    table = page[page.index("| attribute |") : page.index("| `state[KEY]`")]
    named = {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == set(State.attributes())


def test_the_map_names_every_file_of_the_core() -> None:
    source = ROOT / "core" / "src" / "fit_core"
    text = (ROOT / "ARCHITECTURE.md").read_text()
    missing = [path.name for path in source.glob("*.py") if path.name not in text and not path.name.startswith("__")]
    assert not missing

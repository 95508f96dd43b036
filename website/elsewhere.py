"""What the site shows of files outside of docs/, and links that lead there."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(\]\()([^)#\s]+)")
NAMED = ("core/README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
PICTURES = re.compile(r"^<!-- (\S+\.png(?:, \S+\.png)*) -->$", re.MULTILINE)
"""Where pictures belong that are made (nox -s pictures), and are not there in a checkout."""


def pages() -> dict[str, str]:
    """Return the pages that are made of files outside of docs/, by their path on the site."""
    shown = {place(file): file for file in (*ROOT.glob("plugins/*/README.md"), *(ROOT / name for name in NAMED))}
    made = {path: relinked(file.read_text(), inside(file), path) for path, file in shown.items()}
    made |= {place(file): program(file) for folder in ("examples", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py"))}
    return {**made, "changelog.md": changelog()}


def place(file: Path) -> str:
    """Return the path on the site of a file of the repository; it need not be there."""
    path = PurePosixPath(inside(file))
    if path.parts[0] == "docs":
        return str(path.relative_to("docs"))
    if path.parts[0] == "plugins":
        return f"packages/{path.parts[1]}.md"
    if path.parts[0] in ("examples", "benchmarks"):
        return str(path.with_suffix(".md"))
    named = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "core/README.md": "packages/fit-core.md"}
    return named.get(str(path), f"project/{path.stem.lower()}.md")


def inside(file: Path) -> str:
    """Return a path below the repository's root."""
    return file.relative_to(ROOT).as_posix()


def program(file: Path) -> str:
    """Return the page of a program: its source."""
    return f"# {inside(file)}\n\n```python\n{file.read_text()}```\n"


def changelog() -> str:
    """Return the changelogs of all packages, one after the other."""
    files = re.findall(r"\]\((.*?)\)", (ROOT / "CHANGELOG.md").read_text())
    texts = [re.sub(r"^#", "##", (ROOT / file).read_text(), flags=re.MULTILINE).replace("## Changelog of ", "## ") for file in files]
    return "\n".join(["# Changelog\n", *texts])


def pictured(text: str, page: str) -> str:
    """Show pictures in the places of those that there are.

    Args:
        text: markdown.
        page: the path of the page below docs/.
    """
    folder = (ROOT / "docs" / page).parent

    def shown(match: re.Match[str]) -> str:
        return "\n".join(f"![{Path(name).stem}]({name})" for name in match[1].split(", ") if (folder / name).exists())

    return PICTURES.sub(shown, text)


def relinked(text: str, source: str, page: str) -> str:
    """Turn links to files of the repository into links to where the site has them.

    Args:
        text: markdown.
        source: the path of the file it comes from, below the repository's root.
        page: the path of the page on the site.
    """

    def link(match: re.Match[str]) -> str:
        file = ROOT / normpath(PurePosixPath(source).parent / match[2])
        if "://" in match[2] or not file.exists() or file == ROOT:
            return match[0]
        return match[1] + relpath(place(file), PurePosixPath(page).parent)

    return LINK.sub(link, text)

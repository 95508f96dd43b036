"""What mkdocs calls: adds the pages that are made, and leads links out of docs/ to pages of the site."""

from __future__ import annotations

from pathlib import Path

import elsewhere
import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

STYLE = "site.css"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the style sheet."""
    for path, text in {**elsewhere.pages(), **reference.pages()}.items():
        files.append(File.generated(config, path, content=text))
    files.append(File.generated(config, STYLE, abs_src_path=str(Path(__file__).parent / STYLE)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a page of docs/, and show the pictures that there are."""
    path = page.file.src_uri
    return markdown if page.file.generated_by else elsewhere.relinked(elsewhere.pictured(markdown, path), f"docs/{path}", path)

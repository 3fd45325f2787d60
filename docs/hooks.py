"""Brings documents from outside ``docs/`` into the site, and points their links, and those to them, to where they are.

Nothing is copied in the repository: README.md is the first page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPO = Path(__file__).parents[1]
INDEX = "adr/README.md"
PAGES = {
    "README.md": "index.md",
    "threat_model.md": "threat_model.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples/README.md",
}
"""Where in the site a document of the repository is, beside those of ``docs/``."""
FILES = ("examples/*.py", "securesplit/locale/*.po", "LICENSE", "LICENSES/*.txt")
"""What pages link to."""
FENCE = re.compile(r"^```(\w+)[ \w-]+$", re.MULTILINE)
"""A block of commands for one machine, which tests read."""
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and files from outside."""
    outside = PAGES | {path: path for pattern in FILES for path in _found(pattern)}
    for path, uri in outside.items():
        files.append(File.generated(config, uri, content=(REPO / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links of the repository -> links of the site."""
    here = next((path for path, uri in PAGES.items() if uri == page.file.src_uri), f"docs/{page.file.src_uri}")

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), link[1]))
        uri = INDEX if target == "docs/adr" else PAGES.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or '.')}{link[2] or ''})"

    return FENCE.sub(r"```\1", LINK.sub(moved, markdown))


def _found(pattern: str) -> list[str]:
    return sorted(path.relative_to(REPO).as_posix() for path in REPO.glob(pattern))

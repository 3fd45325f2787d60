"""Fails where a page of the built site would load something from another host: ``python docs/check_site.py FOLDER``."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path

LOADED = {"src", "srcset", "data", "poster", "action", "background"}
FOREIGN = ("http:", "https:", "//", "ftp:", "ws:", "wss:")


class Page(HTMLParser):
    """Collects what a browser would fetch by itself; links that a person clicks are none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at the attributes that load; of ``link`` the address too, unless it only names the page."""
        rel = dict(attrs).get("rel")
        loading = LOADED | ({"href"} if tag == "link" and rel not in ("canonical", "next", "prev") else set())
        self.foreign += [f"{tag} {n}={v}" for n, v in attrs if n in loading and (v or "").strip().startswith(FOREIGN)]


def main(folder: Path) -> int:
    """Print what is foreign; 0 where nothing is."""
    found = []
    for file in sorted(folder.rglob("*.html")):
        page = Page()
        page.feed(file.read_text(encoding="utf-8"))
        found += [f"{file.relative_to(folder)}: {what}" for what in page.foreign]
    for file in sorted(folder.rglob("*.css")):
        text = file.read_text(encoding="utf-8").replace(" ", "")
        found += [f"{file.relative_to(folder)}: url" for start in FOREIGN if f"url({start}" in text]
    print(*found or [f"{folder}: nothing is loaded from elsewhere"], sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

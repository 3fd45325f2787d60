"""The check of the built site finds what a page would load from elsewhere, and links that a person clicks are left."""

import re
import runpy

import pytest

from tests.conftest import REPO

CHECK = runpy.run_path(str(REPO / "docs" / "check_site.py"))["main"]


@pytest.mark.parametrize(
    ("content", "foreign"),
    [
        ("<a href='https://example.org'>there</a><img src='roc.png'>", False),
        ("<link rel='canonical' href='https://example.org/page'>", False),
        ("<link rel='stylesheet' href='https://fonts.example.org/css'>", True),
        ("<script src='//cdn.example.org/x.js'></script>", True),
        ("<img srcset='http://example.org/x.png 2x'>", True),
    ],
)
def test_foreign_resources_are_found(content, foreign, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "page.html").write_text(content)
    assert CHECK(tmp_path) == int(foreign)


def test_a_link_to_nowhere_fails_the_site():
    """With ``--quiet`` mkdocs drops its warnings before ``--strict`` counts them."""
    (built,) = re.findall(r"mkdocs build (.*)", (REPO / "Makefile").read_text(encoding="utf-8"))
    assert "--strict" in built
    assert not re.search(r"--quiet|-q\b", built)


def test_style_sheets_are_read_too(tmp_path):
    (tmp_path / "a.css").write_text("@font-face { src: url( https://example.org/a.woff2 ) }")
    assert CHECK(tmp_path) == 1

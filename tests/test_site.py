"""The check of the built site finds what a page would load from elsewhere, and links that a person clicks are left."""

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


def test_style_sheets_are_read_too(tmp_path):
    (tmp_path / "a.css").write_text("@font-face { src: url( https://example.org/a.woff2 ) }")
    assert CHECK(tmp_path) == 1

"""The audit's report in a real browser: nothing falls off a phone, and axe-core finds nothing in light or dark."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.privacy.reports import kept, page_of

pytestmark = pytest.mark.browser

AXE = resources.files("axe_core_python").joinpath("axe.min.js")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_axe_finds_nothing(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    (tmp_path / "report.html").write_text(page_of(kept()), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.goto(f"file://{tmp_path}/report.html")
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = "[...document.querySelectorAll('td')].filter((c) => c.getBoundingClientRect().right > innerWidth).length"
    assert page.evaluate(cut) == 0
    page.evaluate(AXE.read_text(encoding="utf-8") + ";0")
    found = page.evaluate("() => axe.run()")["violations"]
    assert not [f"{each['id']}: {[node['html'][:200] for node in each['nodes']][:3]}" for each in found]
    page.close()

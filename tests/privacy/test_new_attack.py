"""A new attack is one module (`brightness`) and one entry of the registry; everything else follows."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from securesplit.audit import registry, suite
from securesplit.model import Bundle
from securesplit_testing.audits import TINY
from tests.privacy import brightness

for module in ("sklearn", "scipy", "matplotlib", "jinja2"):
    pytest.importorskip(module)

ONE_ATTACK = replace(TINY, decoder_photos=(), averaged=(1,), epsilons=())


def only(id_, spec):
    """The spec without its steps, unless it is the one that is tried."""
    return spec if spec.id == id_ else replace(spec, steps=lambda *_: {})


def test_a_new_attack_is_a_module_and_an_entry(tmp_path, monkeypatch):
    from securesplit.audit import report

    monkeypatch.setattr(registry, "ATTACKS", (*(only("A0", spec) for spec in registry.ATTACKS), brightness.SPEC))
    context = suite.prepare(Bundle.load(), None, tmp_path, ONE_ATTACK, ("certified",), lambda _: None)
    audit = report.finish(suite.run(context, lambda _: None))
    report.write(audit, context, tmp_path)
    found = json.loads((tmp_path / "audit.json").read_text())
    result = next(r for r in found["results"] if r["kind"] == "brightness")
    assert (result["attack"], result["preset"], result["step"]) == ("A14", "certified", "certified A14")
    goal = next(g for g in found["goals"] if g["claim"] == "A14 brightness beyond the mean")
    assert (goal["state"], goal["value"]) == ("passed", result["gain"]["mean"])
    assert "### Brightness (A14)" in (tmp_path / "report.md").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Brightness (A14)</h2>" in page
    assert re.search(r"<dt id='A14'>A14 Brightness <span class='dim'>\(in this report\)", page)
    assert "<a href='#A14'>A14</a> brightness beyond the mean" in page
    assert [spec.id for spec in registry.shown()][-3:] == ["A14", "summary", "frontier"]
    again = suite.run(suite.prepare(Bundle.load(), None, tmp_path, ONE_ATTACK, ("certified",), lambda _: None), print)
    assert again.results == audit.results

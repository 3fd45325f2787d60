"""What an audit says to people: two sentences first, every attack in words, cards on a phone, nothing red for free."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest
from markupsafe import escape

from securesplit.audit import registry, report, verdict
from securesplit.audit.goals import Goal
from securesplit.audit.metrics import Estimate
from securesplit.i18n import using
from tests.privacy.reports import CONTROL, estimate, finished, kept, page_of, results_of


def text_of(page: str) -> str:
    return html.unescape(re.sub("<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


def test_two_sentences_come_first() -> None:
    audit = kept()
    first, second = verdict.sentences(audit)
    assert re.fullmatch(r"All \d+ promises were kept\.", first)
    assert second == (
        "The strongest attack came this far from a guess to the photo: certified 0 %, compact 50 %, none 50 % "
        "(compact and none promise nothing about it)."
    )
    text = text_of(page_of(audit))
    assert text.index(first) < text.index(second) < text.index("Bundle sha256:") < text.index("Every goal")
    assert report.verdict(audit)[:2] == [first, second]


def test_a_broken_promise_is_named_and_how_surely() -> None:
    audit = finished({"certified": "proven"}, *results_of("certified"))
    first = verdict.sentences(audit)[0]
    assert re.match(r"\d of \d+ promises were broken: certified, best MSE skill", first)
    assert first.endswith("; ….")
    assert "class='verdict failed'" in page_of(audit)
    close = [r for r in results_of("certified", skill=0.001) if r["kind"] == "summary"]
    close[0]["auc_lost"] = Estimate(0.012, 0.001, 0.02)
    first = verdict.sentences(finished({"certified": "proven"}, *close))[0]
    assert re.match(
        r"1 of 6 promises was broken: certified, AUC lost against undefended \(by no more than these photos", first
    )


def test_one_promise_and_none_are_counted_in_words() -> None:
    promised = Goal("certified", "small", 1.0, 2.0, met=True)
    other = replace(promised, promised=False)

    def first(*goals: Goal) -> str:
        return verdict.sentences(replace(kept(), goals=goals))[0]

    assert first(promised, other) == "The one promise was kept."
    assert first(promised, promised) == "All 2 promises were kept."
    assert first(other) == "Nothing that was measured is promised."


def test_what_is_not_judged_and_what_is_void_is_said() -> None:
    open_ = [*results_of("certified", skill=0.001)]
    assert re.match(
        r"No promise was broken, but 1 of \d+ could not",
        verdict.sentences(finished({"certified": "proven"}, *open_))[0],
    )
    void = finished({"certified": "proven"}, *open_, control=CONTROL | {"ssim": estimate(0.2)})
    assert verdict.sentences(void)[0].startswith("This audit is void: the attacks did not recover")
    assert "class='verdict void'" in page_of(void)
    nothing = finished({"certified": "proven"})
    assert verdict.sentences(nothing)[1] == "No attack that rebuilds photos was run."


def test_what_was_never_promised_is_not_shown_as_failed() -> None:
    page = page_of(kept())
    assert "class='failed'" not in page
    assert page.count("promises nothing about the photo") == 2
    assert "keeps its promises" in page
    certified, compact = (re.search(rf"<details( open)?><summary>{name}:", page) for name in ("certified", "compact"))
    assert certified
    assert compact
    assert compact[1] is None, "what needs no attention is shut"


def test_a_card_has_the_stronger_way_to_name_a_photo() -> None:
    results = results_of("compact", skill=0.3)
    for r in results:
        if r["kind"] == "identification":
            r["assigned"] = estimate(0.64)
    assert "64 % of the time (0.2 % by the answer alone)" in text_of(page_of(finished({"compact": "none"}, *results)))


def test_every_attack_is_explained_and_says_whether_it_was_run() -> None:
    attacks = [spec for spec in registry.shown() if spec.name]
    assert [spec.id for spec in attacks] == [f"A{number}" for number in range(14)]
    page = page_of(kept())
    for spec in attacks:
        assert f"id='{spec.id}'>{spec.id} {escape(spec.name)} <span" in page
        assert escape(spec.description) in page
    for attack, part in (("A3", "in this report"), ("A7", "not run"), ("A13", "not part of this audit")):
        assert re.search(rf"id='{attack}'>[^<]*<span class='dim'>\({part}\)", page)
    linked = set(re.findall("href='#(A[0-9]+)'", page))
    assert linked >= {"A3", "A6", "A7", "A8"}
    for attack in linked:
        assert f"id='{attack}'" in page


def test_every_cell_knows_its_column() -> None:
    """On a phone a row is a card, and each figure stands beside its name."""
    page = page_of(kept())
    assert not re.search(r"<td>[^<]|<td><span", page)
    assert page.count("<td data-label=") > 100


def test_names_that_people_choose_are_text() -> None:
    page = page_of(kept())
    assert "a <bundle>" not in page
    assert "a &lt;bundle&gt;" in page


def test_it_speaks_korean() -> None:
    with using("ko"):
        page = page_of(kept())
        first = verdict.sentences(kept())[0]
    assert '<html lang="ko">' in page
    assert re.search("[가-힣]", first)
    assert first in page
    for spec in registry.shown():
        assert not spec.description or escape(spec.description) not in page, spec.name


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_names_are_enumerated(names: list[str]) -> None:
    assert verdict.enumerated(names) == {1: "a", 2: "a and b", 3: "a, b and c"}[len(names)]

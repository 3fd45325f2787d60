"""What ``securesplit cuts --measure`` says of figures: bytes by preset, rows of csv, text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securesplit.audit.cut_leakage import Leakage
from securesplit.audit.metrics import Estimate
from securesplit.channel.payload import REQUEST_OVERHEAD_BYTES
from securesplit.cli import cuts_measured
from securesplit.cli.cuts_measured import COLUMNS, MeasuredCuts, Wanted
from securesplit.errors import BundleError, ConfigError
from securesplit.model.cut_choice import Link
from securesplit.model.cut_timing import CutTimes, Times
from securesplit.model.cuts import Cut

WANTED = Wanted("none", None, "0..255", 1, 60.0, Link(bits_per_s=1e6), None)
WHOLE = Times(10.0, 11.0, 40)
CUTS = [Cut("early", (10, 10, 8), 1, 9, 1, 9), Cut("late", (4,), 9, 1, 9, 1)]
TIMES = [CutTimes(Times(head, head + 0.5, 40), Times(10 - head, 11 - head, 40)) for head in (1.0, 9.0)]
SKILL = Estimate(0.5, 0.4, 0.6)
LEAKAGE = Leakage(200, 80, "synthetic lesions", {"early": SKILL}, Estimate(0.1, 0.0, 0.2), 0.02)


def measured(wanted: Wanted, *, timed: int = 2) -> MeasuredCuts:
    spec = cuts_measured._spec(wanted)
    times = [*TIMES[:timed], None][:2]
    rows = [
        cuts_measured._row(cut, spec, took, LEAKAGE.skill.get(cut.layer), WHOLE, wanted.link)
        for cut, took in zip(CUTS, times, strict=True)
    ]
    return MeasuredCuts(rows, WHOLE, LEAKAGE, wanted, cuts_measured._recommended(rows, spec, wanted))


def test_the_undefended_cut_is_two_bytes_a_number() -> None:
    found = measured(WANTED)
    assert [row.request_bytes - REQUEST_OVERHEAD_BYTES for row in found.cuts] == [1600, 8]
    assert found.recommendation is not None
    assert found.recommendation.layer == "late"


def test_an_encoder_sends_the_same_at_every_cut() -> None:
    found = measured(replace(WANTED, privacy="compact"))
    assert {row.request_bytes - REQUEST_OVERHEAD_BYTES for row in found.cuts} == {3 * 3 * 16}
    assert any("needs an encoder trained for the cut" in line for line in cuts_measured.notes(found))


@pytest.mark.parametrize("privacy", ["certified", "8"])
def test_certified_is_computed_on_the_device_whatever_the_cut(privacy: str) -> None:
    found = measured(replace(WANTED, privacy=privacy))
    assert {row.latency.head_ms for row in found.cuts if row.latency} == {WHOLE.median_ms}
    assert {row.latency.tail_ms for row in found.cuts if row.latency} == {0.0}
    assert found.recommendation is not None
    assert found.recommendation.layer is None
    assert "no cut matters" in found.recommendation.reason


def test_presets_of_which_nothing_can_be_said() -> None:
    with pytest.raises(BundleError, match="no preset 'absent'"):
        measured(replace(WANTED, privacy="absent"))
    with pytest.raises(ConfigError, match="compact does not send that"):
        measured(replace(WANTED, privacy="compact", max_leakage=0.5))


def test_what_was_not_measured_is_empty_and_counted() -> None:
    found = measured(WANTED, timed=1)
    header, early, late = cuts_measured.csv_rows(found)
    assert header == COLUMNS
    assert dict(zip(COLUMNS, early, strict=True)) == {
        "layer": "early",
        "shape": "10×10×8",
        "float32_bytes": 3200,
        "request_bytes": 1600 + REQUEST_OVERHEAD_BYTES,
        "head_ms": 1.0,
        "head_p95_ms": 1.5,
        "tail_ms": 9.0,
        "tail_p95_ms": 10.0,
        "transfer_ms": 13.568,
        "latency_ms": 23.568,
        "skill": 0.5,
        "skill_low": 0.4,
        "skill_high": 0.6,
        "recommended": 1,
    }
    assert list(late[4:]) == [None] * 9 + [0]
    columns, rows = cuts_measured.table(found)
    assert [row[0] for row in rows] == ["early *", "late"]
    assert all(len(row) == len(columns) for row in rows)
    assert list(rows[1][3:]) == ["–"] * 5
    assert any("1 cut could not be measured" in line for line in cuts_measured.notes(found))


def test_without_a_link_there_is_no_latency_and_no_recommendation() -> None:
    found = measured(replace(WANTED, link=None))
    assert found.recommendation is None
    assert cuts_measured.table(found)[0] == ["layer", "shape", "request bytes", "head ms", "tail ms", "skill"]

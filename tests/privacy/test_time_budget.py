"""Time for attacks that could go on for ever: who is cut short says so, and nothing is called met on its word."""

import numpy as np
import pytest

from securesplit.audit import goals, markdown, page, report
from securesplit.audit.attacks import decoder
from securesplit.audit.attacks.setting import AttackerKnowledge
from securesplit.audit.store import Store
from securesplit.audit.time_budget import TimeBudget, share


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_parts_share_the_time_that_is_left():
    clock = Clock()
    budget = TimeBudget(30.0, clock)
    first = budget.part(3)
    clock.now += 9
    assert first()
    clock.now += 2  # the first part took 11 s and asks in vain
    assert not first()
    second = budget.part(2)
    clock.now += 9.4
    assert second()
    clock.now += 0.2
    assert not second()
    assert budget.cut_short


def test_who_needs_less_is_not_cut_short():
    clock = Clock()
    budget = TimeBudget(30.0, clock)
    for number in range(3):
        more = budget.part(3 - number)
        clock.now += 5
        assert more()
    assert not budget.cut_short
    assert TimeBudget().part(1)()


def test_shares_never_exceed_what_is_left_and_end_with_all_of_it():
    left, weights = 600.0, [1.0, 3.0, 3.0, 1.0]
    for number, weight in enumerate(weights):
        taken = share(left, weight, sum(weights[number:]))
        assert 0 < taken <= left
        left -= taken
    assert left == pytest.approx(0.0)
    assert share(-5.0, 1.0, 2.0) == 0.0


def test_a_decoder_without_time_is_the_linear_answer():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    photos = rng.random((60, 8, 8, 3), np.float32)
    known = AttackerKnowledge(photos, photos.reshape(60, -1)[:, :5], np.zeros(60, bool))
    asked = []

    def never():
        asked.append(1)
        return False

    rebuilt = decoder.fit(known, 0.0, 1, updates=100, should_continue=never)(known.noise_free[:3])
    assert rebuilt.shape == (3, 8, 8, 3)
    assert len(asked) == 1


def audit_of(*results):
    control = {"kind": "control", "preset": "control", "attack": "A1", "ssim": {"mean": 0.95}, "needed": 0.9}
    return {"presets": ["p"], "results": [control, *results], "minutes": 60.0}


def rebuilt(attack, skill, **more):
    estimate = {"mean": skill, "low": skill, "high": skill, "p95": skill}
    figures = {"skill": estimate, "ssim": estimate, "ssim_gain": estimate, "photos": 12, "seeds": 3}
    return {"kind": "reconstruction", "preset": "p", "attack": attack, **figures, **more}


def test_an_attack_that_was_cut_short_did_not_fail():
    """Its low skill settles nothing, a high one does; the report and the verdict say which attack it was."""
    cut = {"cut_short": "after 300 s"}
    whole = goals.judge(audit_of(rebuilt("A2", 0.01), rebuilt("A3", 0.02)))
    short = goals.judge(audit_of(rebuilt("A2", 0.01, **cut), rebuilt("A3", 0.02)))
    leaks = goals.judge(audit_of(rebuilt("A2", 0.3, **cut), rebuilt("A3", 0.02)))
    assert [g.met for g in whole[1:3]] == [True, True]
    assert [g.met for g in short[1:3]] == [None, None]
    assert [g.met for g in leaks[1:3]] == [False, False]
    assert "A2 cut short" in short[1].claim
    audit = audit_of(rebuilt("A2", 0.01, **cut), rebuilt("A3", 0.02))
    audit = report.finish(audit)
    assert audit["state"] == "not run"
    said = "\n".join(report.verdict(audit))
    assert "  not run" in said
    assert "A2 cut short after 300 s: not tried to the end" in said
    assert "--minutes" in said
    assert "class='not-run'>not run</span>" in page.goals_table(audit["goals"])
    columns = page.SECTIONS["reconstruction"][1]
    assert "cut short after 300 s" in page.table(columns, audit["results"][1:])
    assert "cut short after 300 s" in markdown.table(columns, audit["results"][1:])


def not_run(attack, preset="p", **more):
    return {"kind": "not run", "preset": preset, "attack": attack, "reason": "no time was left", **more}


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ([rebuilt("A3", 0.02)], "passed"),
        ([rebuilt("A3", 0.3)], "failed"),
        ([rebuilt("A3", 0.02), not_run("A2")], "not run"),
        ([rebuilt("A3", 0.3), not_run("A2")], "failed"),
        ([rebuilt("A3", 0.02), not_run("A2", left_out=True)], "passed"),
        ([rebuilt("A3", 0.02), not_run("A7")], "not run"),
        ([rebuilt("A3", 0.02), not_run("summary")], "not run"),
        ([rebuilt("A3", 0.02), not_run("positive control A2", preset="control")], "not run"),
        ([], "not run"),
    ],
)
def test_what_did_not_run_is_not_a_pass(results, state):
    audit = report.finish(audit_of(*results))
    assert audit["state"] == state
    assert {goal["state"] for goal in audit["goals"]} <= {"passed", "failed", "not run"}
    assert f"1 {state}" in "\n".join(report.verdict(audit)) or audit["states"][state] > 1


@pytest.mark.parametrize("ssim", [None, 0.2, float("nan")])
def test_an_audit_without_its_control_is_void(ssim):
    audit = audit_of(rebuilt("A3", 0.02))
    audit["results"][:1] = [] if ssim is None else [audit["results"][0] | {"ssim": {"mean": ssim}}]
    found = report.finish(audit)
    assert found["valid"] is False
    assert found["state"] == "not run"
    assert goals.void(found)


def test_averaging_without_the_rule_misses_the_goal():
    """A5 is no part of that goal."""
    short = goals.judge(audit_of(rebuilt("A3", 0.02), rebuilt("A5", 0.01, cut_short="after 3 s")))
    assert short[1].met is True


def test_more_minutes_go_on_with_what_was_cut_short(tmp_path):
    store, longer = Store(tmp_path, 5.0), Store(tmp_path, 60.0)
    store.make("whole", lambda: {"kind": "x"})
    store.make("short", lambda: {"kind": "x", "cut_short": "after 3 s"})
    assert store.read("short") is not None
    assert longer.read("whole") == store.read("whole")
    assert longer.read("short") is None
    assert longer.make("short", lambda: {"kind": "x"}) == longer.read("short") == store.read("short")
    assert not list(tmp_path.glob("*.partial"))


def test_a_goal_shows_the_paired_difference():
    estimate = {"mean": 0.012, "low": 0.011, "high": 0.014, "p95": 0.0}
    floor = {"mean": 0.005, "low": 0.004, "high": 0.006, "p95": 0.0}
    excess = {"mean": 0.002, "low": -0.001, "high": 0.005, "p95": 0.0}
    lesion = {"kind": "lesion", "preset": "p", "attack": "A7", "lesions": 290, "top1": estimate, "label_only": floor}
    goal = next(g for g in goals.judge(audit_of(lesion | {"excess": excess})) if "A7" in g.claim)
    assert goal.met is False
    assert goals.difference(goal.to_json()) == "+0.0020 (-0.0010 to +0.0050)"

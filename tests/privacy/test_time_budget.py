"""Time for attacks that could go on for ever: who is cut short says so, and nothing is called met on its word."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from securesplit.audit import judge, markdown, page, registry, report, suite
from securesplit.audit.attack import AnytimeStep
from securesplit.audit.attacks import decoder
from securesplit.audit.metrics import Estimate
from securesplit.audit.reconstruction import ReconstructionResult
from securesplit.audit.setting import AttackerKnowledge
from securesplit.audit.store import Store
from securesplit.audit.time_budget import TimeBudget, share
from securesplit_testing.clock import Clock
from tests.privacy import reports
from tests.privacy.reports import estimate, typed


def test_parts_share_the_time_that_is_left():
    clock = Clock()
    budget = TimeBudget(30.0, clock)
    first = budget.part(3)
    clock.now_s += 9
    assert first()
    clock.now_s += 2  # the first part took 11 s and asks in vain
    assert not first()
    second = budget.part(2)
    clock.now_s += 9.4
    assert second()
    clock.now_s += 0.2
    assert not second()
    assert budget.cut_short


def test_who_needs_less_is_not_cut_short():
    clock = Clock()
    budget = TimeBudget(30.0, clock)
    for number in range(3):
        more = budget.part(3 - number)
        clock.now_s += 5
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


def budgets(tmp_path, monkeypatch, **needed):
    """Seconds that each step was allowed, in order, in an audit of a minute; each takes no time, but wants some."""
    allowed = {name: [] for name in needed}

    def step(name):
        def run(budget):
            allowed[name].append(budget.seconds)
            return typed(rebuilt("A3", 0.1, cut_short="after 3 s" if budget.seconds < needed[name] else ""))

        return AnytimeStep(1.0, run)

    monkeypatch.setattr(suite, "steps", lambda _: ({}, {name: step(name) for name in needed}))
    (tmp_path / "pictures").mkdir()
    context = SimpleNamespace(pictures=tmp_path / "pictures", profile=SimpleNamespace(minutes=1.0), seconds=0.0)
    results = suite._results(context, lambda _: None)
    assert [result.step for result in results] == list(needed)
    assert {result.step: not result.cut_short for result in results} == {
        name: max(allowed[name]) >= seconds for name, seconds in needed.items()
    }
    return allowed


def test_time_that_is_left_goes_to_who_was_cut_short(tmp_path, monkeypatch):
    allowed = budgets(tmp_path, monkeypatch, long=40.0, short=1.0, shorter=0.5)
    assert allowed["long"] == pytest.approx([19.0, 57.0])
    assert [len(allowed[name]) for name in ("short", "shorter")] == [1, 1]


def test_who_never_ends_is_tried_again_only_with_more_time(tmp_path, monkeypatch):
    allowed = budgets(tmp_path, monkeypatch, endless=math.inf, longer=math.inf, short=1.0)
    for name in ("endless", "longer"):
        assert 1 < len(allowed[name]) < 5
        assert all(later >= suite.MORE * before for before, later in pairwise(allowed[name]))


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


CONTROL = {"kind": "control", "preset": "control", "attack": "A1", "ssim": Estimate(0.95, 0.95, 0.95), "needed": 0.9}


def audit_of(*results, control=CONTROL):
    return reports.audit_of({"p": "measured"}, *([control] if control else []), *results)


def rebuilt(attack, skill, **more):
    figures = {
        "skill": estimate(skill),
        "ssim": estimate(skill),
        "ssim_gain": estimate(skill),
        "photos": 12,
        "seeds": 3,
    }
    return {"kind": "reconstruction", "preset": "p", "attack": attack, **figures, **more}


def test_an_attack_that_was_cut_short_did_not_fail():
    """Its low skill settles nothing, a high one does; the report and the verdict say which attack it was."""
    cut = {"cut_short": "after 300 s"}
    whole = judge.judge(audit_of(rebuilt("A2", 0.01), rebuilt("A3", 0.02)))
    short = judge.judge(audit_of(rebuilt("A2", 0.01, **cut), rebuilt("A3", 0.02)))
    leaks = judge.judge(audit_of(rebuilt("A2", 0.3, **cut), rebuilt("A3", 0.02)))
    assert [g.met for g in whole[1:3]] == [True, True]
    assert [g.met for g in short[1:3]] == [None, None]
    assert [g.met for g in leaks[1:3]] == [False, False]
    assert "A2 cut short" in short[1].claim
    audit = audit_of(rebuilt("A2", 0.01, **cut), rebuilt("A3", 0.02))
    audit = report.finish(audit)
    assert audit.state == "not run"
    said = "\n".join(report.verdict(audit))
    assert "  not run" in said
    assert "A2 cut short after 300 s: not tried to the end" in said
    assert "--minutes" in said
    assert "class='not-run'>not run</span>" in page.goals_table(audit.goals)
    shown = audit.of(ReconstructionResult)
    assert "cut short after 300 s" in page.table(ReconstructionResult, shown)
    assert "cut short after 300 s" in markdown.table(ReconstructionResult, shown)


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
    assert audit.state == state
    assert {goal.state for goal in audit.goals} <= {"passed", "failed", "not run"}
    assert f"1 {state}" in "\n".join(report.verdict(audit)) or audit.states[state] > 1


@pytest.mark.parametrize("ssim", [None, 0.2, float("nan")])
def test_an_audit_without_its_control_is_void(ssim):
    control = ssim and CONTROL | {"ssim": Estimate(ssim, ssim, ssim)}
    found = report.finish(audit_of(rebuilt("A3", 0.02), control=control))
    assert found.valid is False
    assert found.state == "not run"
    assert found.why_void


def test_averaging_without_the_rule_misses_the_goal():
    """A5 is no part of that goal."""
    short = judge.judge(audit_of(rebuilt("A3", 0.02), rebuilt("A5", 0.01, cut_short="after 3 s")))
    assert short[1].met is True


def test_more_minutes_go_on_with_what_was_cut_short(tmp_path):
    store, longer = (Store(tmp_path, minutes, registry.kinds()) for minutes in (5.0, 60.0))
    found, short = (typed(rebuilt("A3", 0.1, **more)) for more in ({}, {"cut_short": "after 3 s"}))
    made = store.make("whole", lambda: found)
    store.make("short", lambda: short)
    assert made == replace(found, step="whole", minutes=5.0, seconds=made.seconds)
    assert store.read("short") is not None
    assert longer.read("whole") == store.read("whole") == made
    assert longer.read("short") is None
    assert longer.make("short", lambda: found) == longer.read("short") == store.read("short")
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("damage", [lambda r: r | {"new": 1}, lambda r: {"kind": "x"}, lambda r: {"kind": r["kind"]}])
def test_a_step_of_another_version_is_done_again(tmp_path, damage):
    store = Store(tmp_path, 5.0, registry.kinds())
    store.make("step", lambda: typed(rebuilt("A3", 0.1)))
    file = next(tmp_path.glob("step-*.json"))
    file.write_text(json.dumps(damage(json.loads(file.read_text()))))
    assert store.read("step") is None


def test_a_goal_shows_the_paired_difference():
    figures = {"top1": Estimate(0.012, 0.011, 0.014), "label_only": Estimate(0.005, 0.004, 0.006)}
    figures["excess"] = Estimate(0.002, -0.001, 0.005)
    found = {"kind": "lesion", "preset": "p", "attack": "A7", "lesions": 290, "certified_bound": 1.0, **figures}
    goal = next(g for g in judge.judge(audit_of(found)) if "A7" in g.claim)
    assert goal.met is False
    assert goal.difference == "+0.0020 (-0.0010 to +0.0050)"

"""Exit code 12 is for broken promises: what a preset never promised is measured, and fails nothing."""

from dataclasses import replace

import pytest

from securesplit.audit import markdown, page, report
from securesplit.audit.attacks import copies, identification, lesion, persons
from securesplit.audit.metrics import Estimate
from securesplit.device.promise import claim_of
from securesplit.model import Bundle
from tests.privacy.reports import finished, results_of

pytest.importorskip("matplotlib")


@pytest.mark.parametrize(("preset", "request_bytes"), [("none", 9696), ("compact", 240)])
def test_what_was_never_promised_fails_nothing(preset, request_bytes):
    audit = finished({preset: "none"}, *results_of(preset, request_bytes=request_bytes))
    assert audit.state == "passed"
    assert audit.states["failed"] == audit.states["not run"] == 0
    judged = {goal.claim: goal for goal in audit.goals if goal.preset == preset}
    skill = judged["best MSE skill over the class mean (A3)"]
    assert (skill.state, skill.met, skill.value, skill.promised) == ("not promised", False, 0.5, False)
    assert judged["AUC lost against undefended"].state == "not promised"
    assert judged["A7: 0 lesions have two photos, 20 are needed"].state == "not promised"
    assert judged["defence in ms"].state == "passed"
    assert judged["request in bytes"].state == ("not promised" if preset == "none" else "passed")
    for shown in (
        "\n".join(report.verdict(audit)),
        markdown.tables(audit),
        page.goals_table(audit.goals),
    ):
        assert "not promised" in shown
        assert "**failed**" not in shown
        assert "class='failed'" not in shown


@pytest.mark.parametrize("claim", ["proven", "measured", "cryptographic"])
def test_a_broken_promise_fails(claim):
    audit = finished({"none": "none", "certified": claim}, *results_of("none"), *results_of("certified"))
    assert audit.state == "failed"
    assert {goal.preset for goal in audit.goals if goal.state == "failed"} == {"certified"}


def test_what_every_device_does_is_promised_by_every_preset():
    """Two diagnoses of one photo that differ can be averaged; a compact request that is large is not compact."""
    assert finished({"none": "none"}, *results_of("none", distinct=64)).state == "failed"
    assert finished({"compact": "none"}, *results_of("compact", request_bytes=1001)).state == "failed"
    missing = {"kind": "not run", "preset": "compact", "attack": "summary", "reason": "it failed"}
    assert finished({"compact": "none"}, missing).state == "not run"


def test_guarded_promises_the_picture_and_nothing_else():
    """Its limits are its own, and attacks that name or describe its photos are measured and fail nothing."""
    results = results_of("guarded", skill=0.029)
    named = {goal.claim: goal for goal in finished({"guarded": "measured"}, *results).goals if goal.preset == "guarded"}
    assert named["best MSE skill over the class mean (A3)"].limit == 0.10
    assert named["best SSIM above the class mean's (A3)"].state == "passed"
    assert named["A6 top-1 of 1000, 3 × label-only"].state == "not promised"
    assert named["A7: 0 lesions have two photos, 20 are needed"].state == "not promised"
    assert named["A8 AUC of age beyond label-only, paired"].state == "not promised"
    certified = [{**r, "preset": "certified"} for r in results]
    held = {goal.claim: goal.state for goal in finished({"certified": "measured"}, *certified).goals}
    assert held["best SSIM above the class mean's (A3)"] == "failed"
    assert held["A6 top-1 of 1000, 3 × label-only"] == "failed"
    assert held["A7: 0 lesions have two photos, 20 are needed"] == "not run"


@pytest.mark.parametrize(
    ("attacks", "value", "state"),
    [
        ({"A3": (200, Estimate(0.01, 0.0, 0.024))}, 3.0, "passed"),
        ({"A1": (200, Estimate(0.01, 0.0, 0.024)), "A3": (200, Estimate(0.03, 0.01, 0.06))}, 9.0, "failed"),
        ({"A3": (200, Estimate(0.01, 0.0, 0.024)), "A9": (18, Estimate(1 / 18, 0.0, 0.17))}, 3.0, "passed"),
        ({"A3": (200, Estimate(0.01, 0.0, 0.024)), "A9": (18, Estimate(0.4, 0.2, 0.6))}, 60.0, "failed"),
        ({}, None, "not run"),
    ],
    ids=["held", "found", "one by chance", "found by a search of few photos", "not measured"],
)
def test_guarded_promises_that_no_picture_finds_its_own_original(attacks, value, state):
    """Pictures of little skill that are recognised all the same break the promise; other presets promise less skill."""
    (rebuilt,) = [r for r in results_of("guarded", skill=0.001) if r.get("attack") == "A3"]
    found = [
        rebuilt | {"attack": attack, "photos": photos, "own_original": rate, "originals": 300}
        for attack, (photos, rate) in attacks.items()
    ] or [rebuilt]
    claim = "own original found, times a guess"
    (goal,) = [g for g in finished({"guarded": "measured"}, *found).goals if g.claim.startswith(claim)]
    assert (goal.value, goal.limit, goal.state) == (value, 6.0, state)
    others = finished({"certified": "proven"}, *({**r, "preset": "certified"} for r in found)).goals
    assert not any(g.claim.startswith(claim) for g in others)


def test_a_name_is_a_promise():
    """`certified` without noise, or with noise that hides nothing, is held to what its name says."""
    spec = Bundle.load().preset("certified").spec
    assert claim_of(spec) == "proven"
    assert claim_of(replace(spec, sigma_per_clip=0.0)) == "measured"
    for name in ("none", "compact"):
        assert claim_of(Bundle.load().preset(name).spec) == "none"
    noisy = replace(Bundle.load().preset("compact").spec, clip_norm=1.0, step=0.001, sigma_per_clip=7.46)
    assert claim_of(noisy) == "proven"


@pytest.mark.parametrize(("low", "is_met"), [(0.1, True), (0.3, False)])
def test_a_rate_beyond_its_certified_bound_is_a_broken_promise(low, is_met):
    """By the lower end of its interval: A6, A7, A10 whether the order is known or not, and A11."""
    rate, none, about = (
        Estimate(0.4, low, 0.5),
        Estimate(0.0, 0.0, 0.0),
        {"preset": "certified", "certified_bound": 0.2},
    )
    photo = {"label_only": Estimate(0.9, 0.9, 0.9), "paired_difference": none, "top1": rate, "top5": rate}
    person = {"label_only": none, "unordered_label_only": none, "paired_difference": none, "unordered_difference": none}
    about_person = {**about, **person, "persons": 20, "photos": 2, "grouping": "drawn", "control": None}
    found = [
        *identification.judge(
            "certified",
            [identification.IdentificationResult(**about, **photo, candidates=20, releases=1, assigned=rate)],
            (),
        ),
        *lesion.judge(
            "certified", [lesion.LesionResult(**about, **photo, told_apart=rate, attack="A7", lesions=20)], ()
        ),
        *persons.judge("certified", [persons.PersonResult(**about_person, top1=rate, unordered=none)], ()),
        *persons.judge("certified", [persons.PersonResult(**about_person, top1=none, unordered=rate)], ()),
        *copies.judge(
            "certified", [copies.CopyResult(**about, **photo, alteration="turned", candidates=20, control=None)], ()
        ),
    ]
    assert [goal.met for goal in found if "certified bound" in goal.claim] == [is_met] * 5


@pytest.mark.parametrize(("bound", "states"), [(0.3, ["passed", "not promised"]), (1.0, ["failed"])])
def test_a_bound_is_the_promise_about_lesions_where_there_is_one(bound, states):
    """Twice label-only is promised where nothing is proven; beside a bound it is told and promised by nobody."""
    top1 = Estimate(0.25, 0.2, 0.3)
    found = named(top1, bound)
    assert [goal.state for goal in lesion.judge("certified", [found], ())] == states


def named(rate, bound, **more):
    """A7's result where everything is named at one rate."""
    rates = dict.fromkeys(("top1", "top5", "told_apart", "paired_difference"), rate)
    about = {"preset": "certified", "attack": "A7", "lesions": 20, "label_only": Estimate(0.1, 0.1, 0.1)}
    return lesion.LesionResult(**(about | rates | more), certified_bound=bound)


def test_lesions_of_one_diagnosis_are_told_apart_against_the_limit_of_guarded():
    """It is measured for all, and a limit of `guarded` alone, which promises the picture and nothing else."""
    claim = "A7 the lesion told from one of its diagnosis, AUC"
    for told, met in ((Estimate(0.74, 0.7, 0.8), True), (Estimate(0.76, 0.7, 0.8), False)):
        found = named(Estimate(0.05, 0.0, 0.1), 1.0, preset="guarded", told_apart=told)
        (goal,) = [goal for goal in lesion.judge("guarded", [found], ()) if goal.claim == claim]
        assert (goal.value, goal.limit, goal.met) == (told.mean, 0.75, met)
        cut_short = replace(found, cut_short="before it looked at views")
        (goal,) = [goal for goal in lesion.judge("guarded", [cut_short], ()) if goal.claim == claim]
        assert goal.met is (False if not met else None)
        (goal,) = [g for g in finished({"guarded": "measured"}, found.to_json()).goals if g.claim == claim]
        assert goal.state == "not promised"
        assert claim not in [goal.claim for goal in lesion.judge("certified", [found], ())]

"""What an audit should show of a preset, and whether it did: the goal list of the project, as code.

Floors come from the same audit; a bound that was missed is reported as missed. A goal that a certified bound implies
is not judged by an attack, which could not miss it; the bound's own line stands for it. An attribute is judged by the
paired difference and its interval, so that fewer photos never make the goal easier to meet. What was not run to its
end, or on too few photos, has neither passed nor failed: such a goal is *not run*, and so is the audit, unless another
goal failed.

A preset that makes no claim (`securesplit.device.promise.claim_of`) is attacked and measured like the others, but
what it never promised is *not promised*: it neither fails nor passes, and the audit does not wait for it. What every
device does, whatever the preset, is judged for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from securesplit.i18n import gettext_noop

Audit = dict[str, Any]
Result = dict[str, Any]

MAX_SKILL = 0.05
MAX_SSIM_GAIN = 0.02
MAX_IDENTIFIED = 3.0  # times the label-only floor
MAX_LESIONS = 2.0  # times the label-only floor
MAX_ATTRIBUTE_GAIN = 0.05  # of AUC beyond the label-only probe
MAX_AUC_LOSS = 0.010
MAX_REQUEST_BYTES = 1000
MAX_DEFENCE_MS = 10.0
PASSED, FAILED, NOT_RUN, NOT_PROMISED = STATES = (
    gettext_noop("passed"),
    gettext_noop("failed"),
    gettext_noop("not run"),
    gettext_noop("not promised"),
)
UNDECIDED = gettext_noop("not run: too few photos")
UNDEFENDED = "none"
"""The preset whose accuracy the others are held against; it does not even promise to be small."""
REBUILDING = ("A1", "A2", "A3", "A4")


@dataclass(frozen=True)
class Goal:
    """One line of the verdict.

    Args:
        preset: which preset; ``control`` for the positive control.
        claim: in words.
        value: what was measured; None: not measured.
        limit: what it is held against; None: the attack that it is about did not run.
        met: None: not measured, or an attack that might have missed it was cut short or did not run, or the photos are
            too few.
        excess: what the paired difference of value and floor is with its 95 % interval, where photos are compared with
            themselves: at most 0 where the goal is met; where 0 lies within, photos are too few to tell.
        promised: whether the preset promises it at all; the figures are those of a goal that it does.
    """

    preset: str
    claim: str
    value: float | None
    limit: float | None
    met: bool | None
    excess: dict[str, float] | None = None
    promised: bool = True

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if not self.promised:
            return NOT_PROMISED
        return {True: PASSED, False: FAILED, None: NOT_RUN}[self.met]

    def to_json(self) -> dict[str, Any]:
        """For the audit's JSON."""
        return asdict(self) | {"state": self.state}


def judge(audit: Audit) -> list[Goal]:
    """The positive controls' goals and every preset's.

    Args:
        audit: ``claims`` says what each preset's promise about the photo rests on; where it says ``none``, goals about
            the photo and the answer are not promised.
    """
    claims = audit.get("claims", {})
    goals = [
        _at_least("control", f"positive control: SSIM at the undefended stem ({r['attack']})", r["ssim"]["mean"], 0.9)
        for r in audit["results"]
        if r["kind"] == "control"
    ]
    for preset in ("control", *audit["presets"]):
        results = [r for r in audit["results"] if r.get("preset") == preset]
        ran, missing = ([r for r in results if (r["kind"] == NOT_RUN) == absent] for absent in (False, True))
        wanted = [r for r in missing if not r.get("left_out")]
        promised = claims.get(preset) != "none"
        if preset != "control":
            about_photo = [*_rebuilding(preset, ran, wanted), *_recognition(preset, ran), *_accuracy(preset, ran)]
            goals += [*(replace(goal, promised=promised) for goal in about_photo), *_costs(preset, ran)]
        goals += [replace(goal, promised=promised or step == "summary") for step, goal in _not_run(preset, wanted)]
    return goals


def _not_run(preset: str, missing: list[Result]) -> Iterable[tuple[str, Goal]]:
    """Every attack that was wanted and did not run, with a goal; of A1 to A4 the goals of `_rebuilding` say it."""
    for attack, reason in dict.fromkeys((r["attack"], r["reason"]) for r in missing if r["attack"] not in REBUILDING):
        yield attack, Goal(preset, f"{attack}: {reason}", None, None, None)


def word(goal: dict[str, Any]) -> str:
    """The state of a goal, and why where the attack ran and settled nothing."""
    return UNDECIDED if goal["state"] == NOT_RUN and goal["excess"] is not None else str(goal["state"])


def state_of(goals: Iterable[Goal]) -> str:
    """Of a whole audit: failed where a goal failed, else not run where one was not judged, or where there is none.

    Goals that nobody promised do not count.
    """
    states = {goal.state for goal in goals}
    return next((state for state in (FAILED, NOT_RUN, PASSED) if state in states), NOT_RUN)


def void(audit: Audit) -> str:
    """Why the figures of an audit mean nothing; empty where every positive control that was wanted did its work."""
    controls = [r for r in audit["results"] if r.get("preset") == "control"]
    if any(r["kind"] == NOT_RUN for r in controls) or not controls:
        return "the positive control did not run"
    if any(not r["ssim"]["mean"] >= r["needed"] for r in controls):
        return "the attacks did not recover the photos even from the undefended stem"
    return ""


def difference(goal: dict[str, Any]) -> str:
    """The paired difference with its interval; empty where there is none."""
    found = goal["excess"]
    return "" if found is None else f"{found['mean']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})"


def best(results: Iterable[Result], measure: str) -> Result | None:
    """The strongest reconstruction by that measure.

    A5 shows a device without the same-noise rule; with the rule its k releases are one, so A1 to A4 count here, and
    own attacks.
    """
    counted = [r for r in results if r.get("attack") in REBUILDING or "by_package" in r]
    rebuilt = [r for r in counted if r["kind"] == "reconstruction"]
    return max(rebuilt, key=lambda r: float(r[measure]["mean"]), default=None)


def _rebuilding(preset: str, results: list[Result], missing: list[Result]) -> Iterable[Goal]:
    """What may have failed may also have been cut short; what passed may not, and every attack must have run."""
    unfinished = _unfinished(results, missing)
    for measure, limit, claim in (
        ("skill", MAX_SKILL, "best MSE skill over the class mean"),
        ("ssim_gain", MAX_SSIM_GAIN, "best SSIM above the class mean's"),
    ):
        found = best(results, measure)
        by = "; ".join([*([found["attack"]] if found else []), *unfinished])
        goal = _at_most(preset, f"{claim} ({by})", found[measure]["mean"] if found else None, limit)
        yield replace(goal, met=None) if goal.met and unfinished else goal


def _unfinished(results: list[Result], missing: list[Result]) -> list[str]:
    """Which attacks had no time to end and which did not run, as words for a claim."""
    short = sorted({r["attack"] for r in results if "cut_short" in r and r["attack"] in REBUILDING})
    absent = sorted({r["attack"] for r in missing if r["attack"] in REBUILDING})
    return [f"{', '.join(names)} {what}" for names, what in ((short, "cut short"), (absent, NOT_RUN)) if names]


def _recognition(preset: str, results: list[Result]) -> Iterable[Goal]:
    single = [r for r in results if r["kind"] == "identification" and r["releases"] == 1]
    for r in single[-1:]:
        strongest = max(r["top1"]["mean"], r["assigned"]["mean"])
        limit = MAX_IDENTIFIED * r["label_only"]["mean"]
        if r["certified_bound"] <= limit:
            continue
        goal = _at_most(preset, f"A6 top-1 of {r['candidates']}, 3 × label-only", strongest, limit)
        yield replace(goal, excess=r["excess"])
    for r in (r for r in results if r["kind"] == "identification" and r["certified_bound"] < 1):
        releases = "1 release" if r["releases"] == 1 else f"{r['releases']} releases"
        claim = f"A6 top-1 of {r['candidates']} from {releases}, certified bound"
        yield _at_most(preset, claim, r["top1"]["low"], r["certified_bound"])
    for r in (r for r in results if r["kind"] == "lesion"):
        limit = MAX_LESIONS * r["label_only"]["mean"]
        goal = _at_most(preset, f"A7 top-1 of {r['lesions']}, 2 × label-only", r["top1"]["mean"], limit)
        yield replace(goal, excess=r["excess"])
    yield from (_attribute(preset, r) for r in results if r["kind"] == "attribute")


def _attribute(preset: str, found: Result) -> Goal:
    """Met where the whole interval of the paired difference lies below the limit, missed where all of it lies above."""
    excess = found["excess"]
    met = True if excess["high"] <= MAX_ATTRIBUTE_GAIN else False if excess["low"] > MAX_ATTRIBUTE_GAIN else None
    claim = f"A8 AUC of {found['attribute']} beyond label-only, paired"
    return replace(_at_most(preset, claim, excess["mean"], MAX_ATTRIBUTE_GAIN), met=met, excess=excess)


def _accuracy(preset: str, results: list[Result]) -> Iterable[Goal]:
    for r in (r for r in results if r["kind"] == "summary"):
        lost = r["auc_lost"]
        goal = _at_most(preset, "AUC lost against undefended", lost["mean"] if lost else None, MAX_AUC_LOSS)
        yield replace(goal, excess=lost and {key: round(value - MAX_AUC_LOSS, 5) for key, value in lost.items()})


def _costs(preset: str, results: list[Result]) -> Iterable[Goal]:
    """What a device promises whatever the preset is, and the size of a request for all but the undefended map."""
    for r in (r for r in results if r["kind"] == "summary"):
        size = _at_most(preset, "request in bytes", float(r["request_bytes"]), MAX_REQUEST_BYTES)
        yield replace(size, promised=preset != UNDEFENDED)
        yield _at_most(preset, "defence in ms", r["defence_ms"], MAX_DEFENCE_MS)
        yield _at_most(preset, "distinct releases of 64 diagnoses of a photo", float(r["distinct_releases_of_64"]), 1.0)


def _at_most(preset: str, claim: str, value: float | None, limit: float) -> Goal:
    value = None if value is None else round(float(value), 5)
    return Goal(preset, claim, value, round(limit, 5), None if value is None else value <= limit)


def _at_least(preset: str, claim: str, value: float, limit: float) -> Goal:
    return Goal(preset, claim, round(value, 5), limit, value >= limit)

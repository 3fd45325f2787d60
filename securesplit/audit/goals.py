"""What an audit should show of a preset, and whether it did: the goal list of the project, as code.

Floors come from the same audit; a bound that was missed is reported as missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

Audit = dict[str, Any]
Result = dict[str, Any]

MAX_SKILL = 0.05
MAX_SSIM_GAIN = 0.02
MAX_IDENTIFIED = 3.0  # times the label-only floor
MAX_LESIONS = 2.0  # times the label-only floor
MAX_AUC_LOSS = 0.010
MAX_REQUEST_BYTES = 1000
MAX_DEFENCE_MS = 10.0
REBUILDING = ("A1", "A2", "A3", "A4")


@dataclass(frozen=True)
class Goal:
    """One line of the verdict.

    Args:
        preset: which preset; ``control`` for the positive control.
        claim: in words.
        value: what was measured; None: not measured.
        limit: what it is held against.
        met: None: not measured.
    """

    preset: str
    claim: str
    value: float | None
    limit: float
    met: bool | None

    def to_json(self) -> dict[str, Any]:
        """For the audit's JSON."""
        return asdict(self)


def judge(audit: Audit) -> list[Goal]:
    """The positive control's goal and every preset's."""
    control = next(r for r in audit["results"] if r["kind"] == "control")
    goals = [_at_least("control", "positive control: SSIM at the undefended stem", control["ssim"]["mean"], 0.9)]
    for preset in audit["presets"]:
        results = [r for r in audit["results"] if r.get("preset") == preset and r["kind"] != "not run"]
        goals += [*_rebuilding(preset, results), *_recognition(preset, results), *_costs(preset, results, audit)]
    return goals


def best(results: Iterable[Result], measure: str) -> Result | None:
    """The strongest reconstruction by that measure.

    A5 shows a device without the same-noise rule; with the rule its k releases are one, so A1 to A4 count here.
    """
    rebuilt = [r for r in results if r["kind"] == "reconstruction" and r["attack"] in REBUILDING]
    return max(rebuilt, key=lambda r: float(r[measure]["mean"]), default=None)


def _rebuilding(preset: str, results: list[Result]) -> Iterable[Goal]:
    for measure, limit, claim in (
        ("skill", MAX_SKILL, "best MSE skill over the class mean"),
        ("ssim_gain", MAX_SSIM_GAIN, "best SSIM above the class mean's"),
    ):
        found = best(results, measure)
        by = f" ({found['attack']})" if found else ""
        yield _at_most(preset, claim + by, found[measure]["mean"] if found else None, limit)


def _recognition(preset: str, results: list[Result]) -> Iterable[Goal]:
    single = [r for r in results if r["kind"] == "identification" and r["releases"] == 1]
    for r in single[-1:]:
        strongest = max(r["top1"]["mean"], r["assigned"]["mean"])
        limit = MAX_IDENTIFIED * r["label_only"]["mean"]
        yield _at_most(preset, f"A6 top-1 of {r['candidates']}, 3 × label-only", strongest, limit)
    for r in (r for r in results if r["kind"] == "identification" and r["certified_bound"] < 1):
        claim = f"A6 top-1 of {r['candidates']} from {r['releases']} releases, certified bound"
        yield _at_most(preset, claim, r["top1"]["low"], r["certified_bound"])
    for r in (r for r in results if r["kind"] == "lesion"):
        limit = MAX_LESIONS * r["label_only"]["mean"]
        yield _at_most(preset, f"A7 top-1 of {r['lesions']}, 2 × label-only", r["top1"]["mean"], limit)
    for r in (r for r in results if r["kind"] == "attribute"):
        claim = f"A8 AUC of {r['attribute']}, label-only's interval"
        yield _at_most(preset, claim, r["release"]["mean"], r["label_only"]["high"])


def _costs(preset: str, results: list[Result], audit: Audit) -> Iterable[Goal]:
    for r in (r for r in results if r["kind"] == "summary"):
        undefended = next((o for o in audit["results"] if o["kind"] == "summary" and o["preset"] == "none"), None)
        loss = undefended["auc"]["mean"] - r["auc"]["mean"] if undefended and r["auc"] and undefended["auc"] else None
        yield _at_most(preset, "AUC lost against undefended", loss, MAX_AUC_LOSS)
        yield _at_most(preset, "request in bytes", float(r["request_bytes"]), MAX_REQUEST_BYTES)
        yield _at_most(preset, "defence in ms", r["defence_ms"], MAX_DEFENCE_MS)
        yield _at_most(preset, "distinct releases of 64 diagnoses of a photo", float(r["distinct_releases_of_64"]), 1.0)


def _at_most(preset: str, claim: str, value: float | None, limit: float) -> Goal:
    value = None if value is None else round(float(value), 5)
    return Goal(preset, claim, value, round(limit, 5), None if value is None else value <= limit)


def _at_least(preset: str, claim: str, value: float, limit: float) -> Goal:
    return Goal(preset, claim, round(value, 5), limit, value >= limit)

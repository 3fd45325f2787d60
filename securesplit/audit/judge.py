"""Whether an audit showed what it should (`securesplit.audit.goals`), attack by attack as the registry lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from securesplit.audit import registry
from securesplit.audit.goals import FAILED, NOT_RUN, PASSED, PICTURE_ALONE, STATES, Goal, GoalRule, at_least
from securesplit.audit.positive_control import ControlResult
from securesplit.audit.reconstruction import RECONSTRUCTION, ReconstructionResult
from securesplit.audit.results import CONTROL, Audit, NotRun, Result


@dataclass(frozen=True, kw_only=True)
class JudgedAudit(Audit):
    """An audit with its verdict.

    Args:
        goals: of the positive controls and of every preset.
        why_void: why its figures mean nothing; empty where every positive control that was wanted did its work.
    """

    goals: tuple[Goal, ...]
    why_void: str = ""

    @property
    def valid(self) -> bool:
        """False where a positive control failed or did not run."""
        return not self.why_void

    @property
    def state(self) -> str:
        """Of the whole: one of `STATES`."""
        return state_of(self.goals) if self.valid else NOT_RUN

    @property
    def states(self) -> dict[str, int]:
        """How many goals are in which."""
        counts = Counter(goal.state for goal in self.goals)
        return {state: counts[state] for state in STATES}

    def to_json(self) -> dict[str, Any]:
        """``audit.json``."""
        return super().to_json() | {
            "valid": self.valid,
            "state": self.state,
            "states": self.states,
            "goals": [goal.to_json() for goal in self.goals],
        }


def judged(audit: Audit) -> JudgedAudit:
    """The audit with its verdict."""
    return JudgedAudit(**vars(audit), goals=tuple(judge(audit)), why_void=void(audit))


def judge(audit: Audit) -> list[Goal]:
    """The positive controls' goals and every preset's."""
    goals = [
        at_least(CONTROL, f"positive control: SSIM at the undefended stem ({r.attack})", r.ssim.mean, r.needed)
        for r in audit.of(ControlResult)
    ]
    goals += (goal for _, goal in _not_run(audit, CONTROL))
    for preset in audit.presets:
        goals += _of_preset(audit, preset, promised=audit.claims.get(preset) != "none")
    return goals


def _of_preset(audit: Audit, preset: str, *, promised: bool) -> Iterator[Goal]:
    ran = [r for r in audit.of(Result, preset) if not isinstance(r, NotRun)]
    for rule in dict.fromkeys(rule for spec in registry.shown() for rule in spec.goals):
        missing = [r for r in _missing(audit, preset) if rule in registry.rules_of(r)]
        goals = rule.judge(preset, [r for r in ran if rule in registry.rules_of(r)], missing)
        made = promised and _is_promised(preset, rule)
        about_photo = (replace(goal, promised=made and goal.promised) for goal in goals)
        yield from about_photo if rule.about_photo else goals
    for missed, goal in _not_run(audit, preset):
        rules = registry.rules_of(missed)
        of_every_device = any(not rule.about_photo for rule in rules)
        made = promised and (not rules or any(_is_promised(preset, rule) for rule in rules))
        yield replace(goal, promised=made or of_every_device)


def _is_promised(preset: str, rule: GoalRule) -> bool:
    """Whether a preset that makes a claim makes this one."""
    return not (rule.beyond_picture and preset in PICTURE_ALONE)


def _missing(audit: Audit, preset: str) -> list[NotRun]:
    """What was wanted of a preset and did not run."""
    return [r for r in audit.of(NotRun, preset) if not r.left_out]


def _not_run(audit: Audit, preset: str) -> Iterator[tuple[NotRun, Goal]]:
    """A goal for every attack that was wanted and did not run, once for each reason, unless its rule names it."""
    missing = {(r.attack, r.reason): r for r in _missing(audit, preset)}
    for (attack, reason), missed in missing.items():
        if not any(rule.names_missing for rule in registry.rules_of(missed)):
            yield missed, Goal(preset, f"{attack}: {reason}", None, None, None)


def state_of(goals: Iterable[Goal]) -> str:
    """Of a whole audit: failed where a goal failed, else not run where one was not judged, or where there is none.

    Goals that nobody promised do not count.
    """
    states = {goal.state for goal in goals}
    return next((state for state in (FAILED, NOT_RUN, PASSED) if state in states), NOT_RUN)


def void(audit: Audit) -> str:
    """Why the figures of an audit mean nothing; empty where every positive control that was wanted did its work."""
    controls = audit.of(ControlResult)
    if _missing(audit, CONTROL) or not controls:
        return "the positive control did not run"
    if any(not r.ssim.mean >= r.needed for r in controls):
        return "the attacks did not recover the photos even from the undefended stem"
    return ""


def strongest(audit: Audit, preset: str) -> ReconstructionResult | None:
    """The reconstruction of the best skill among those that are judged; None where none ran."""
    counted = (r for r in audit.of(ReconstructionResult, preset) if RECONSTRUCTION in registry.rules_of(r))
    return max(counted, key=lambda r: r.skill.mean, default=None)

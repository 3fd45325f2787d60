"""What an audit should show of a preset: the goal list of the project, as code.

Baselines come from the same audit; a bound that was missed is reported as missed. A goal that a certified bound implies
is not judged by an attack, which could not miss it; the bound's own line stands for it. An attribute is judged by the
paired difference and its interval, so that fewer photos never make the goal easier to meet. What was not run to its
end, or on too few photos, has neither passed nor failed: such a goal is *not run*, and so is the audit, unless another
goal failed (`securesplit.audit.judge`).

`guarded` promises that the picture is not rebuilt, and nothing else about the photo; its limits are its own.

A preset that makes no claim (`securesplit.device.promise.claim_of`) is attacked and measured like the others, but
what it never promised is *not promised*: it neither fails nor passes, and the audit does not wait for it. What every
device does, whatever the preset, is judged for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from securesplit.audit.metrics import Estimate
from securesplit.audit.results import NotRun, interval
from securesplit.i18n import gettext_noop
from securesplit.model import guarded_preset

MAX_SKILL = 0.05
MAX_SSIM_GAIN = 0.02
MAX_REBUILT = {guarded_preset.PRESET: (0.10, 0.03)}
"""The same two limits of presets that have their own."""
MAX_OWN_ORIGINAL = {guarded_preset.PRESET: 6.0}
"""Times a guess; of 300 originals 2 %. Only of presets whose promise about the picture is measured and not proven."""
PICTURE_ALONE = frozenset({guarded_preset.PRESET})
"""Presets that promise that the picture is not rebuilt: how often photo, lesion or person are named, and what the
answer tells of them, is measured and not promised."""
MAX_IDENTIFIED = 3.0  # times the label-only baseline
MAX_LESIONS = 2.0  # times the label-only baseline
MAX_TOLD_APART = {guarded_preset.PRESET: 0.75}
"""AUC of telling another photo of the lesion from one of another lesion with the same diagnosis."""
MAX_ATTRIBUTE_GAIN = 0.05  # of AUC beyond the label-only probe
MAX_AUC_LOSS = 0.010
MAX_REQUEST_BYTES = 1000
MAX_ENCRYPTED_BYTES = 200_000
"""Of a request with a ciphertext."""
MAX_DEFENCE_MS = 10.0
PASSED, FAILED, NOT_RUN, NOT_PROMISED = STATES = (
    gettext_noop("passed"),
    gettext_noop("failed"),
    NotRun.kind,
    gettext_noop("not promised"),
)
UNDECIDED = gettext_noop("not run: too few photos")
UNDEFENDED = "none"
"""The preset whose accuracy the others are held against; it does not even promise to be small."""


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
        paired_difference: of value and baseline with its 95 % interval, where photos are compared with themselves: at
            most 0 where the goal is met; where 0 lies within the interval, other photos may say otherwise.
        promised: whether the preset promises it at all; the figures are those of a goal that it does.
    """

    preset: str
    claim: str
    value: float | None
    limit: float | None
    met: bool | None
    paired_difference: Estimate | None = None
    promised: bool = True

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if not self.promised:
            return NOT_PROMISED
        return {True: PASSED, False: FAILED, None: NOT_RUN}[self.met]

    @property
    def word(self) -> str:
        """The state, and why where the attack ran and settled nothing."""
        return UNDECIDED if self.state == NOT_RUN and self.paired_difference is not None else self.state

    @property
    def difference(self) -> str:
        """The paired difference with its interval; empty where there is none."""
        found = self.paired_difference
        return "" if found is None else f"{found.mean:+.4f} {interval(found, '+.4f')}"

    def to_json(self) -> dict[str, Any]:
        """For the audit's JSON."""
        return {
            "preset": self.preset,
            "claim": self.claim,
            "value": self.value,
            "limit": self.limit,
            "met": self.met,
            "excess": None if self.paired_difference is None else self.paired_difference.to_json(),
            "promised": self.promised,
            "state": self.state,
        }


@dataclass(frozen=True)
class GoalRule:
    """How the results of one attack, or of several together, are judged.

    Args:
        judge: the goals of a preset, from its results and from the attacks that were wanted and did not run.
        about_photo: it is about the photo or the answer, which a preset without a claim does not promise.
        beyond_picture: it is about naming or describing photo, lesion or person, which `PICTURE_ALONE` do not promise.
        names_missing: its goals say themselves which attacks did not run.
    """

    judge: Callable[[str, Sequence[Any], Sequence[NotRun]], Iterable[Goal]]
    about_photo: bool = True
    beyond_picture: bool = False
    names_missing: bool = False


def at_most(
    preset: str, claim: str, value: float | None, limit: float, *, paired_difference: Estimate | None = None
) -> Goal:
    """A goal that is met where the value does not exceed the limit."""
    value = None if value is None else round(float(value), 5)
    return Goal(preset, claim, value, round(limit, 5), None if value is None else value <= limit, paired_difference)


def at_least(preset: str, claim: str, value: float, limit: float) -> Goal:
    """A goal that is met where the value reaches the limit."""
    return Goal(preset, claim, round(value, 5), limit, value >= limit)

"""A photo that was not asked about: why, and what to do, in plain words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from securesplit.i18n import gettext_noop
from securesplit.results.parts import DISCLAIMER, Crop, Kind, ModelInfo, RefusalReason, contract_object

REFUSALS: dict[RefusalReason, tuple[str, str]] = {
    "blur": (
        gettext_noop("the photo is blurred"),
        gettext_noop(
            "take it again: hold the phone steady and tap on the mole to focus; if it stays blurred, go further away "
            "and crop the photo"
        ),
    ),
    "lighting": (
        gettext_noop("the photo is too dark or too bright"),
        gettext_noop("take it again in daylight, without flash and without a shadow on the skin"),
    ),
    "framing": (
        gettext_noop("the mole is cut off or not in the middle"),
        gettext_noop("take it again with the whole mole in the middle and some skin around it on every side"),
    ),
    "low-resolution": (
        gettext_noop("the photo has too few pixels"),
        gettext_noop("use the original photo, not a thumbnail or a screenshot, and go closer instead of zooming"),
    ),
    "not-skin": (
        gettext_noop("this does not look like a photo of skin"),
        gettext_noop(
            "take a photo of the mole itself, or crop this one, so that the mole takes about half of the width, "
            "with skin all around it"
        ),
    ),
    "no-lesion": (
        gettext_noop("there is skin, but no mole to be seen"),
        gettext_noop(
            "take it again in daylight, or crop it, so that the mole is in the middle and takes about half of the width"
        ),
    ),
    "grey": (
        gettext_noop("the photo is in grey or in one tint, and the network needs its colours"),
        gettext_noop("take it again in colour, with filters and night mode off"),
    ),
    "collage": (
        gettext_noop("a straight edge runs through the picture, as in a collage or a screenshot"),
        gettext_noop("use one original photo of one mole, with skin all around it"),
    ),
}
"""What is wrong, and what to do about it, in plain words; English, as in JSON (`securesplit.i18n` translates)."""


def refusal_to_json(reason: RefusalReason) -> dict[str, str]:
    """A reason with its words, as the JSON contract has it."""
    detail, advice = REFUSALS[reason]
    return {"reason": reason, "detail": detail, "advice": advice}


@dataclass(frozen=True)
class Refusal:
    """A photo that was not asked about, since no answer would mean anything: nothing was sent, nothing was counted.

    Attributes:
        photo: as `Diagnosis.photo`.
        reason: why.
        model: whose gate refused it.
        kind: how the photo seems to have been taken; None where the bundle has no gate.
        crop: the square that the network would have seen.
    """

    photo: str
    reason: RefusalReason
    model: ModelInfo
    kind: Kind | None = None
    disclaimer: str = field(default=DISCLAIMER)
    crop: Crop | None = None

    @property
    def status(self) -> Literal["refused"]:
        """As in the JSON contract."""
        return "refused"

    @property
    def detail(self) -> str:
        """What is wrong with the photo, in plain words."""
        return REFUSALS[self.reason][0]

    @property
    def advice(self) -> str:
        """What to do about it, in plain words."""
        return REFUSALS[self.reason][1]

    def to_json(self) -> dict[str, Any]:
        """The object of the JSON contract."""
        return contract_object(
            self.photo,
            self.status,
            self.disclaimer,
            refusal=refusal_to_json(self.reason),
            kind=self.kind,
            crop=None if self.crop is None else self.crop.to_json(),
            model=asdict(self.model),
            payload_bytes=0,
        )

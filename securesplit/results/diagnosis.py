"""The answer for one photo, and the record of a photo that has none."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from securesplit.errors import SecureSplitError
from securesplit.results import parts
from securesplit.results.parts import DISCLAIMER, Kind, Label, RefusalReason, Risk
from securesplit.results.refusal import refusal_to_json
from securesplit.text import well_formed


@dataclass(frozen=True)
class Diagnosis:
    """The answer for one photo.

    Attributes:
        accuracy: of such answers; of the photo's own kind where the network was not trained on it.
        kind: how the photo was taken; None where the bundle has no gate.
        unlearned: set where the network was not trained on that kind.
        overridden: why the photo would have been refused, had the caller not asked for an answer all the same.
        interval: of `malignant`; None where the bundle does not say.
        crop: the square that the network saw.
    """

    photo: str
    malignant: float
    threshold: float
    model: parts.ModelInfo
    privacy: parts.PrivacyInfo
    payload_bytes: int
    timing_ms: parts.Timing
    accuracy: parts.Accuracy | None = None
    disclaimer: str = field(default=DISCLAIMER)
    kind: Kind | None = None
    unlearned: parts.Unlearned | None = None
    overridden: RefusalReason | None = None
    interval: parts.Interval | None = None
    crop: parts.Crop | None = None
    never_low: bool = False

    def __post_init__(self) -> None:
        """Refuse what no label can be made of; NaN compares false with everything, which would read as benign.

        Raises:
            ValueError: the probability or the threshold is none.
        """
        if not (0.0 <= self.malignant <= 1.0 and 0.0 <= self.threshold <= 1.0):
            raise ValueError(f"no probability, or no threshold of one: {self.malignant}, {self.threshold}")

    @property
    def status(self) -> Literal["ok"]:
        """As in the JSON contract; `Refusal` has another."""
        return "ok"

    @property
    def accuracy_of_such(self) -> parts.Accuracy | None:
        """`accuracy`; None where the photo would have been refused, since of such photos nothing was measured."""
        return None if self.overridden else self.accuracy

    @property
    def label_withheld(self) -> Literal["chance"] | None:
        """Why there is no label: with the noise that was added, it would be chance."""
        return "chance" if self.accuracy is not None and self.accuracy.is_chance else None

    @property
    def label(self) -> Label | None:
        """``malignant`` from the threshold on that was fixed on validation photos; None where it would be chance."""
        if self.label_withheld:
            return None
        return "malignant" if self.malignant >= self.threshold else "benign"

    @property
    def risk(self) -> Risk | None:
        """Where the interval lies; None where there is no label either.

        Nothing is low whose interval is not known, nor where `never_low`.
        """
        if self.label_withheld:
            return None
        if self.interval is None:
            return "raised" if self.malignant >= self.threshold else "borderline"
        if self.interval.high < self.threshold:
            return "borderline" if self.never_low else "low"
        return "raised" if self.interval.low >= self.threshold else "borderline"

    @property
    def is_kept_from_low(self) -> bool:
        """Whether only `never_low` stands between the answer and low risk."""
        return self.never_low and self.interval is not None and self.interval.high < self.threshold

    @property
    def is_close(self) -> bool:
        """Whether the threshold lies within the interval; not where no interval is known."""
        return self.interval is not None and self.interval.holds(self.threshold)

    def to_json(self) -> dict[str, Any]:
        """The object of the JSON contract."""
        return parts.contract_object(
            self.photo,
            self.status,
            self.disclaimer,
            risk=self.risk,
            interval=None if self.interval is None else {k: round(v, 6) for k, v in asdict(self.interval).items()},
            probabilities={"benign": round(1.0 - self.malignant, 6), "malignant": round(self.malignant, 6)},
            label=self.label,
            label_withheld=self.label_withheld,
            accuracy=None if self.accuracy_of_such is None else asdict(self.accuracy_of_such),
            threshold=self.threshold,
            refusal_overridden=None if self.overridden is None else refusal_to_json(self.overridden),
            kind=self.kind,
            crop=None if self.crop is None else self.crop.to_json(),
            unlearned=None if self.unlearned is None else asdict(self.unlearned),
            model=asdict(self.model),
            privacy=asdict(self.privacy),
            payload_bytes=self.payload_bytes,
            timing_ms={stage: round(ms, 3) for stage, ms in asdict(self.timing_ms).items()},
        )


def error_to_json(photo: str, error: SecureSplitError) -> dict[str, Any]:
    """The object of the JSON contract for a photo that has no answer."""
    said = {"message": well_formed(error.message), "hint": well_formed(error.hint), "exit_code": error.exit_code}
    return parts.contract_object(photo, "error", DISCLAIMER, error=said)

"""What a diagnosis says, as one frozen object and as the JSON contract ``securesplit.diagnosis/1``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from securesplit.errors import SecureSplitError
from securesplit.i18n import gettext_noop
from securesplit.text import well_formed

SCHEMA = "securesplit.diagnosis/1"
DISCLAIMER = gettext_noop(
    "Research tool, not a diagnosis. It can be wrong in both directions; "
    "a doctor must look at any mole that worries you."
)

Label = Literal["benign", "malignant"]
Risk = Literal["low", "borderline", "raised"]
"""Whether the interval of an answer lies below the threshold, holds it, or lies above it."""
Kind = Literal["dermoscopy", "phone"]
"""How a photo was taken: through a dermatoscope, or by a camera alone."""
RefusalReason = Literal["blur", "lighting", "framing", "low-resolution", "not-skin", "no-lesion", "grey"]
Claim = Literal["none", "measured", "proven", "cryptographic"]
"""What a preset's protection rests on: nothing, attacks that were measured, a proof, or encryption."""


@dataclass(frozen=True)
class ModelInfo:
    """Which network answered: its name, and the identity that both halves proved to share."""

    name: str
    id: str


@dataclass(frozen=True)
class DevicePrivacy:
    """What all releases of this device gave away together: the worker knows which device asks, so they are linked.

    Attributes:
        photos: distinct ones so far, this one included; an edited copy and a re-take are photos of their own.
        releases: distinct ones of these photos.
        without_promise: how many of them came without noise.
        epsilon: of (ε, δ) differential privacy of all photos together; None where a release came without noise.
        identification_bound_n1000: certified chance to pick the person whose photos these are among 1,000; None
            likewise.
    """

    photos: int
    releases: int
    without_promise: int
    epsilon: float | None
    delta: float | None
    identification_bound_n1000: float | None


@dataclass(frozen=True)
class PrivacyInfo:
    """What the release gave away.

    Attributes:
        preset: its name.
        claim: what the protection of this photo rests on; "none" also where it was released without noise before.
        epsilon: of (ε, δ) differential privacy of the photo; None where the preset makes no formal claim.
        sigma_per_clip: noise standard deviation over clip norm; 0 without noise.
        releases: distinct releases of this photo so far, this one included; 0 where nothing left the device.
        integers: of which one release consists.
        identification_bound_n1000: certified chance to pick the photo among 1,000; None without a claim.
        device: the same of all photos of this device together; None where no account is kept.
    """

    preset: str
    claim: Claim
    epsilon: float | None
    delta: float | None
    sigma_per_clip: float
    releases: int
    identification_bound_n1000: float | None
    device: DevicePrivacy | None = None
    integers: int = 0


VOID_BOUND = 0.99
"""A certified bound from here on says nothing that anyone would call a bound."""

CHANCE_AUC = 0.55
"""A label is given only where the AUC of such answers is above this, by the lower end of its 95 % interval: below, the
data cannot tell the labels from those of a coin by as much as anyone would notice."""


@dataclass(frozen=True)
class Accuracy:
    """How good answers like this one were on photos that the network had not seen, with the noise that was added.

    Attributes:
        auc: area under the ROC curve; 0.5 is chance.
        auc_low: lower end of its 95 % interval; None where the bundle does not say, as all below.
        auc_high: upper end.
        sensitivity: share of malignant lesions that are called so.
        specificity: share of benign lesions that are called so.
        measured_on: ``test`` or ``validation`` photos, or the kind of photos that was not learned.
        ece: expected calibration error, how far probabilities are from the share that is malignant, on average.
    """

    auc: float
    auc_low: float | None
    auc_high: float | None
    sensitivity: float | None
    specificity: float | None
    measured_on: str
    ece: float | None = None

    @property
    def is_chance(self) -> bool:
        """Whether answers cannot be told from chance."""
        return not (self.auc if self.auc_low is None else self.auc_low) > CHANCE_AUC


@dataclass(frozen=True)
class Interval:
    """Between what the probability lies with 95 %, for all that the noise and the calibration leave open (ADR 084)."""

    low: float
    high: float


@dataclass(frozen=True)
class Unlearned:
    """A kind of photo that the network was not trained on, so that its answers are worth what was measured on it.

    Attributes:
        kind: how the photo was taken.
        photos: how many such photos were measured; 0 where the bundle does not say.
    """

    kind: Kind
    photos: int


@dataclass(frozen=True)
class Timing:
    """Milliseconds by stage; ``tail`` is the server's own figure and lies inside ``round_trip``."""

    load: float
    head: float
    privacy: float
    round_trip: float
    tail: float
    total: float


@dataclass(frozen=True)
class Crop:
    """The square of a photo that the network saw, in shares of the upright photo's width and height.

    Attributes:
        by: what chose it: ``centre``, or the ``lesion`` that the centre square would have cut.
        left, top, right, bottom: 0 to 1, from the left and from above.
    """

    by: Literal["centre", "lesion"]
    left: float
    top: float
    right: float
    bottom: float

    def to_json(self) -> dict[str, Any]:
        """As the JSON contract has it."""
        return {name: value if isinstance(value, str) else round(value, 4) for name, value in asdict(self).items()}


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
    model: ModelInfo
    privacy: PrivacyInfo
    payload_bytes: int
    timing_ms: Timing
    accuracy: Accuracy | None = None
    disclaimer: str = field(default=DISCLAIMER)
    kind: Kind | None = None
    unlearned: Unlearned | None = None
    overridden: RefusalReason | None = None
    interval: Interval | None = None
    crop: Crop | None = None

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
        """Where the interval lies; None where there is no label either. Nothing is low whose interval is not known."""
        if self.label_withheld:
            return None
        if self.interval is None:
            return "raised" if self.malignant >= self.threshold else "borderline"
        if self.interval.high < self.threshold:
            return "low"
        return "raised" if self.interval.low >= self.threshold else "borderline"

    def to_json(self) -> dict[str, Any]:
        """The object of the JSON contract."""
        return {
            "schema": SCHEMA,
            "photo": well_formed(self.photo),
            "status": self.status,
            "risk": self.risk,
            "interval": None if self.interval is None else {k: round(v, 6) for k, v in asdict(self.interval).items()},
            "probabilities": {"benign": round(1.0 - self.malignant, 6), "malignant": round(self.malignant, 6)},
            "label": self.label,
            "label_withheld": self.label_withheld,
            "accuracy": None if self.accuracy is None else asdict(self.accuracy),
            "threshold": self.threshold,
            "refusal": None,
            "refusal_overridden": None if self.overridden is None else refusal_to_json(self.overridden),
            "kind": self.kind,
            "crop": None if self.crop is None else self.crop.to_json(),
            "unlearned": None if self.unlearned is None else asdict(self.unlearned),
            "model": asdict(self.model),
            "privacy": asdict(self.privacy),
            "payload_bytes": self.payload_bytes,
            "timing_ms": {stage: round(ms, 3) for stage, ms in asdict(self.timing_ms).items()},
            "disclaimer": self.disclaimer,
        }


REFUSALS: dict[RefusalReason, tuple[str, str]] = {
    "blur": (
        gettext_noop("the photo is blurred"),
        gettext_noop("hold the phone steady, about 5 cm away, tap on the mole to focus, and take it again"),
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
        gettext_noop("take a photo of the mole itself, about 5 cm away, with skin all around it"),
    ),
    "no-lesion": (
        gettext_noop("there is skin, but no mole to be seen"),
        gettext_noop("take it again with the mole in the middle, about 5 cm away, in daylight"),
    ),
    "grey": (
        gettext_noop("the photo has no colour, which the network needs"),
        gettext_noop("take it again in colour, with filters and night mode off"),
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
        """The object of the JSON contract, with the fields of an answer that does not exist as null."""
        return {
            "schema": SCHEMA,
            "photo": well_formed(self.photo),
            "status": self.status,
            "probabilities": None,
            "label": None,
            "refusal": refusal_to_json(self.reason),
            "kind": self.kind,
            "crop": None if self.crop is None else self.crop.to_json(),
            "model": asdict(self.model),
            "payload_bytes": 0,
            "disclaimer": self.disclaimer,
        }


def error_to_json(photo: str, error: SecureSplitError) -> dict[str, Any]:
    """The object of the JSON contract for a photo that has no answer."""
    return {
        "schema": SCHEMA,
        "photo": well_formed(photo),
        "status": "error",
        "refusal": None,
        "error": {"message": well_formed(error.message), "hint": well_formed(error.hint), "exit_code": error.exit_code},
        "disclaimer": DISCLAIMER,
    }

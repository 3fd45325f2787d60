"""The words of the JSON contract ``securesplit.diagnosis/1``, and the parts of a diagnosis."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

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
Framing = Literal["centre square", "lesion"]
"""Which square of a photo a network sees (`securesplit.imaging.lesion`)."""
RefusalReason = Literal["blur", "lighting", "framing", "low-resolution", "not-skin", "no-lesion", "grey", "collage"]
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
        epsilon: of (ε, δ) differential privacy of all photos together; None where a release came without noise, or
            where all were encrypted.
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
        claim: what the protection of this photo rests on; "none" also where it was released without noise before, and
            "measured" where nothing is certified of its releases together.
        epsilon: of (ε, δ) differential privacy of the photo; None where the preset makes no formal claim, or where no
            more than ciphertexts was released.
        sigma_per_clip: noise standard deviation over clip norm; 0 without noise.
        releases: distinct releases of this photo so far, this one included; 0 where nothing left the device.
        integers: of which one release consists.
        identification_bound_n1000: certified chance to pick the photo among 1,000; None without a claim.
        device: the same of all photos of this device together; None where no account is kept.
        levels: how many values a release of one integer has before its noise, from which the worker looks the answer
            up; None for other releases.
        encrypted: whether this release leaves the device as a ciphertext alone, so that it gives nothing away and the
            figures above are of other releases of the photo.
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
    levels: int | None = None
    encrypted: bool = False


NOT_REBUILT = frozenset({"guarded"})
"""Presets from whose releases attacks do not rebuild the picture, as was measured; what their noise proves is void."""

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

    def holds(self, threshold: float) -> bool:
        """Whether the threshold lies within, so that the label might as well be the other one."""
        return self.low < threshold <= self.high


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
        by: what chose it: ``centre``, or the ``lesion`` that it lies around or was slid to.
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


_FIELDS = (
    "schema", "photo", "status", "risk", "interval", "probabilities", "label", "label_withheld", "accuracy",
    "threshold", "refusal", "refusal_overridden", "error", "kind", "crop", "unlearned", "model", "privacy",
    "payload_bytes", "timing_ms", "disclaimer",
)  # fmt: skip


def contract_object(
    photo: str, status: Literal["ok", "refused", "error"], disclaimer: str, **known: Any
) -> dict[str, Any]:
    """The object of the JSON contract, whatever came of a photo: each of its fields, null where nothing is known."""
    said = {"schema": SCHEMA, "photo": well_formed(photo), "status": status, "disclaimer": disclaimer}
    return {**dict.fromkeys(_FIELDS), **said, **known}

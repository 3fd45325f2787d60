"""An answer in words, for the page: words first, then the number, then what it gave away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from securesplit.i18n import gettext, ngettext
from securesplit.i18n import gettext as _
from securesplit.results import REFUSALS, VOID_BOUND, Diagnosis, Label, PrivacyInfo
from securesplit.text import rounded_up
from securesplit.ui.rendering import percent


@dataclass(frozen=True)
class Words:
    """What the page says of an answer.

    Attributes:
        headline: low, raised, or why there is no label.
        lines: what that means, and what to do.
        caveats: what else to know before relying on it.
        number: the probability beside its threshold.
        explanation: what the answer gave away, and how long it took.
    """

    headline: str
    lines: list[str]
    caveats: list[str]
    number: str
    explanation: list[str]


def words(diagnosis: Diagnosis) -> Words:
    """All of them."""
    return Words(
        headline(diagnosis.label),
        [*_worth(diagnosis), _("See a doctor if it changes, bleeds or worries you, whatever stands here.")],
        list(_caveats(diagnosis)),
        number(diagnosis.malignant, diagnosis.threshold),
        list(_explanation(diagnosis)),
    )


def headline(label: Label | None) -> str:
    """The answer in a few words."""
    match label:
        case "benign":
            return _("Low: below the threshold")
        case "malignant":
            return _("Raised: a doctor should look at it")
    return _("No answer: with so much noise it would be chance")


def number(malignant: float, threshold: float) -> str:
    """The probability beside its threshold."""
    return _(
        "Probability of malignant: {malignant}. From {threshold} on the network calls it raised.",
        malignant=percent(malignant),
        threshold=percent(threshold),
    )


def _worth(diagnosis: Diagnosis) -> Iterator[str]:
    accuracy = diagnosis.accuracy
    if accuracy is None or accuracy.sensitivity is None or accuracy.specificity is None:
        yield _("How good answers with this noise are was not measured.")
        return
    yield _(
        "On photos that it had not seen, the network missed {missed} of 100 malignant moles and flagged {flagged} of "
        "100 harmless ones.",
        missed=round(100 * (1 - accuracy.sensitivity)),
        flagged=round(100 * (1 - accuracy.specificity)),
    )


def _caveats(diagnosis: Diagnosis) -> Iterator[str]:
    if diagnosis.overridden is not None:
        detail = REFUSALS[diagnosis.overridden][0]
        yield _("This answer may mean nothing: {detail}.", detail=gettext(detail))
    if diagnosis.unlearned is not None and diagnosis.unlearned.kind == "phone":
        yield _("This looks like a plain phone photo; the network learned from photos through a dermatoscope.")
    elif diagnosis.unlearned is not None:
        yield _("This looks like a photo through a dermatoscope, and the network did not learn from such photos.")


def _explanation(diagnosis: Diagnosis) -> Iterator[str]:
    privacy, ms = diagnosis.privacy, diagnosis.timing_ms
    if privacy.device is None:
        yield _("Nothing left this device: the worker is a part of this program, and no account is kept.")
    else:
        yield _("{n} encrypted bytes left this device; the photo did not.", n=diagnosis.payload_bytes)
    yield _of_the_photo(privacy)
    if privacy.device is not None:
        photos = ngettext("{n} photo of this device", "{n} photos of this device", privacy.device.photos)
        yield f"{photos}: {_person_picked(privacy.device.identification_bound_n1000)}"
    yield _(
        "Time: {head} ms for the head on this device, {trip} ms for the answer.",
        head=f"{ms.head:.0f}",
        trip=f"{ms.round_trip:.0f}",
    )


def _of_the_photo(privacy: PrivacyInfo) -> str:
    if privacy.epsilon is None:
        return _("Preset {preset} promises nothing about this photo.", preset=privacy.preset)
    return _(
        "This photo, preset {preset}: epsilon {epsilon} at delta {delta}; {picked}",
        preset=privacy.preset,
        epsilon=f"{privacy.epsilon:.4g}",
        delta=f"{privacy.delta:g}",
        picked=_photo_picked(privacy.identification_bound_n1000),
    )


def _photo_picked(bound: float | None) -> str:
    if bound is None or bound >= VOID_BOUND:
        return _("nothing is certified about picking this photo out of 1,000.")
    return _(
        "the server picks this photo out of 1,000 at most {share} of the time (a guess: 0.1 %).", share=_share(bound)
    )


def _person_picked(bound: float | None) -> str:
    if bound is None or bound >= VOID_BOUND:
        return _("nothing is certified about picking the person whose photos these are out of 1,000.")
    return _(
        "the server picks the person whose photos these are out of 1,000 at most {share} of the time (a guess: 0.1 %).",
        share=_share(bound),
    )


def _share(bound: float) -> str:
    return f"{rounded_up(100 * bound, 2):.2f} %"

"""A result in words for people, in the language of `securesplit.i18n`: words first, then the number, then its worth.

Command line and page show the same sentences; how they are laid out is theirs. Every promise stands beside the rate
that guessing reaches. What programs read is in `securesplit.results`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from securesplit.i18n import gettext as _
from securesplit.i18n import ngettext
from securesplit.results import (
    NOT_REBUILT,
    REFUSALS,
    VOID_BOUND,
    Accuracy,
    Crop,
    DevicePrivacy,
    Diagnosis,
    Interval,
    PrivacyInfo,
    Refusal,
    RefusalReason,
    Risk,
    Timing,
    Unlearned,
)
from securesplit.text import rounded_up


@dataclass(frozen=True)
class Words:
    """What is said of an answer, in this order.

    Attributes:
        headline: the answer in a word or two.
        advice: what to do.
        caveats: what else to know before relying on it; often none.
        number: the probability with its interval, and the threshold.
        meaning: what the threshold means, and how good such answers are.
        explanation: who learned what, and how long it took.
    """

    headline: str
    advice: str
    caveats: tuple[str, ...]
    number: str
    meaning: tuple[str, ...]
    explanation: tuple[str, ...]

    @classmethod
    def of(cls, diagnosis: Diagnosis, *, traced: bool = False) -> Words:
        """All of them; `traced`: this device's traces are sent to a collector."""
        d = diagnosis
        return cls(
            headline(d.risk),
            advice(d.risk, is_close=d.is_close),
            tuple(caveats(d)),
            number(d.malignant, d.interval, d.threshold if d.risk else None),
            tuple(meaning(d.accuracy_of_such)),
            tuple(explanation(d, traced=traced)),
        )


def headline(risk: Risk | None) -> str:
    """The answer in a word or two; None: there is none."""
    match risk:
        case "low":
            return _("Low risk")
        case "borderline":
            return _("Borderline")
        case "raised":
            return _("Raised risk")
    return _("No answer, it would be chance")


def advice(risk: Risk | None, *, is_close: bool = True) -> str:
    """What to do, whatever the number; None: no answer. `is_close`: the threshold lies within the interval."""
    match risk:
        case "low":
            return _("This is no all-clear: see a doctor if it changes, bleeds or worries you.")
        case "borderline" if is_close:
            return _("Too close to call: have a doctor look at it, soon if it changes, bleeds or worries you.")
        case "borderline":
            return _("This is no all-clear: have a doctor look at it, soon if it changes, bleeds or worries you.")
        case "raised":
            return _("Have a doctor look at it soon, all the sooner if it changes, bleeds or worries you.")
    return _("See a doctor if it changes, bleeds or worries you.")


def number(malignant: float, interval: Interval | None, threshold: float | None) -> str:
    """The probability, its interval, and the threshold; None where there is none, or no label to give."""
    said = _("Probability of malignant {share}", share=_uncertain(malignant))
    if interval is not None:
        low, high = percent(interval.low), percent(interval.high)
        said = _("{probability}, 95% interval {low} to {high}", probability=said, low=low, high=high)
    if threshold is None:
        return _("{number}.", number=said)
    return _("{number}; the threshold is {threshold}.", number=said, threshold=percent(threshold))


def percent(share: float) -> str:
    """A share with one decimal."""
    return f"{share:.1%}"


def _uncertain(probability: float) -> str:
    """A probability with one decimal, never as a certainty."""
    match percent(probability):
        case "0.0%":
            return "<0.1%"
        case "100.0%":
            return ">99.9%"
        case said:
            return said


def meaning(accuracy: Accuracy | None) -> Iterator[str]:
    """What the threshold means and how good answers are, measured on such photos with such noise."""
    if accuracy is None:
        yield _("How good answers like this one are was not measured.")
        return
    photos = _photos(accuracy.measured_on)
    if accuracy.sensitivity is not None and accuracy.specificity is not None and not accuracy.is_chance:
        missed, flagged = round(100 * (1 - accuracy.sensitivity)), round(100 * (1 - accuracy.specificity))
        yield _(
            "{missed}, {flagged} ({photos}).",
            missed=_missed(missed),
            flagged=_flagged(flagged),
            photos=photos,
        )
    yield _(
        "Answers like this one have an AUC of {auc} ({photos}); 1 is perfect, 0.5 is chance.",
        auc=_auc(accuracy),
        photos=photos,
    )


def _missed(of_100: int) -> str:
    if not of_100:  # photos that were measured missed none, or few: that is no promise for others
        return _("With this threshold fewer than 1 of 100 malignant moles is missed")
    return ngettext(
        "With this threshold about {n} of 100 malignant moles is missed",
        "With this threshold about {n} of 100 malignant moles are missed",
        of_100,
    )


def _flagged(of_100: int) -> str:
    if not of_100:
        return _("and fewer than 1 of 100 harmless ones is flagged")
    return ngettext(
        "and about {n} of 100 harmless ones is flagged",
        "and about {n} of 100 harmless ones are flagged",
        of_100,
    )


def _photos(measured_on: str) -> str:
    match measured_on:
        case "test":
            return _("measured on test photos")
        case "validation":
            return _("measured on validation photos")
        case "phone":
            return _("measured on phone photos")
        case "dermoscopy":
            return _("measured on photos through a dermatoscope")
    return _("measured on {photos} photos", photos=measured_on)


def _auc(accuracy: Accuracy) -> str:
    if accuracy.auc_low is None or accuracy.auc_high is None:
        return f"{accuracy.auc:.2f}"
    low, high = f"{accuracy.auc_low:.2f}", f"{accuracy.auc_high:.2f}"
    return _("{auc}, 95% interval {low} to {high}", auc=f"{accuracy.auc:.2f}", low=low, high=high)


def caveats(diagnosis: Diagnosis) -> Iterator[str]:
    """What else to know: that the photo would have been refused, or is of a kind that was not learned."""
    if diagnosis.overridden is not None:
        yield overridden(diagnosis.overridden)
    if diagnosis.unlearned is not None:
        yield unlearned(diagnosis.unlearned, has_figures=diagnosis.accuracy_of_such is not None)
    if diagnosis.risk is not None and diagnosis.interval is None:
        yield _("How far off the probability may be was not measured, so nothing is called low.")
    elif diagnosis.risk is not None and diagnosis.is_kept_from_low and diagnosis.unlearned is None:
        yield _("Photos of this kind are never called low: too many that would have been were malignant.")


def overridden(reason: RefusalReason) -> str:
    """That the photo would have been refused."""
    detail, _advice = REFUSALS[reason]
    return _("It would have been refused: {detail}. The answer may mean nothing.", detail=_(detail))


def unlearned(found: Unlearned, *, has_figures: bool) -> str:
    """That the network was not trained on such photos; `has_figures`: how good the answer is stands below."""
    if found.kind == "phone":
        said = _("This looks like a plain phone photo, and the network was not trained on such photos.")
    else:
        said = _("This looks like a photo through a dermatoscope, and the network was not trained on such photos.")
    if not (found.photos and has_figures):
        return said
    measured = ngettext(
        "The figures below are from {n} such photo.", "The figures below are from {n} such photos.", found.photos
    )
    return f"{said} {measured}"


def refused(refusal: Refusal) -> tuple[str, str, str]:
    """What is wrong with a photo, what to do about it, and about the mole, which nothing was said of."""
    return _(refusal.detail), _(refusal.advice), advice(None)


def explanation(diagnosis: Diagnosis, *, traced: bool = False) -> Iterator[str]:
    """What the network saw, who learned what of this photo and of this device, and how long each stage took."""
    privacy = diagnosis.privacy
    if diagnosis.crop is not None:
        yield _seen(diagnosis.crop)
    if privacy.device is None:
        if traced:
            yield _("Nothing of the photo left this device: the worker is a part of this program.")
        else:
            yield _("Nobody learned anything: nothing left this device, the worker is a part of this program.")
        if privacy.encrypted:
            yield _("Had it been sent, the server would have learned nothing of it. {basis}", basis=_encrypted())
        else:
            yield _("Had it been sent, the server would have learned {what}. {promise}", **_of_the_photo(privacy))
            yield from _of_attacks(privacy)
        yield from _of_the_work(privacy)
        yield from _of_traces(traced=traced)
    else:
        yield _eavesdropped(diagnosis.payload_bytes, encrypted=privacy.encrypted)
        if privacy.encrypted:
            yield _(
                "The server learned nothing of this photo, nor its answer, if it computed what it should. {basis}",
                basis=_encrypted(),
            )
            yield from _of_earlier_releases(privacy)
        else:
            yield _("The server learned of this photo: {what}, and its answer. {promise}", **_of_the_photo(privacy))
            yield from _of_attacks(privacy)
        yield from _of_the_work(privacy)
        yield from _of_the_device(privacy.device)
        yield from _of_traces(traced=traced)
        yield _("Nobody else learned anything; the photo stays on this device.")
    yield _times(diagnosis.timing_ms)


def _eavesdropped(payload_bytes: int, *, encrypted: bool) -> str:
    """What the network saw of a photo."""
    if encrypted:
        return _(
            "An eavesdropper learned that this device asked and when, and saw {n} bytes of ciphertext: this photo's "
            "share of a request, which has one size for one photo or sixteen. Before a worker's first answer this "
            "device's evaluation keys went by, too, sealed like all else.",
            n=payload_bytes,
        )
    return ngettext(
        "An eavesdropper learned that this device asked and when, and saw {n} byte of ciphertext.",
        "An eavesdropper learned that this device asked and when, and saw {n} bytes of ciphertext.",
        payload_bytes,
    )


def _seen(crop: Crop) -> str:
    """Which part of the photo the network saw."""
    shares = {side: f"{getattr(crop, side):.0%}" for side in ("left", "right", "top", "bottom")}
    if crop.by == "lesion":
        return _(
            "The network saw a square around what stands out from the skin: {left} to {right} of the width, {top} to "
            "{bottom} of the height. If that is not the mole, crop the photo.",
            **shares,
        )
    return _(
        "The network saw the centre square: {left} to {right} of the width, {top} to {bottom} of the height.", **shares
    )


def _encrypted() -> str:
    """What the privacy of an encrypted release rests on."""
    return _(
        "It computes on a ciphertext that this device alone can decrypt (preset encrypted: CKKS, 128-bit security by "
        "ring learning with errors)."
    )


def _of_earlier_releases(privacy: PrivacyInfo) -> Iterator[str]:
    """What the photo's releases that were not encrypted promise, where there were any."""
    if privacy.epsilon is not None:
        picked = _picks_photo(privacy.identification_bound_n1000)
        promise = _promise(privacy.epsilon, privacy.delta, picked)
        yield _("It was also released without encryption. {promise}", promise=promise)
    elif privacy.claim == "none":
        yield _("Nothing can be promised: this photo was also released without noise.")


def _of_the_photo(privacy: PrivacyInfo) -> dict[str, str]:
    """What the releases of this photo are, and what they promise."""
    if privacy.sigma_per_clip:
        what = ngettext("{n} integer with noise", "{n} integers with noise", privacy.integers)
    else:
        what = ngettext("{n} integer without noise", "{n} integers without noise", privacy.integers)
    what = _("{integers} (preset {preset})", integers=what, preset=privacy.preset)
    if privacy.epsilon is not None:
        promise = _promise(privacy.epsilon, privacy.delta, _picks_photo(privacy.identification_bound_n1000))
    elif privacy.sigma_per_clip:
        promise = _("Nothing can be promised: this photo was also released without noise.")
    else:
        promise = _("Nothing is promised: much of the photo can be reconstructed from that.")
    return {"what": what, "promise": promise}


def _of_attacks(privacy: PrivacyInfo) -> Iterator[str]:
    """What was measured of a release of which nothing that counts is certified."""
    if privacy.preset in NOT_REBUILT and privacy.claim == "measured":
        yield _("Attacks did not rebuild the picture from such a release; this was measured, and is not proven.")


def _of_the_work(privacy: PrivacyInfo) -> Iterator[str]:
    """That of a release of so few values the server has nothing left to compute."""
    if privacy.levels is not None:
        yield _(
            "The device did the work: from one of {n} levels the server looks the answer up in a table.",
            n=privacy.levels,
        )


def _of_the_device(device: DevicePrivacy) -> Iterator[str]:
    """What all releases of this device promise together."""
    photos = ngettext("{n} photo so far", "{n} photos so far, which it can link to each other", device.photos)
    if device.epsilon is None and not device.without_promise:
        promise = ngettext(
            "Nothing of what it shows: it was encrypted.",
            "Nothing of what they show: all were encrypted.",
            device.photos,
        )
    elif device.epsilon is None:
        promise = ngettext(
            "Nothing can be promised: {n} release came without noise.",
            "Nothing can be promised: {n} releases came without noise.",
            device.without_promise,
        )
    else:
        promise = _promise(device.epsilon, device.delta, _picks_person(device.identification_bound_n1000))
    yield _("The server learned of this device: {photos}. {promise}", photos=photos, promise=promise)
    yield _("An edited copy or a re-take of a photo is a photo of its own, and counts.")


def _of_traces(*, traced: bool) -> Iterator[str]:
    """What the spans of `securesplit.tracing` tell."""
    if traced:
        yield _(
            "The collector of this device's traces (--otel) learned at most when this photo was read and asked about, "
            "with which preset, and how long each stage took; where its address begins with http:, so did whoever "
            "listens on the way."
        )


def _promise(epsilon: float, delta: float | None, picked: str) -> str:
    figures = f"epsilon {epsilon:.10g}" if delta is None else f"epsilon {epsilon:.10g}, delta {delta:g}"
    return _("{picked} ({figures}).", picked=picked, figures=figures)


def _picks_photo(bound: float | None) -> str:
    if _is_void(bound):
        return _("Nothing is certified about how often it picks this photo out of 1,000, where guessing gives 0.1%")
    share = _at_most(bound)
    return _("It picks this photo out of 1,000 at most {share} of the time; guessing gives 0.1%", share=share)


def _picks_person(bound: float | None) -> str:
    if _is_void(bound):
        return _("Nothing is certified about how often it picks their owner out of 1,000, where guessing gives 0.1%")
    return _(
        "It picks their owner out of 1,000 at most {share} of the time; guessing gives 0.1%", share=_at_most(bound)
    )


def _is_void(bound: float | None) -> bool:
    return bound is None or bound >= VOID_BOUND


def _at_most(bound: float | None) -> str:
    return f"{rounded_up(bound or 0.0, 4):.2%}"


def _times(ms: Timing) -> str:
    return _(
        "Time: reading the photo {load} ms, head {head} ms, privacy {privacy} ms, asking the worker {round_trip} ms.",
        load=f"{ms.load:.0f}",
        head=f"{ms.head:.0f}",
        privacy=f"{ms.privacy:.1f}",
        round_trip=f"{ms.round_trip:.0f}",
    )

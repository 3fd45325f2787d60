"""What people read of an answer: words before numbers, no promise without its scale, right plurals, both languages."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from securesplit import i18n, wording
from securesplit.cli.output import show_refusal
from securesplit.results import (
    REFUSALS,
    Accuracy,
    DevicePrivacy,
    Diagnosis,
    Interval,
    ModelInfo,
    PrivacyInfo,
    Refusal,
    RefusalReason,
    Timing,
    Unlearned,
)
from securesplit.results.parts import VOID_BOUND
from securesplit.wording import Words

ACCURACY = Accuracy(0.91, 0.89, 0.93, 0.96, 0.65, "test", 0.01)
DEVICE = DevicePrivacy(4, 4, 0, 570.0, 1e-5, 1.0)
PRIVACY = PrivacyInfo("certified", "proven", 142.771, 1e-5, 0.1167, 1, 0.00584, DEVICE, 1, 6)
ANSWER = Diagnosis(
    "mole.jpg",
    0.004,
    0.063,
    ModelInfo("m", "sha256:0"),
    PRIVACY,
    103,
    Timing(1, 2, 3, 4, 5, 6),
    ACCURACY,
    interval=Interval(0.001, 0.02),
)
PHOTOS = Unlearned("phone", 537)


@pytest.mark.parametrize(
    ("malignant", "interval", "risk"),
    [
        (0.004, (0.0, 0.02), "low"),
        (0.05, (0.03, 0.0629), "low"),
        (0.05, (0.03, 0.063), "borderline"),
        (0.08, (0.0629, 0.12), "borderline"),
        (0.08, (0.063, 0.12), "raised"),
        (0.9, (0.8, 1.0), "raised"),
        (0.004, None, "borderline"),
        (0.9, None, "raised"),
    ],
)
def test_risk_is_where_the_interval_lies(malignant: float, interval: tuple[float, float] | None, risk: str) -> None:
    answer = replace(ANSWER, malignant=malignant, interval=interval and Interval(*interval))
    assert answer.risk == answer.to_json()["risk"] == risk
    assert answer.to_json()["interval"] == (interval and {"low": interval[0], "high": interval[1]})


@pytest.mark.parametrize("malignant", [0.0, 0.004, 0.5, 1.0])
def test_the_two_probabilities_are_one_together(malignant: float) -> None:
    found = replace(ANSWER, malignant=malignant).to_json()["probabilities"]
    assert found == {"benign": pytest.approx(1.0 - malignant), "malignant": malignant}


@pytest.mark.parametrize("number", [-1e-9, 1.0 + 1e-9, float("nan")])
@pytest.mark.parametrize("name", ["malignant", "threshold"])
def test_what_is_no_probability_gets_no_label(name: str, number: float) -> None:
    with pytest.raises(ValueError, match="no probability"):
        replace(ANSWER, **{name: number})


def test_where_the_label_would_be_chance_there_is_no_risk() -> None:
    answer = replace(ANSWER, accuracy=Accuracy(0.52, 0.48, 0.56, 0.9, 0.1, "test", 0.01))
    words = Words.of(answer)
    assert answer.risk is None
    assert words.headline == "No answer, it would be chance"
    assert "threshold" not in words.number + " ".join(words.meaning)
    assert "See a doctor" in words.advice


@pytest.mark.parametrize(
    ("interval", "never_low", "is_close"),
    [((0.03, 0.07), False, True), ((0.03, 0.07), True, True), ((0.0, 0.02), True, False), (None, False, False)],
)
def test_too_close_to_call_only_where_the_threshold_lies_within_the_interval(
    interval: tuple[float, float] | None, never_low: bool, is_close: bool
) -> None:
    answer = replace(ANSWER, interval=interval and Interval(*interval), never_low=never_low)
    assert answer.risk == "borderline"
    assert Words.of(answer).advice.startswith("Too close to call" if is_close else "This is no all-clear")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_when_to_see_a_doctor_is_said_whatever_the_answer(language: str) -> None:
    signs, no_all_clear = {
        "en": ("changes, bleeds or worries you", "This is no all-clear"),
        "ko": ("변하거나 피가 나거나 걱정되면", "안심해도 된다는 뜻이 아닙니다"),
    }[language]
    with i18n.using(language):
        assert all(signs in wording.advice(risk) for risk in ("low", "borderline", "raised", None))
        assert wording.advice("low").startswith(no_all_clear), "that the risk is low is not that there is none"


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_photo_without_an_answer_puts_nobody_off_the_doctor(
    reason: RefusalReason, capsys: pytest.CaptureFixture[str]
) -> None:
    show_refusal(Refusal("mole.jpg", reason, ModelInfo("m", "sha256:0")))
    assert capsys.readouterr().out.splitlines()[-1].strip() == wording.advice(None)


def test_what_was_measured_is_not_said_of_a_photo_that_would_have_been_refused() -> None:
    words = Words.of(replace(ANSWER, overridden="not-skin", interval=None))
    assert words.meaning == ("How good answers like this one are was not measured.",)


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("is_close", [True, False])
def test_words_come_before_numbers(language: str, is_close: bool) -> None:
    for risk in ("low", "borderline", "raised", None):
        with i18n.using(language):
            said = wording.headline(risk) + wording.advice(risk, is_close=is_close)  # type: ignore[arg-type]
        assert not re.search(r"\d", said)
        assert {"en": "bleeds", "ko": "피가 나거나"}[language] in said


@pytest.mark.parametrize("language", ["en", "ko"])
def test_no_promise_without_its_scale(language: str) -> None:
    certified = replace(ANSWER, privacy=replace(PRIVACY, device=replace(DEVICE, identification_bound_n1000=0.2)))
    with i18n.using(language):
        for answer in (ANSWER, certified, replace(ANSWER, privacy=replace(PRIVACY, device=None))):
            promises = [line for line in Words.of(answer).explanation if "1,000" in line]
            assert promises
            assert all("0.1%" in line for line in promises)


def test_a_promise_is_never_printed_smaller_than_it_is() -> None:
    shown = re.findall(r"at most ([0-9.]+)%", " ".join(Words.of(ANSWER).explanation))
    assert shown == ["0.59"]


def test_what_the_threshold_means_is_said_with_its_plurals() -> None:
    def meaning(sensitivity: float, specificity: float) -> str:
        return next(wording.meaning(replace(ACCURACY, sensitivity=sensitivity, specificity=specificity)))

    assert meaning(0.96, 0.65) == (
        "With this threshold about 4 of 100 malignant moles are missed, and about 35 of 100 harmless ones are flagged "
        "(measured on test photos)."
    )
    assert "1 of 100 malignant moles is missed, and about 1 of 100 harmless ones is flagged" in meaning(0.99, 0.99)
    assert "threshold fewer than 1 of 100 malignant moles is missed, and about 35" in meaning(0.997, 0.65)
    assert "missed, and fewer than 1 of 100 harmless ones is flagged" in meaning(0.96, 1.0)


@pytest.mark.parametrize(
    ("malignant", "said"),
    [(0.0, "<0.1%"), (0.00049, "<0.1%"), (0.0006, "0.1%"), (0.9994, "99.9%"), (0.9996, ">99.9%"), (1.0, ">99.9%")],
)
def test_no_probability_is_said_to_be_certain(malignant: float, said: str) -> None:
    assert wording.number(malignant, None, 0.07) == f"Probability of malignant {said}; the threshold is 7.0%."


def test_plurals_of_what_was_learned() -> None:
    one = replace(PRIVACY, device=replace(DEVICE, photos=1))
    many = replace(PRIVACY, integers=144, sigma_per_clip=0.0, epsilon=None, device=replace(DEVICE, epsilon=None))
    said = " ".join(Words.of(replace(ANSWER, privacy=one, payload_bytes=1)).explanation)
    assert "1 byte of ciphertext" in said
    assert "1 integer with noise (preset certified)" in said
    assert "this device: 1 photo so far." in said
    said = " ".join(Words.of(replace(ANSWER, privacy=many)).explanation)
    assert "103 bytes of ciphertext" in said
    assert "144 integers without noise" in said
    assert "4 photos so far, which it can link to each other" in said


def test_where_the_device_did_the_work_it_is_said() -> None:
    done = "The device did the work: from one of 6 levels the server looks the answer up in a table."
    for device in (DEVICE, None):
        assert done in Words.of(replace(ANSWER, privacy=replace(PRIVACY, device=device))).explanation
        split = replace(PRIVACY, device=device, integers=144, levels=None)
        assert "did the work" not in " ".join(Words.of(replace(ANSWER, privacy=split)).explanation)


ENCRYPTED = PrivacyInfo(
    *("encrypted", "cryptographic", None, None, 0.0, 1, None),
    device=replace(DEVICE, epsilon=None, delta=None, identification_bound_n1000=None),
    integers=256,
    encrypted=True,
)


def test_of_an_encrypted_release_it_is_said_that_nothing_was_learned_and_what_that_rests_on() -> None:
    said = Words.of(replace(ANSWER, privacy=ENCRYPTED)).explanation
    assert "103 bytes of ciphertext: this photo's share of a request" in said[0]
    assert "evaluation keys went by, too, sealed like all else" in said[0]
    assert "nothing of this photo, nor its answer, if it computed what it should. It computes on" in said[1]
    assert "128-bit security by ring learning with errors" in said[1]
    assert "4 photos so far, which it can link to each other. Nothing of what they show" in said[2]
    one = replace(ENCRYPTED, device=replace(DEVICE, photos=1, epsilon=None, delta=None))
    assert "1 photo so far. Nothing of what it shows: it was" in Words.of(replace(ANSWER, privacy=one)).explanation[2]
    local = " ".join(Words.of(replace(ANSWER, privacy=replace(ENCRYPTED, device=None))).explanation)
    assert "would have learned nothing of it. It computes on" in local
    assert "256 integers" not in " ".join(said) + local


def test_of_a_photo_that_also_left_in_the_open_nothing_more_is_promised_than_holds() -> None:
    proven = replace(
        ENCRYPTED, claim="proven", epsilon=142.771, delta=1e-5, identification_bound_n1000=0.006, device=DEVICE
    )
    assert (
        "also released without encryption. It picks this photo"
        in Words.of(replace(ANSWER, privacy=proven)).explanation[2]
    )
    unproven = replace(ENCRYPTED, claim="none", device=replace(ENCRYPTED.device, without_promise=1))  # type: ignore[type-var]
    said = Words.of(replace(ANSWER, privacy=unproven)).explanation
    assert said[2] == "Nothing can be promised: this photo was also released without noise."
    assert "1 release came without noise" in said[3]


GUARDED = replace(
    PRIVACY, preset="guarded", claim="measured", integers=200, levels=None, identification_bound_n1000=1.0
)


@pytest.mark.parametrize("device", [DEVICE, None])
def test_of_what_was_measured_alone_it_is_said_what_is_proven(device: DevicePrivacy | None) -> None:
    said = Words.of(replace(ANSWER, privacy=replace(GUARDED, device=device))).explanation
    measured = "Attacks did not rebuild the picture from such a release; this was measured, and is not proven."
    before = said[said.index(measured) - 1]
    assert "200 integers with noise (preset guarded)" in before
    assert "Nothing is certified about how often it picks this photo" in before
    assert "epsilon 142.771" in before
    open_too = replace(GUARDED, device=device, claim="none", epsilon=None)
    assert measured not in Words.of(replace(ANSWER, privacy=open_too)).explanation
    assert measured not in Words.of(replace(ANSWER, privacy=replace(PRIVACY, claim="measured"))).explanation


@pytest.mark.parametrize(("bound", "is_void"), [(0.9899, False), (VOID_BOUND, True), (1.0, True)])
def test_a_bound_of_nearly_all_is_called_none(bound: float, is_void: bool) -> None:
    device = replace(DEVICE, identification_bound_n1000=bound)
    privacy = replace(PRIVACY, identification_bound_n1000=bound, device=device)
    said = [line for line in Words.of(replace(ANSWER, privacy=privacy)).explanation if "out of 1,000" in line]
    assert len(said) == 2
    assert all(("Nothing is certified about" in line) is is_void for line in said)


def test_unlearned_and_refused_are_said_before_the_number() -> None:
    answer = replace(ANSWER, unlearned=PHOTOS, overridden="blur", interval=None)
    caveats = Words.of(answer).caveats
    assert "the photo is blurred" in caveats[0]
    assert caveats[1].endswith("not trained on such photos.")
    assert "nothing is called low" in caveats[2]
    one = wording.unlearned(Unlearned("dermoscopy", 1), has_figures=True)
    assert one.endswith("from 1 such photo.")


@pytest.mark.parametrize("unlearned", [None, PHOTOS])
@pytest.mark.parametrize("interval", [Interval(0.001, 0.02), Interval(0.03, 0.07)])
def test_the_kind_is_named_only_where_it_alone_keeps_an_answer_from_low(
    interval: Interval, unlearned: Unlearned | None
) -> None:
    said = Words.of(replace(ANSWER, interval=interval, never_low=True, unlearned=unlearned)).caveats
    is_kept = interval.high < ANSWER.threshold and unlearned is None
    assert any("never called low" in line for line in said) is is_kept


@pytest.mark.parametrize("overridden", [None, "blur"])
@pytest.mark.parametrize("accuracy", [None, ANSWER.accuracy])
def test_figures_are_announced_where_they_stand_below(
    overridden: RefusalReason | None, accuracy: Accuracy | None
) -> None:
    words = Words.of(replace(ANSWER, unlearned=PHOTOS, overridden=overridden, accuracy=accuracy))
    are_announced = any("The figures below are from 537 such photos." in line for line in words.caveats)
    are_given = any("AUC of" in line for line in words.meaning)
    assert are_announced == are_given == (overridden is None and accuracy is not None)


@pytest.mark.parametrize("device", [DEVICE, None])
@pytest.mark.parametrize("privacy", [PRIVACY, ENCRYPTED])
def test_nobody_learned_anything_only_where_no_collector_has_traces(
    privacy: PrivacyInfo, device: DevicePrivacy | None
) -> None:
    answer = replace(ANSWER, privacy=replace(privacy, device=device))
    alone, traced = Words.of(answer).explanation, Words.of(answer, traced=True).explanation
    assert "collector" not in " ".join(alone)
    assert not any(line.startswith(("Nobody learned", "Nothing of the photo left")) for line in traced) or (
        device is None and traced[0].startswith("Nothing of the photo left this device")
    )
    (told,) = (line for line in traced if line.startswith("The collector of this device's traces"))
    assert not any("Nobody" in line for line in traced[: traced.index(told)]), "who else is said after all others"
    with i18n.using("ko"):
        text = " ".join(set(Words.of(answer, traced=True).explanation) - set(Words.of(answer).explanation))
    assert set(re.findall(r"[A-Za-z]{2,}", text)) == {"otel", "http"}


def test_in_korean_nothing_of_english_is_left() -> None:
    answer = replace(ANSWER, unlearned=PHOTOS, overridden="blur")
    with i18n.using("ko"):
        words, measured = Words.of(answer), Words.of(ANSWER).meaning
    said = [words.headline, words.advice, *words.caveats, words.number, *words.meaning, *measured, *words.explanation]
    text = " ".join(said)
    assert words.headline == "위험 낮음"
    assert set(re.findall(r"[A-Za-z]{2,}", text)) == {"AUC", "certified", "epsilon", "delta", "ms", "head"}
    with i18n.using("ko"):
        text = " ".join(Words.of(replace(ANSWER, privacy=GUARDED)).explanation)
    assert set(re.findall(r"[A-Za-z]{2,}", text)) == {"guarded", "epsilon", "delta", "ms", "head"}
    with i18n.using("ko"):
        text = " ".join(Words.of(replace(ANSWER, privacy=ENCRYPTED)).explanation)
    assert set(re.findall(r"[A-Za-z]{2,}", text)) == {"CKKS", "encrypted", "ring", "LWE", "ms", "head"}

"""Answers are read by the kind of the photo where the bundle knows it: calibration, threshold, interval, figures."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit import wording
from securesplit.device.options import ClientOptions
from securesplit.device.pipeline import DiagnosisPipeline, PreparedRelease
from securesplit.device.release_step import Assessment, preset_of_mechanism
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle, Calibration, NoiseCalibration
from securesplit.model.bundle import DEFAULT_FOLDER
from securesplit.model.manifest import KindOfPhoto
from securesplit.model.spread import Spread
from securesplit.privacy.mechanism import Mechanism
from securesplit.results import Diagnosis, Kind, RefusalReason
from securesplit.transport.answer import Answer
from tests.manifests import changed_manifest

LOGIT = 0.5
QUALITY = {"auc": 0.91, "auc_low": 0.88, "auc_high": 0.94, "sensitivity": 0.9, "specificity": 0.7, "ece": 0.04}


def read(sigma: float, offset: float, threshold: float, **quality: float) -> NoiseCalibration:
    figures = {"validation": QUALITY | quality}
    return NoiseCalibration(
        sigma, Calibration(2.0, offset), threshold, figures, Spread((0.0, 1.0), (0.3, 0.5), (0.6, 0.8))
    )


OWN = {
    "none": (read(0.0, -1.5, 0.4),),
    "certified": (read(0.1167, -0.5, 0.45), read(0.5, 0.5, 0.55, auc=0.89)),
}
LEARNED = KindOfPhoto(learned=True, photos=537, answers=OWN)
UNLEARNED = KindOfPhoto(learned=False, photos=537, figures={"none": QUALITY, "certified": QUALITY})

Ask = Callable[..., Diagnosis]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Diagnose a synthetic lesion as one kind of photo, by a bundle that knows these kinds."""

    def asked(
        phone: KindOfPhoto,
        *,
        privacy: str = "none",
        kind: Kind | None = "phone",
        reason: RefusalReason | None = None,
    ) -> Diagnosis:
        pipeline = DiagnosisPipeline(ClientOptions(model=written(tmp_path, phone), privacy=privacy, local=True))
        prepared = pipeline.prepare(draw_lesion(1, 300))
        assert isinstance(prepared, PreparedRelease)
        prepared.charge()
        object.__setattr__(prepared.ready, "assessment", Assessment(reason, kind))
        return pipeline.conclude(prepared, Answer(LOGIT, 1.0, 2.0, 100, b""))[0]

    return asked


def written(folder: Path, phone: KindOfPhoto) -> Path:
    """The shipped bundle with this knowledge of phone photos, by way of its manifest."""
    target = folder / f"bundle-{len(list(folder.iterdir()))}"
    shutil.copytree(DEFAULT_FOLDER, target)
    shipped = Bundle.load(target).manifest
    assert shipped.gate is not None
    kinds = {"dermoscopy": KindOfPhoto(learned=True), "phone": phone}
    replace(shipped, gate=replace(shipped.gate, kinds=kinds)).write(target)
    loaded = Bundle.load(target).manifest
    assert loaded.gate is not None
    assert loaded.gate.kinds == kinds
    assert loaded.identity == shipped.identity
    return target


def probability(found: NoiseCalibration) -> float:
    return 1 / (1 + math.exp(-(found.calibration.scale * LOGIT + found.calibration.offset)))


def test_a_learned_kind_is_read_by_its_own_answers(ask: Ask) -> None:
    found = ask(LEARNED)
    assert found.malignant == pytest.approx(probability(OWN["none"][0]))
    assert found.threshold == 0.4
    assert found.payload_bytes == 0, "nothing has left the device"
    assert found.interval is not None
    assert found.malignant < 0.4, "below what its spread says"
    assert (found.interval.low, found.interval.high) == pytest.approx((found.malignant - 0.04, 0.7 + 0.04))
    above = ask(replace(LEARNED, answers={"none": (read(0.0, 1.0, 0.4),)}))
    assert above.malignant > 0.7
    assert above.interval is not None
    assert (above.interval.low, above.interval.high) == pytest.approx((0.4 - 0.04, above.malignant + 0.04))
    assert found.accuracy is not None
    assert (found.accuracy.auc, found.accuracy.measured_on, found.unlearned) == (0.91, "phone", None)
    said = wording.Words.of(found)
    assert "measured on phone photos" in " ".join(said.meaning)
    assert not said.caveats


def test_nothing_was_measured_on_photos_that_would_have_been_refused(ask: Ask) -> None:
    found = ask(LEARNED, reason="blur")
    assert found.overridden == "blur"
    assert (found.interval, found.accuracy_of_such) == (None, None)


def test_the_label_follows_the_threshold_of_the_kind(ask: Ask) -> None:
    strict = KindOfPhoto(learned=True, photos=9, answers={"none": (replace(OWN["none"][0], threshold=0.99),)})
    assert (ask(LEARNED).label, ask(strict).label) == ("benign", "benign")
    lax = KindOfPhoto(learned=True, photos=9, answers={"none": (replace(OWN["none"][0], threshold=0.01),)})
    assert ask(lax).label == "malignant"


def test_noise_of_an_epsilon_is_read_between_the_noises_of_the_kind(ask: Ask) -> None:
    less, more = OWN["certified"]
    found = ask(LEARNED, privacy="30")
    part = math.log(found.privacy.sigma_per_clip / less.sigma_per_clip) / math.log(
        more.sigma_per_clip / less.sigma_per_clip
    )
    assert 0 < part < 1
    assert found.threshold == pytest.approx(0.45 + part * 0.1)
    assert found.accuracy is not None
    assert found.accuracy.auc == pytest.approx(0.91 - part * 0.02, abs=1e-3)
    assert ask(LEARNED, privacy="1").accuracy is None, "nothing is known of more noise than was measured"


def test_what_a_bundle_without_answers_of_a_kind_means_is_what_it_meant(ask: Ask) -> None:
    preset = Bundle.load().presets["none"]
    learned, never = ask(KindOfPhoto(learned=True)), ask(UNLEARNED)
    for found in (learned, never, ask(LEARNED, kind=None), ask(LEARNED, kind="dermoscopy")):
        assert found.malignant == preset.calibration.probability(LOGIT)
        assert found.threshold == preset.threshold
    assert learned.accuracy == preset.accuracy
    assert learned.unlearned is None
    assert never.unlearned is not None
    assert never.accuracy is not None
    assert (never.accuracy.auc, never.accuracy.measured_on) == (0.91, "phone")
    assert ask(UNLEARNED, privacy="8").accuracy is None


def test_a_preset_that_the_kind_has_no_answers_of_is_read_as_for_any_photo(ask: Ask) -> None:
    found, preset = ask(LEARNED, privacy="compact"), Bundle.load().presets["compact"]
    assert (found.threshold, found.accuracy) == (preset.threshold, preset.accuracy)


def test_no_answer_is_low_where_the_kind_has_none(ask: Ask) -> None:
    sure = (replace(OWN["none"][0], threshold=0.9),)
    low = KindOfPhoto(learned=True, photos=537, answers={"none": sure})
    found, kept = ask(low), ask(replace(low, never_low=("none",)))
    assert (found.risk, kept.risk) == ("low", "borderline")
    assert kept.interval == found.interval is not None
    assert not wording.Words.of(found).caveats
    assert any("never called low" in said for said in wording.Words.of(kept).caveats)
    other = replace(low, never_low=("compact",))
    assert ask(other).risk == "low", "it is another preset that is kept from it"
    assert ask(replace(low, never_low=("none",)), kind="dermoscopy").never_low is False


def test_no_answer_is_low_for_a_kind_that_was_not_learned(ask: Ask) -> None:
    """Not even where the calibration fits, as one that was fitted to such photos does."""
    unlearned = KindOfPhoto(learned=False, photos=537, answers={"none": (replace(OWN["none"][0], threshold=0.9),)})
    found = ask(unlearned)
    assert found.interval is not None
    assert found.interval.high < found.threshold
    assert found.risk == "borderline"


def check_damaged(tmp_path: Path, field: str, value: Any) -> None:
    """A bundle whose phone photos have this in their field is refused."""
    from securesplit.errors import BundleError

    folder = written(tmp_path, LEARNED)
    with changed_manifest(folder) as raw:
        raw["gate"]["kinds"]["phone"][field] = value
    with pytest.raises(BundleError, match="manifest is damaged"):
        Bundle.load(folder)


@pytest.mark.parametrize("never_low", [3, ["nothing"], [["none"]], ["none", "none"], {"none": True}])
def test_presets_that_are_never_low_are_presets(never_low: Any, tmp_path: Path) -> None:
    check_damaged(tmp_path, "never_low", never_low)


def damaged(**changes: Any) -> dict[str, Any]:
    whole = {"calibration": {"scale": 2.0, "offset": -1.5}, "threshold": 0.4, "quality": {}}
    return {"none": {**whole, **changes}}


@pytest.mark.parametrize(
    "answers",
    [
        3,
        {"nothing": damaged()["none"]},
        damaged(threshold=1.5),
        damaged(calibration={"scale": 2.0}),
        damaged(quality={"validation": {"auc": 2}}),
        damaged(spread={"logits": [0.0], "low": [0.6], "high": [0.5]}),
        damaged(spread={"logits": [0.0], "low": [0.4], "high": [0.5]}, more_noise=[damaged()["none"]]),
    ],
)
def test_damaged_answers_of_a_kind_are_an_error(answers: Any, tmp_path: Path) -> None:
    check_damaged(tmp_path, "answers", answers)


def test_reading_a_kind_changes_nothing_that_is_released(tmp_path: Path) -> None:
    photo, releases = draw_lesion(1, 300), []
    for phone in (LEARNED, UNLEARNED):
        options = ClientOptions(
            model=written(tmp_path, phone), privacy="certified", local=True, state=tmp_path / "state"
        )
        prepared = DiagnosisPipeline(options).prepare(photo)
        assert isinstance(prepared, PreparedRelease)
        releases.append(prepared.ready.release)
    assert np.array_equal(*releases)


def test_what_an_own_mechanism_s_answers_to_such_photos_are_worth_is_not_known() -> None:
    """They are read as the preset's, whose noise it replaces, and so are worth less by nobody knows how much."""
    bundle, mine = Bundle.load(), Mechanism(lambda grid, *_: grid, "certified", "mine", "mine 1.0")
    shipped, own = (LEARNED.read(one) for one in (bundle.preset("certified"), preset_of_mechanism(bundle, mine)))
    assert (own.calibration, own.threshold) == (shipped.calibration, shipped.threshold)
    assert shipped.accuracy is not None
    assert shipped.spread is not None
    assert (own.accuracy, own.spread) == (None, None)

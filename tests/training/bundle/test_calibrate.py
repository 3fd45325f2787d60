"""Thresholds lie between answers, and calibration never turns them around."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securesplit.errors import BundleError

pytest.importorskip("sklearn")
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from training.bundle import calibrate
from training.data.dataset import LABELS, Dataset, Split
from training.data.photo import DataError, Photo
from training.evaluation import deployed
from training.evaluation.calibration import (
    ASSURANCE,
    LEAST_LESIONS,
    LEAST_SCALE,
    SENSITIVITY,
    NoiseFree,
    by_answer,
    line,
    platt,
    threshold_for_sensitivity,
)
from training.evaluation.metrics import expected_calibration_error


def test_a_threshold_lies_halfway_between_two_levels():
    logits = np.array([-2.0, -2.0, -1.0, 1.0, 1.0, 3.0], np.float32)
    malignant = np.array([0, 0, 0, 1, 1, 1], bool)
    assert threshold_for_sensitivity(logits, malignant, 0.9) == 0.0
    assert threshold_for_sensitivity(logits, malignant, 0.3) == 2.0


def test_levels_that_hardly_differ_are_called_alike():
    logits = np.array([-2.0, 1.0, 1.0 + 1e-6, 1.0 + 2e-6, 3.0])
    malignant = np.array([0, 0, 1, 1, 1], bool)
    assert threshold_for_sensitivity(logits, malignant, 0.9, least_gap=1e-3) == -0.5
    assert threshold_for_sensitivity(logits, malignant, 0.9) == pytest.approx(1.0 + 0.5e-6, abs=1e-9)
    assert threshold_for_sensitivity(logits[1:], malignant[1:], 0.9, least_gap=1e-3) == 0.0


def test_no_answer_of_another_split_equals_the_threshold():
    logits = {"validation": np.array([-1, -1, 1, 1], np.float32), "test": np.array([-1, 1e-9, 0.5, 1], np.float32)}
    malignant = np.array([0, 1, 1, 1], bool)
    calibration = calibrate.Calibration(1.0, 0.0)
    apart = calibrate.apart(calibration, logits)
    cutoff = threshold_for_sensitivity(logits["validation"], malignant, 0.6, **apart)
    assert cutoff == 0.75


@pytest.mark.parametrize("slope", [LEAST_SCALE, 1.0, 50.0])
def test_where_levels_lie_close_no_answer_lies_at_the_threshold(slope):
    """Also under a slope so flat that different logits are hardly different probabilities."""
    levels = np.array([-0.4, -0.4 + 3e-9, 0.1, 0.1 + 2e-7, 0.1 + 5e-5, 2.0])
    malignant = np.array([0, 0, 0, 1, 1, 1], bool)
    calibration = calibrate.Calibration(slope, 0.0)
    cutoff = threshold_for_sensitivity(levels, malignant, 0.9, least_gap=calibrate.least_gap(calibration))
    calibrate.check_threshold(calibration.probability(cutoff), np.array([calibration.probability(x) for x in levels]))


@pytest.mark.parametrize("fit", [line, by_answer])
@pytest.mark.parametrize("seed", range(20))
def test_no_answer_equals_the_threshold_of_the_sensitivity(seed, fit):
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.normal(size=6)).astype(np.float32)
    malignant = rng.integers(0, 2, 300).astype(bool)
    logits = levels[np.clip(rng.integers(0, 6, 300) + malignant, 0, 5)]
    cutoff = threshold_for_sensitivity(logits, malignant, 0.9)
    assert (logits[malignant] >= cutoff).mean() >= 0.9
    assert cutoff not in levels
    calibration = fit(logits, malignant)
    cutoff = threshold_for_sensitivity(logits, malignant, 0.9, least_gap=calibrate.least_gap(calibration))
    calibrate.check_threshold(calibration.probability(cutoff), np.array([calibration.probability(x) for x in levels]))


def test_calling_all_malignant_puts_the_threshold_lowest():
    logits, malignant = np.array([0.5, 1.0], np.float32), np.array([1, 0], bool)
    assert threshold_for_sensitivity(logits, malignant, 0.9) < 0.5


def test_an_assured_threshold_finds_its_share_of_other_lesions_more_often_than_not():
    """What is fitted to the photos at hand alone falls short on others as often as not."""
    rng, lesions, reached = np.random.default_rng(5), np.arange(240), {"at hand": 0, "assured": 0}
    malignant, others = np.arange(240) < 80, rng.normal(size=100_000)
    for _ in range(60):
        logits = rng.normal(size=240) - 2 * ~malignant
        for name, given in (("at hand", {}), ("assured", {"lesions": lesions})):
            cutoff = threshold_for_sensitivity(logits, malignant, 0.9, **given)
            reached[name] += (others >= cutoff).mean() >= 0.9
    assert reached["at hand"] / 60 < 0.65 < 0.72 < reached["assured"] / 60


def test_more_photos_of_the_same_lesions_assure_no_more():
    rng, lesions = np.random.default_rng(6), np.arange(120)
    malignant = np.arange(120) < 60
    logits = rng.normal(size=120) + 2 * malignant
    five = {"logits": np.tile(logits, 5), "malignant": np.tile(malignant, 5), "sensitivity": 0.9}
    cutoff = threshold_for_sensitivity(logits, malignant, 0.9, lesions=lesions)
    assert threshold_for_sensitivity(**five, lesions=np.tile(lesions, 5)) == cutoff
    assert threshold_for_sensitivity(**five, lesions=np.arange(600)) > cutoff


def test_a_threshold_at_an_answer_is_refused():
    with pytest.raises(BundleError, match="lies at the probability") as caught:
        calibrate.check_threshold(0.11321719266075732, np.array([0.02, 0.11321719266075733, 0.4]))
    assert "between two levels" in caught.value.hint


def test_a_slope_that_noise_has_turned_is_not_followed():
    """Fitted to nothing but noise the slope may be negative; a larger logit never means a smaller probability."""
    scale, _ = platt(np.array([0.0, 1.0, 2.0, 3.0], np.float32), np.array([1, 1, 0, 0]))
    assert scale == LEAST_SCALE


LEVELS = np.array([-5.0, -3.4, -2.0, -0.9, 0.3, 2.1], np.float32)
SHARES = np.array([0.1, 0.1, 0.12, 0.3, 0.6, 0.96])
"""Of malignant photos at each level, which no line through the logits comes near."""


def levelled(photos, seed):
    """So many photos at each level."""
    which = np.repeat(np.arange(len(LEVELS)), photos)
    return LEVELS[which], np.random.default_rng(seed).random(len(which)) < SHARES[which]


def test_levels_are_calibrated_each_by_its_own_share():
    (logits, malignant), (others, labels) = levelled(200, 1), levelled(2000, 2)
    errors = []
    for fit in (line, by_answer):
        calibration = fit(logits, malignant)
        probability = np.array([calibration.probability(x) for x in others])
        errors.append(expected_calibration_error(probability, labels))
        assert (np.diff(calibration.log_odds(LEVELS)) > 0).all()
    assert errors[1] < 0.03 < 0.05 < errors[0]


def test_the_share_of_few_photos_is_drawn_towards_the_line():
    """Three malignant photos at the level that looks most benign say little."""
    logits, malignant = levelled(200, 3)
    logits, malignant = np.append(logits, [-9.0] * 3).astype(np.float32), np.append(malignant, [True] * 3)
    found = by_answer(logits, malignant)
    assert found.probability(-9.0) < 0.2
    assert found.probability(-9.0) > line(logits, malignant).probability(-9.0)


def test_a_share_is_of_its_photos_and_of_as_many_more_as_the_line_counts_for():
    logits = np.repeat(np.array([-5.0, 0.0, 5.0], np.float32), [200, 20, 200])
    malignant = np.repeat([False, True, False, True], [200, 16, 4, 200])
    expected = line(logits, malignant).probability(0.0)
    assert by_answer(logits, malignant).probability(0.0) == pytest.approx((16 + 20 * expected) / 40, abs=1e-6)


def test_shares_out_of_order_are_pooled_by_how_many_photos_they_are_of():
    logits = np.repeat(np.array([-1.0, 0.0, 9.0], np.float32), [3000, 600, 3000])
    malignant = np.repeat([True, False, True, False, True], [1200, 1800, 120, 480, 3000])
    found = by_answer(logits, malignant)
    for level in (-1.0, 0.0):
        assert found.probability(level) == pytest.approx(1320 / 3600, abs=0.01)


def test_figures_are_of_several_draws_of_the_noise():
    """And of one where there is none: it would be the same sixteen times."""
    bundle, photos = Bundle.load(), np.stack([draw_lesion(n, 150) for n in range(3)])
    split = Split(tuple(Photo(n, malignant=False, lesion=str(n)) for n in range(3)), photos)
    embeddings = deployed.embed(bundle, split)
    assert [len(deployed.draws_of(bundle.presets[name].spec)) for name in ("certified", "none")] == [deployed.DRAWS, 1]
    spec, found = replace(bundle.presets["certified"].spec, sigma_per_clip=1.0), embeddings["certified"]
    secrets = deployed.draws_of(spec)
    logits = deployed.drawn_logits(bundle, spec, split, found, secrets).reshape(deployed.DRAWS, 3)
    for secret, draw in zip(secrets[:3], logits, strict=False):
        assert (deployed.drawn_logits(bundle, spec, split, found, [secret]) == draw).all()
    assert (logits != logits[0]).any()


def test_answers_are_read_by_a_threshold_that_is_assured_over_lesions():
    """Nine like photos of a lesion say no more than one does."""
    rng, lesions = np.random.default_rng(7), np.tile(np.arange(200), 9)
    malignant = lesions < 100
    logits = (rng.normal(size=200) + 2 * malignant[:200]).astype(np.float32)[lesions]
    shown = tuple(Photo(n, malignant=bool(malignant[n]), lesion=str(lesion)) for n, lesion in enumerate(lesions))
    split = Split(shown, np.zeros((len(shown), 1, 1, 3), np.uint8))
    noise_free = NoiseFree.measure(logits, malignant, split.lesion)
    spec = Bundle.load().presets["none"].spec
    read = calibrate.read_answers(spec, {"validation": logits}, {"validation": split}, noise_free, sensitivity=0.9)
    by_lesion, by_photo, at_hand = (
        read.calibration.probability(threshold_for_sensitivity(logits, malignant, 0.9, lesions=drawn))
        for drawn in (split.lesion, np.arange(len(shown)), None)
    )
    assert read.threshold == by_lesion < by_photo < at_hand


def photos(**lesions: int) -> Dataset:
    """Two photos of each of so many lesions, by split and label; of those not named, the least that are enough."""

    def shown(split: str, label: str) -> list[Photo]:
        count = lesions.get(f"{split}_{label}", LEAST_LESIONS)
        names = [f"{split}/{label}/{number}" for number in range(count)]
        return [Photo(Path(f"{name}-{view}.png"), label == "malignant", name) for name in names for view in (1, 2)]

    by_split = {split: [p for label in LABELS for p in shown(split, label)] for split in ("train", "val", "test")}
    return Dataset(Path("data"), by_split, Path("cache"))


def test_with_fewer_lesions_no_threshold_can_be_assured():
    """Below all answers to n malignant lesions, of whatever distribution, lies more than the share p with 1 - p^n."""
    rng = np.random.default_rng(1)

    def assured(count: int) -> float:
        least = rng.random((40_000, count)).min(1)  # of uniform answers: the share of others that lie below
        return float((1 - least >= SENSITIVITY).mean())

    assert assured(LEAST_LESIONS) == pytest.approx(1 - SENSITIVITY**LEAST_LESIONS, abs=0.01)
    assert 1 - SENSITIVITY ** (LEAST_LESIONS - 1) < ASSURANCE <= 1 - SENSITIVITY**LEAST_LESIONS


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("label", LABELS)
def test_so_few_lesions_are_refused_whatever_the_number_of_their_photos(split, label, capsys):
    calibrate.check_enough(photos(train_benign=1, train_malignant=1))
    few = photos(**{f"{split}_{label}": LEAST_LESIONS - 1})
    with pytest.raises(
        DataError, match=f"^{split} has 27 {label} lesions, too few for a threshold or a figure$"
    ) as error:
        calibrate.check_enough(few)
    assert "at least 28 of each class are needed in val and in test: of 27 that are" in error.value.hint
    assert "a share of 87% to 100% may be, by chance" in error.value.hint
    calibrate.check_measurable(few)
    assert capsys.readouterr().err.startswith(f"warning: {split} has 27 {label} lesions, too few")
    calibrate.check_measurable(photos())
    assert not capsys.readouterr().err


def test_lesions_that_do_not_count_are_not_enough():
    enough = photos()
    premalignant = [replace(p, is_premalignant=p.malignant) for p in enough.photos["val"]]
    phone = [replace(p, kind="phone") for p in enough.photos["val"]]
    for val, said in ((premalignant, "val has 0 malignant lesions"), (phone, "val has 0 benign lesions")):
        with pytest.raises(DataError, match=said):
            calibrate.check_enough(replace(enough, photos={**enough.photos, "val": val}))


def test_the_command_refuses_two_photos_a_class_and_leaves_the_bundle(monkeypatch):
    before = Bundle.load().manifest
    monkeypatch.setattr("sys.argv", ["calibrate", "--model", str(Bundle.load().folder), "--data", "none"])
    monkeypatch.setattr(Dataset, "read", lambda *_: photos(val_malignant=2))
    with pytest.raises(DataError, match="val has 2 malignant lesions, too few") as error:
        calibrate.main()
    assert "a share of 16% to 100% may be" in error.value.hint
    assert Bundle.load().manifest == before

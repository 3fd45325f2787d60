"""Levels: as few values as may be, at as little AUC as may be; and what those values tell. Needs no TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest

from securesplit.audit import metrics
from securesplit.privacy.release import ReleaseSpec
from training.data.photo import Photo
from training.release import quantizer
from training.studies import leakage_tables
from training.studies.leakage_tables import LevelledPhotos

RNG = np.random.default_rng(1)
MALIGNANT = RNG.random(20_000) < 0.2
SCORES = RNG.normal(size=20_000) + MALIGNANT * 1.968  # normal in each class, AUC 0.918


@pytest.mark.parametrize(("count", "auc"), [(3, 0.8843), (5, 0.9063), (6, 0.9099), (7, 0.9121)])
def test_levels_lose_no_more_auc_than_the_best_quantiser(count: int, auc: float) -> None:
    """The optima of the normal model, found apart by a simplex search."""
    fitted = quantizer.fit(SCORES, MALIGNANT, count, 0.0)
    assert fitted.auc == pytest.approx(auc, abs=0.004)
    assert fitted.auc == pytest.approx(metrics.auc(MALIGNANT, fitted.level(SCORES)), abs=1e-3)
    assert (np.diff(fitted.thresholds) > 0).all()


def test_the_auc_under_noise_is_that_of_the_exact_sampler() -> None:
    from securesplit.audit.setting import exact_noise

    spec = ReleaseSpec("certified", (1,), "int16", step=0.5, clip_norm=1.0, sigma_per_clip=0.25)
    fitted = quantizer.fit(SCORES, MALIGNANT, 5, float(spec.sigma_squared))
    released = fitted.level(SCORES) + exact_noise(spec, (len(SCORES),), 3)
    assert fitted.auc == pytest.approx(metrics.auc(MALIGNANT, released), abs=0.004)
    answers = np.interp(released, fitted.values, fitted.logits)
    assert metrics.auc(MALIGNANT, answers) >= metrics.auc(MALIGNANT, released) - 1e-9


def test_more_noise_costs_more_and_more_levels_cost_less() -> None:
    noisy = [quantizer.fit(SCORES, MALIGNANT, 5, sigma**2).auc for sigma in (0.3, 0.5, 0.8)]
    assert noisy == sorted(noisy, reverse=True)
    finer = [quantizer.fit(SCORES, MALIGNANT, count, 0.09).auc for count in (3, 5, 7, 9)]
    assert finer == sorted(finer)


def test_log_odds_are_the_truth_s() -> None:
    fitted = quantizer.fit(SCORES, MALIGNANT, 5, 0.0)
    level = fitted.level(SCORES)
    for value in range(-2, 3):
        share = MALIGNANT[level == value].mean()
        base = MALIGNANT.mean()
        expected = np.log(share / (1 - share))
        assert np.interp(value, fitted.values, fitted.logits) == pytest.approx(expected, abs=0.3), base


def test_one_threshold_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        quantizer.fit(SCORES, MALIGNANT, 2, 0.0)


def test_smoothed_thresholds_hold_on_other_photos() -> None:
    """Fitted to 600 photos, measured on 20,000: near the optimum of all."""
    fitted = [quantizer.fit(SCORES[i : i + 600], MALIGNANT[i : i + 600], 5, 0.0) for i in range(0, 12_000, 600)]
    held = np.mean([metrics.auc(MALIGNANT, f.level(SCORES)) for f in fitted])
    assert held > quantizer.fit(SCORES, MALIGNANT, 5, 0.0).auc - 0.004


def side(seed: int, tells: bool) -> LevelledPhotos:
    rng = np.random.default_rng(seed)
    malignant = rng.random(2000) < 0.3
    level = np.clip(rng.integers(-2, 1, 2000) + 2 * malignant, -2, 2)
    age = np.where(level > 0, 70, 30) if tells else rng.choice([30, 70], 2000)
    photos = [
        Photo(path=None, malignant=bool(m), lesion=str(i // 2), age=str(a), sex="male", site="back")  # type: ignore[arg-type]
        for i, (m, a) in enumerate(zip(malignant, age, strict=True))
    ]
    light = (level if tells else rng.integers(-2, 3, 2000))[:, None, None, None] / 4 + 0.5
    return LevelledPhotos(photos, level, malignant, np.repeat(light, 3, axis=3).astype(np.float32))


@pytest.mark.parametrize("tells", [True, False])
def test_tables_find_what_the_level_tells_and_nothing_else(tells: bool) -> None:
    fitted = quantizer.fit(SCORES, MALIGNANT, 5, 0.01)
    found = leakage_tables.measure(side(1, tells), side(2, tells), fitted, 0.01)
    assert found["A6"] == pytest.approx(0.005, abs=1e-4)
    assert found["A1"] > 0.9 if tells else abs(found["A1"]) < 0.02
    assert found["age"] > 0.95 if tells else found["age"] == pytest.approx(0.5, abs=0.04)
    assert found["age label"] < found["age"] + 0.04


def test_the_table_identifies_lesions_that_share_a_level() -> None:
    own, victims = (side(seed, tells=False) for seed in (1, 2))
    shared = [
        LevelledPhotos(s.photos, np.repeat(s.level[::2], 2), np.repeat(s.malignant[::2], 2), s.thumbnail)
        for s in (own, victims)
    ]
    fitted = quantizer.fit(SCORES, MALIGNANT, 5, 0.0)
    found = leakage_tables.measure(*shared, fitted, 0.0)
    assert found["A7"] == pytest.approx(5.0, rel=0.01)
    assert found["A7 label"] == pytest.approx(2.0, rel=0.01)

import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from tests.training.drawn_photos import draw_tree
from training.data.dataset import Split, list_photos
from training.data.photo import Photo
from training.evaluation import metrics
from training.evaluation.baseline import colour_statistics
from training.evaluation.calibration import temperature
from training.evaluation.metrics import bootstrap, reliability

RNG = np.random.default_rng(5)
MALIGNANT = RNG.random(600) < 0.2
LOGITS = RNG.normal(size=600) + 1.5 * MALIGNANT
LESIONS = np.repeat(np.arange(300), 2)


@pytest.mark.parametrize("decimals", [1, 8])
def test_partial_auc_is_the_challenge_s(decimals: int) -> None:
    scores = LOGITS.round(decimals)  # ties too
    scaled = roc_auc_score(~MALIGNANT, -scores, max_fpr=0.2)  # ISIC 2024 turns the curve on its side
    least, most = 0.5 * 0.2**2, 0.2
    expected = least + (most - least) * (scaled - 0.5) / 0.5
    assert metrics.partial_auc(MALIGNANT, scores, 0.8) == pytest.approx(expected, abs=1e-9)


def test_photos_confirmed_of_one_class_alone_have_no_auc() -> None:
    """Clinics often have nothing but what looked malignant confirmed; NaN is no JSON."""
    photos = [Photo(Path(f"{n}.jpg"), bool(m), str(n), dx_type="histo" * bool(m)) for n, m in enumerate(MALIGNANT)]
    split = Split(tuple(photos), np.zeros((len(photos), 1, 1, 3), np.uint8))
    for found in (
        metrics.scores(LOGITS.astype(np.float32), split, 0.0),
        metrics.ranking(LOGITS, MALIGNANT, split.histology),
    ):
        assert "auc_histology" not in found
        assert np.isfinite([*found.values()]).all()


def test_partial_auc_at_its_ends() -> None:
    assert metrics.partial_auc(MALIGNANT, MALIGNANT.astype(float)) == pytest.approx(0.2)
    assert metrics.partial_auc(MALIGNANT, np.zeros(600)) == pytest.approx(0.02)


def test_intervals_hold_the_value_and_grow_with_dependence() -> None:
    def measure(rows: np.ndarray) -> dict[str, float]:
        return {"share": float(MALIGNANT[rows].mean())}

    alone = bootstrap(measure, np.arange(600), MALIGNANT, draws=400)["share"]
    blocks = bootstrap(measure, (np.cumsum(MALIGNANT) // 10), MALIGNANT, draws=400)["share"]
    assert alone.low < alone.value < alone.high
    expected = 1.96 * np.sqrt(alone.value * (1 - alone.value) / 600)
    assert (alone.high - alone.low) / 2 == pytest.approx(expected, rel=0.2)
    assert blocks.value == alone.value


def test_figures_of_answers() -> None:
    probability = 1 / (1 + np.exp(-LOGITS))
    found = metrics.of_answers(probability, MALIGNANT, RNG.random(600) < 0.5, LESIONS, threshold=0.5, draws=20)
    assert set(found) == {"auc", "pauc", "auc_histology", "sensitivity", "specificity", "balanced_accuracy", "ece"}
    assert found["auc"].value == pytest.approx(roc_auc_score(MALIGNANT, LOGITS))
    assert found["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(MALIGNANT, probability >= 0.5))


def test_a_decision_that_is_always_right_has_an_interval() -> None:
    """40 malignant lesions of three photos each, all called so, say no more than that 8.8 % at most are missed."""
    lesions = np.repeat(np.arange(100), 3)
    malignant = lesions < 40
    probability = np.where(malignant, 0.9, 0.8)
    found = metrics.of_answers(probability, malignant, malignant, lesions, threshold=0.5, draws=20)
    assert (found["sensitivity"].low, found["sensitivity"].high) == pytest.approx((0.912, 1.0), abs=1e-3)
    assert (found["specificity"].low, found["specificity"].high) == pytest.approx((0.0, 0.0596), abs=1e-3)


def test_three_photos_of_each_lesion_say_no_more_than_one() -> None:
    """Of every figure with an interval, whether they are three photos or three draws of the noise."""

    def widths(times: int, draws: int = 1) -> list[float]:
        photos = tuple(Photo(Path("a.jpg"), bool(m), str(n), sex="male") for n, m in enumerate(MALIGNANT)) * times
        logits, malignant = np.tile(LOGITS, times), np.tile(MALIGNANT, times)
        split = Split(photos, np.zeros((len(photos), 1, 1, 3), np.uint8))
        drawn = metrics.scores(np.tile(logits, draws).astype(np.float32), split, 0.0, draws=draws)
        answers = metrics.of_answers(
            1 / (1 + np.exp(-logits)), malignant, malignant, split.lesion, threshold=0.5, draws=50
        )
        (stratum,) = (
            row
            for row in metrics.by_stratum(logits, malignant, photos, threshold=0.0, draws=50, baseline=logits)
            if row["stratum"] == "sex: male"
        )
        figures = [stratum["auc"], *(answers[name] for name in ("auc", "sensitivity", "specificity"))]
        return [drawn["auc_high"] - drawn["auc_low"], *(figure.high - figure.low for figure in figures)]

    alone = widths(1)
    assert min(alone) > 0.02
    assert widths(3) == pytest.approx(alone, abs=1e-9)
    assert widths(1, draws=3) == pytest.approx(alone, abs=1e-9)


def test_strata_name_every_photo_once_a_kind() -> None:
    photos = tuple(
        Photo(Path("a.jpg"), malignant=bool(m), lesion=str(i), age=age, sex="female", site="back")
        for i, (m, age) in enumerate(zip(MALIGNANT, ["39", "40", "85.0", ""] * 150, strict=True))
    )
    rows = metrics.by_stratum(LOGITS, MALIGNANT, photos, threshold=0.0, draws=10, baseline=-LOGITS)
    ages = {r["stratum"]: r["photos"] for r in rows if r["stratum"].startswith("age")}
    assert ages == {"age: below 40": 150, "age: 40 to 59": 150, "age: 60 and over": 150, "age: unknown": 150}
    assert list(ages) == ["age: below 40", "age: 40 to 59", "age: 60 and over", "age: unknown"]
    assert all(0.5 < r["auc"].value < 1 for r in rows)
    assert all(r["floor_auc"] == pytest.approx(1 - r["auc"].value) for r in rows)
    malignant_first = np.argsort(~MALIGNANT)
    for many, few in ((range(100), range(-9, 0)), (range(-100, 0), range(9))):  # nine of a class are too few
        chosen = malignant_first[[*many, *few]]
        shown = tuple(photos[n] for n in chosen)
        rows = metrics.by_stratum(
            LOGITS[chosen], MALIGNANT[chosen], shown, threshold=0.0, draws=10, baseline=LOGITS[chosen]
        )
        assert rows
        assert all("auc" not in r for r in rows)


def test_temperature_undoes_overconfidence() -> None:
    malignant = RNG.random(4000) < 1 / (1 + np.exp(-(true := RNG.normal(0, 2, 4000))))
    assert temperature(3.0 * true, malignant) == pytest.approx(3.0, rel=0.1)


def test_an_answer_at_the_threshold_is_malignant() -> None:
    """As `Diagnosis.label` has it, in every table."""
    malignant, probability, lesions = np.arange(40) < 20, np.full(40, 0.5), np.arange(40).astype(str)
    photos = tuple(Photo(Path("a.jpg"), bool(m), lesion) for m, lesion in zip(malignant, lesions, strict=True))
    split = Split(photos, np.zeros((40, 1, 1, 3), np.uint8))
    answers = metrics.of_answers(probability, malignant, malignant, lesions, threshold=0.5, draws=5)
    row, *_ = metrics.by_stratum(probability, malignant, photos, threshold=0.5, draws=5, baseline=probability)
    found = metrics.scores(np.zeros(40, np.float32), split, 0.0)
    assert [found["sensitivity"], row["sensitivity"], answers["sensitivity"].value] == [1.0] * 3


def test_reliability_bins_are_equally_filled() -> None:
    bins = reliability(1 / (1 + np.exp(-LOGITS)), MALIGNANT)
    assert [n for _, _, n in bins] == [60] * 10
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(bins))


def test_the_baseline_sees_colour_only(tmp_path: Path) -> None:
    draw_tree(tmp_path)
    photos = [p for side in list_photos(tmp_path).values() for p in side]
    assert colour_statistics(photos).shape == (12, 27)

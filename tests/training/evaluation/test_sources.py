"""Figures by source of what a bundle answers, at the size and under the preset that it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

from PIL import Image
from sklearn.metrics import roc_auc_score

from securesplit.errors import BundleError
from securesplit.imaging.synthetic import draw_lesion
from tests.training.bundle.test_attack_decoder import bundle_in
from tests.training.drawn_photos import draw_collection
from training.data.dataset import Dataset
from training.data.photo import Photo
from training.evaluation import groups, sources

pytestmark = [pytest.mark.filterwarnings("ignore")]


def test_a_bundle_of_another_size_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a preset that it has not is told of before anything is computed, by both commands that take one."""
    bundle_in(tmp_path / "bundle")
    draw_collection(tmp_path / "data")
    given = ["--model", tmp_path / "bundle", "--data", tmp_path / "data", "--cache", tmp_path / "pixels"]
    monkeypatch.setattr("sys.argv", ["sources", *map(str, given)])
    with monkeypatch.context() as patch:
        patch.setattr(sources, "by_source", lambda d, photos, _, score, side: [score(d.decoded(photos, side)).shape])
        sources.main()
    val, test = capsys.readouterr().out.strip().split("\n\n")
    assert val.splitlines()[2:] == ["(11,)"], "those of HAM10000's validation, and of all other sources"
    assert test.splitlines()[2:] == ["(3,)"]
    monkeypatch.setattr("sys.argv", ["sources", *map(str, given), "--privacy", "certified"])
    for command in (sources, groups):
        with pytest.raises(BundleError, match="no preset 'certified'"):
            command.main()


def test_figures_are_of_lesions_of_sources_that_show_both_classes(tmp_path: Path) -> None:
    """Three photos of each lesion say no more than one; premalignant ones are left out, folds are one source."""
    files = [tmp_path / name for name in ("benign.png", "malignant.png")]
    for seed, file in enumerate(files):
        Image.fromarray(draw_lesion(seed, 40)).save(file)

    def photo(n: int, source: str, **more: Any) -> Photo:
        return Photo(files[n % 2], malignant=n % 2 == 1, lesion=str(n), source=source, **more)

    answers = np.random.default_rng(4).normal(size=60) + np.arange(60) % 2
    shown = [photo(n, f"phone/{n % 3}", dx_type="histo" if n < 30 else "") for n in range(60)]
    left_out = [photo(n, "phone/0", is_premalignant=True) for n in (1, 3)]
    one_class = [photo(n, "clinic", is_premalignant=n == 1) for n in (0, 1, 2)] + [photo(1, "biopsies")]
    data = Dataset(tmp_path, {}, tmp_path / "pixels")

    def rows(times: int) -> list[sources.SourceRow]:
        return sources.by_source(
            data,
            [*shown * times, *left_out, *one_class],
            shown[:2],
            lambda split: np.array([answers[int(photo.lesion)] for photo in split.photos]),
            20,
        )

    (once,), (thrice,) = rows(1), rows(3)
    assert (once.source, once.photos, once.malignant) == ("phone", 60, 30)
    assert (thrice.photos, thrice.malignant) == (180, 90)
    assert thrice.auc == pytest.approx(once.auc)
    assert once.auc[0] == pytest.approx(roc_auc_score(np.arange(60) % 2, answers))
    assert once.histology_auc == pytest.approx(roc_auc_score(np.arange(30) % 2, answers[:30]))

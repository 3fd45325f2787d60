"""Figures by source of what a bundle answers, at the size and under the preset that it has."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the train extra)")

from securesplit.errors import BundleError
from tests.training.bundle.test_attack_decoder import bundle_in
from tests.training.drawn_photos import draw_collection
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
    assert capsys.readouterr().out.count(",)") == 2  # an answer to each photo of both splits
    monkeypatch.setattr("sys.argv", ["sources", *map(str, given), "--privacy", "certified"])
    for command in (sources, groups):
        with pytest.raises(BundleError, match="no preset 'certified'"):
            command.main()

"""What a study may go on with. No TensorFlow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from securesplit.errors import ConfigError
from tests.training.drawn_photos import draw_isic
from training.data.dataset import Dataset
from training.network.config import named
from training.studies import begun


def test_a_study_of_other_contents_under_the_same_names_is_another_one(tmp_path: Path) -> None:
    for name in ("mine", "copy", "others"):
        draw_isic(tmp_path / name)
    (tmp_path / "others" / "images" / "I0mel.jpg").write_bytes(b"another photo")
    mine, copy, others = (Dataset.read(tmp_path / name, tmp_path / "pixels") for name in ("mine", "copy", "others"))
    first, same, other = (begun.around(data, **named("dermoscopy").to_json()) for data in (mine, copy, others))
    begun.check_goes_on(tmp_path, "study", first, same)
    with pytest.raises(ConfigError, match="of other photos"):
        begun.check_goes_on(tmp_path, "study", first, other)
    unnamed = {name: value for name, value in first.items() if name != begun.CONTENTS}  # as earlier versions wrote it
    begun.check_goes_on(tmp_path, "study", unnamed, other)
    relabelled = replace(mine, photos={**mine.photos, "test": mine.photos["test"][1:]})
    with pytest.raises(ConfigError, match="of other photos"):
        begun.check_goes_on(tmp_path, "study", unnamed, begun.around(relabelled, **named("dermoscopy").to_json()))

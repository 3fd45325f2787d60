"""What is said of answers that are worth no more than chance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securesplit import Bundle, Releaser


@pytest.mark.parametrize(
    ("name", "told"), [("none", "under none were measured to be chance"), ("certified", "with so much noise")]
)
def test_noise_is_blamed_only_where_there_is_any(caplog: pytest.LogCaptureFixture, name: str, told: str) -> None:
    shipped = Bundle.load()
    preset = shipped.presets[name]
    figures = {**preset.quality["test"], "auc": 0.5, "auc_low": 0.4, "auc_high": 0.6}
    presets = {**shipped.presets, name: replace(preset, quality={"test": figures})}
    Releaser(Bundle(shipped.folder, replace(shipped.manifest, presets=presets)), bytes(32), privacy=name)
    found = [record.message for record in caplog.records if "chance" in record.message]
    assert len(found) == 1
    assert told in found[0]

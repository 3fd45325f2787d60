"""A8's properties of the picture: each follows what it is named after, and the undefended release gives it away."""

from __future__ import annotations

import numpy as np
import pytest

from securesplit.audit import judge, properties
from securesplit.audit.attacks import attributes
from securesplit.audit.metrics import Estimate
from securesplit.audit.results import NotRun
from securesplit.imaging.synthetic import draw_lesion
from tests.privacy.reports import audit_of, estimate

for module in ("sklearn", "scipy", "skimage"):
    pytest.importorskip(module)

PHOTO = draw_lesion(5, 150)


def scaled(photo, *, by=1.0, red=0):
    changed = photo * np.float64(by) + np.array([red, 0, 0])
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def test_lighter_skin_has_a_larger_angle():
    assert properties.skin_tone(scaled(PHOTO, by=1.1)) > properties.skin_tone(PHOTO)
    assert properties.skin_tone(PHOTO) > properties.skin_tone(scaled(PHOTO, by=0.5))


def test_lightness_is_that_of_cielab():
    from skimage.color import rgb2lab

    assert properties._lightness(PHOTO) == pytest.approx(rgb2lab(PHOTO)[..., 0], abs=0.02)


def test_redness_is_of_the_border():
    darker = scaled(PHOTO, by=0.7)
    assert properties.redness(scaled(darker, red=20)) == pytest.approx(properties.redness(darker) + 20, abs=0.1)
    middle = PHOTO.copy()
    middle[60:90, 60:90] = (255, 0, 0)
    assert properties.redness(middle) == properties.redness(PHOTO)


def test_contrast_and_size_are_of_the_lesion():
    photo = np.full((150, 150, 3), 200, np.uint8)
    photo[50:100, 50:100] = 150
    assert properties.lesion_size(photo) == pytest.approx(1 / 9)
    fainter = np.where(photo == 150, 190, photo).astype(np.uint8)
    assert properties.contrast(fainter) < properties.contrast(photo)
    larger = photo.copy()
    larger[25:125, 25:125] = 150
    assert properties.lesion_size(larger) == pytest.approx(4 / 9)


def test_hair_is_thin_and_dark():
    smooth = np.full((150, 150, 3), 180, np.uint8)
    assert properties.hair(smooth) == 0.0
    hairy, patch = smooth.copy(), smooth.copy()
    hairy[:, 40:150:30] = 60
    patch[40:80, 40:80] = 60
    assert 0.015 < properties.hair(hairy) < 0.05
    assert properties.hair(patch) < 0.005


@pytest.mark.parametrize("attribute", ["lesion size", "contrast"])
def test_the_undefended_release_gives_properties_away(small_audit, attribute):
    found = attributes.run(small_audit, "none", attribute)
    assert found.release.low > 0.6
    assert found.paired_difference.low > attributes.MAX_ATTRIBUTE_GAIN


def test_noise_gives_no_property_away(noisy_audit):
    found = attributes.run(noisy_audit, "certified", "contrast")
    assert found.release.low < 0.5 < found.release.high
    assert found.paired_difference.low < 0.0


def test_what_all_photos_have_alike_is_not_run(small_audit, monkeypatch):
    monkeypatch.setitem(attributes.PROPERTIES, "hair", lambda _photo: 0.0)
    found = attributes.run(small_audit, "none", "hair")
    assert isinstance(found, NotRun)
    assert found.left_out


@pytest.mark.parametrize(
    ("preset", "claim", "attribute", "state"),
    [
        ("certified", "proven", "redness", "not promised"),
        ("certified", "proven", "age", "failed"),
        ("guarded", "measured", "redness", "not promised"),
        ("guarded", "measured", "age", "not promised"),
        ("compact", "none", "redness", "not promised"),
    ],
)
def test_properties_are_judged_where_they_were_promised(preset, claim, attribute, state):
    rates = {"release": estimate(0.9), "label_only": estimate(0.6), "excess": Estimate(0.3, 0.2, 0.4)}
    found = {"kind": "attribute", "preset": preset, "attack": "A8", "attribute": attribute, **rates}
    judged = judge.judge(audit_of({preset: claim}, found))
    assert [goal.state for goal in judged if "A8" in goal.claim] == [state]

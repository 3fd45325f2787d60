"""A11 on the shipped bundle's releases of synthetic lesions."""

from __future__ import annotations

import numpy as np
import pytest

from securesplit.audit.attacks import copies
from securesplit.imaging.synthetic import draw_lesion

pytest.importorskip("scipy")


@pytest.mark.parametrize("alteration", copies.ALTERATIONS)
def test_a_copy_is_nearly_the_photo(alteration):
    photo = draw_lesion(3, 64)
    copy = copies.ALTERATIONS[alteration](photo)
    assert (copy.shape, copy.dtype) == (photo.shape, np.uint8)
    difference = np.abs(copy.astype(float) - photo).mean()
    assert 0.1 < difference < 20
    assert difference < np.abs(copy.astype(float) - draw_lesion(4, 64)).mean()


def test_brighter_is_by_seven_percent():
    assert copies.brighter(np.full((2, 2, 3), 100, np.uint8)).tolist() == np.full((2, 2, 3), 107).tolist()
    assert copies.brighter(np.full((2, 2, 3), 250, np.uint8)).max() == 255


@pytest.mark.parametrize("alteration", ["re-encoded", "turned"])
def test_undefended_releases_find_the_copy(small_audit, alteration):
    found = copies.run(small_audit, "none", alteration)
    assert found.top1.low > 0.8
    assert found.paired_difference.low > 0.7
    assert found.control == found.top1


def test_certified_finds_copies_within_its_bound(small_audit):
    found = copies.run(small_audit, "certified", "re-encoded")
    assert found.candidates == 100
    assert found.certified_bound < 0.06
    assert found.top1.low <= found.certified_bound
    assert found.control.mean > 0.8


def test_a_lot_of_noise_finds_no_copy(noisy_audit):
    found = copies.run(noisy_audit, "certified", "re-encoded")
    assert found.top1.mean < 0.03
    assert found.paired_difference.low < 0.02

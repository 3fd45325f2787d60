"""A11 on the shipped bundle's releases of synthetic lesions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securesplit.audit import metrics
from securesplit.audit.attacks import copies, lesion, likeness, views
from securesplit.audit.profile import FULL, QUICK
from securesplit.imaging.synthetic import draw_lesion
from tests.privacy.test_clusters import of_lesions

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
    assert views.brighter(np.full((2, 2, 3), 100, np.uint8)).tolist() == np.full((2, 2, 3), 107).tolist()
    assert views.brighter(np.full((2, 2, 3), 250, np.uint8)).max() == 255


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


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_scaled_is_undone_by_the_inverse_but_for_the_border(factor):
    photo = draw_lesion(3, 96)
    back = views.scaled(views.scaled(photo, factor), 1 / factor)
    inner = slice(12, -12)
    assert np.abs(back.astype(float) - photo)[inner, inner].mean() < 2.0
    assert np.abs(views.scaled(photo, factor).astype(float) - photo)[inner, inner].mean() > 2.5


def test_a_view_that_undoes_the_alteration_finds_the_original():
    """Of each copy the second or the third view is right, which the attacker knows of its own copies alone."""
    rng = np.random.default_rng(6)

    def make(count):
        originals, moved = rng.normal(size=(count, 20)), rng.normal(0, 3, (2, count, 20))
        right = rng.integers(1, 3, count)
        seen = [originals + moved[0], originals + moved[1], originals + moved[1]]
        for view in (1, 2):
            seen[view] = np.where((right == view)[:, None], originals, seen[view])
        near = rng.normal(0, 0.3, (3, count, 20))
        return [(view + n).astype(np.float32) for view, n in zip(seen, near, strict=True)], originals.astype(np.float32)

    own, (galleries, released) = make(200), make(100)
    observed = (released + rng.normal(0, 0.8, released.shape)).astype(np.float32)
    found = [
        metrics.top_k(way, np.arange(100), 1).mean() for way in likeness.scores_of_views(galleries, observed, 0.8, own)
    ]
    one_view = [
        metrics.top_k(way, np.arange(100), 1).mean()
        for view in range(3)
        for way in likeness.scores(galleries[view], observed, 0.8, (own[0][view], own[1]))
    ]
    assert found[-1] > max(one_view) + 0.2
    assert max(found) == found[-1]


def looking(audit, minutes=60.0):
    return replace(audit, profile=replace(audit.profile, looks_at_views=True, minutes=minutes))


def test_an_audit_without_the_time_for_views_keeps_its_minutes_and_says_so(small_audit):
    """A short audit, or a slow machine: twelve times as many photos through the head would take hours."""
    hurried = of_lesions(looking(small_audit, minutes=0.001), lambda number: str(number // 3))
    for attack, found in (
        (copies, copies.run(hurried, "certified", "turned")),
        (lesion, lesion.run(hurried, "certified")),
    ):
        assert found.cut_short == "before it looked at views"
        assert [goal.met for goal in attack.judge("certified", [found], []) if goal.met is not False][:1] == [None]
    assert not copies.run(small_audit, "certified", "turned").cut_short


def test_a_full_audit_looks_at_views_and_the_first_is_the_copy_itself(small_audit):
    assert (FULL.looks_at_views, QUICK.looks_at_views) == (True, False)
    plain, with_views = (
        copies._copies(context, "turned").looked.grids for context in (small_audit, looking(small_audit))
    )
    for preset in ("certified", "compact"):
        assert with_views[preset].shape[1] == 1 + len(views.OTHERS)
        assert (with_views[preset][:, :1] == plain[preset]).all()
        assert (with_views[preset][:, 1:] != plain[preset]).any()
    assert (with_views["none"] == plain["none"]).all(), "more numbers than are compared but by plain distance"


@pytest.mark.parametrize("preset", ["certified", "compact"])
def test_views_of_lesions_belong_to_their_photos(preset, small_audit):
    observations = small_audit.observations[preset]
    context = of_lesions(looking(small_audit), lambda number: str(number // 3))
    sides = lesion._views(context, preset)[:2], (observations.auxiliary, observations.targets)
    for found, releases in zip(*sides, strict=True):
        drawn = found.photos[::-1]
        assert len(drawn) > 5
        assert len(found.of(drawn)) == 1 + len(views.OTHERS)
        assert (found.of(drawn)[0] == releases[drawn]).all()


def test_views_of_a_lesion_name_it_no_less(small_audit):
    """Three photos that are shown as one lesion have nothing in common: nothing is found, with views or without."""
    plain = of_lesions(small_audit, lambda number: str(number // 3))
    for context in (plain, looking(plain)):
        found = lesion.run(context, "certified")
        assert found.lesions > 20
        assert found.top1.low < found.label_only.mean + 0.05
        assert found.told_apart.low < 0.5 < found.told_apart.high + 0.05
        assert found.certified_bound < 0.5

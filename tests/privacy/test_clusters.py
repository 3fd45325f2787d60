"""An audit's intervals draw lesions, not photos: photos of one lesion resemble each other, under any noise and seed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from securesplit.audit import measurements, reconstruction
from securesplit.audit.attacks import attributes, copies, identification, lesion, membership, stealing
from securesplit.audit.metrics import Estimate, most_unseen
from securesplit.audit.photos import Entry, Side

for module in ("sklearn", "scipy", "skimage"):
    pytest.importorskip(module)

STEPS = {
    "A1": lambda context: reconstruction.score(context, "compact", "A1", by_mean, seeded=True),
    "A6": lambda context: identification.run(context, "certified", 10, 1),
    "A8": lambda context: attributes.run(context, "compact", "contrast"),
    "A11": lambda context: copies.run(context, "certified", "brighter"),
    "A13": lambda context: stealing.run(context, "certified"),
    "summary": lambda context: measurements.summary(context, "certified"),
    "frontier": lambda context: measurements.frontier(context, "certified", None),
}


def by_mean(_seed, seen, *_):
    """Every photo rebuilt alike: no figure of it has anything to do with the seed."""
    return np.full((len(seen), 64, 64, 3), 0.5, np.float32)


def of_lesions(context, lesion_of, person=""):
    """The audit with all that its attacks want to know, each photo of the lesion that a number gives."""

    def side(old, split):
        entries = (
            replace(entry, lesion=lesion_of(number), malignant=number % 3 == 0, split=split, person=person and split)
            for number, entry in enumerate(old.entries)
        )
        return Side(tuple(entries), old.pixels)

    collection = context.collection
    sides = {"auxiliary": side(collection.auxiliary, "train"), "targets": side(collection.targets, "test")}
    return replace(context, collection=replace(collection, **sides))


def widths(result):
    """Of every interval in it, by field."""
    found = {field.name: getattr(result, field.name) for field in fields(result)}
    return {name: value.high - value.low for name, value in found.items() if isinstance(value, Estimate)}


def assert_of_one(result):
    """That no interval has a width but that of one trial, which a rate of 0 or of 1 has."""
    found = widths(result)
    whole = {name: width for name, width in found.items() if width > 1e-9}
    assert whole == pytest.approx(dict.fromkeys(whole, most_unseen(1)), abs=1e-9)
    assert len(whole) < len(found)
    rates = {name for name in whole if not name.endswith("difference")}
    assert {getattr(result, name).mean for name in rates} <= {0.0, 1.0}


@pytest.mark.parametrize("step", STEPS)
def test_photos_of_one_lesion_alone_have_no_interval(small_audit, step, monkeypatch):
    """Whatever is drawn is that lesion with all its photos, and the figure is the same."""
    monkeypatch.setattr(copies, "MOST_PHOTOS", 25)
    one, many = (STEPS[step](of_lesions(small_audit, each)) for each in (lambda _: "one", str))
    assert_of_one(one)
    assert any(width > 0 for width in widths(many).values()), "photos of different lesions do have one"


def test_lesions_of_one_person_alone_have_no_interval(small_audit):
    """A7 draws lesions with two photos each: where they are one person's, that person."""
    one, many = (
        lesion.run(of_lesions(small_audit, lambda number: str(number // 2), person), "compact")
        for person in ("known", "")
    )
    assert_of_one(one)
    assert any(0 < width < most_unseen(1) for width in widths(many).values())


def test_members_are_told_apart_by_person(small_audit):
    """A12's folds and intervals keep together what A12 knows to be of one person."""
    listed = of_lesions(small_audit, str, "known")
    seen, members = membership._photos(listed, "compact", 1)
    assert {*seen.subjects[members]} == {"person train"}
    assert {*seen.subjects[~members]} == {"person test"}


def test_more_seeds_are_no_more_photos(small_audit):
    """A photo that is rebuilt under three seeds is one photo still."""
    seeds = [replace(small_audit, profile=replace(small_audit.profile, seeds=s)) for s in ((1,), (1, 2, 3))]
    one, three = (STEPS["A1"](context) for context in seeds)
    assert three.seeds == 3
    assert (three.skill.low, three.skill.high) == pytest.approx((one.skill.low, one.skill.high), abs=1e-9)


def test_a_person_s_lesions_belong_together():
    entries = [Entry(0, "a", person="p"), Entry(1, "b", person="p"), Entry(2, "c"), Entry(3, "c"), Entry(4, "p")]
    found = Side(tuple(entries), np.zeros((5, 1, 1, 3), np.uint8)).clusters.tolist()
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert len({*found}) == 3


def test_a_lesion_is_its_person_s_where_only_some_rows_say_so():
    entries = [Entry(0, "a", person="p"), Entry(1, "a"), Entry(2, "b"), Entry(3, "b", person="p"), Entry(4, "c")]
    found = Side(tuple(entries), np.zeros((5, 1, 1, 3), np.uint8))
    assert found.subjects == ["person p"] * 4 + ["lesion c"]
    assert len({*found.clusters[:4]}) == 1

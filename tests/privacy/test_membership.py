"""A12 on answers made here, where it is known what was learned by heart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securesplit.audit import metrics
from securesplit.audit.attacks import membership
from securesplit.audit.photos import Side
from securesplit.audit.results import NotRun

pytest.importorskip("sklearn")
COUNT = 400
MEMBERS = np.arange(2 * COUNT) < COUNT


def photos(*, by_heart, in_release=0.0, seed=0):
    """Answers that fit a member's diagnosis `by_heart` better than another's; a release that tells members apart."""
    rng = np.random.default_rng(seed)
    malignant = rng.random(2 * COUNT) < 0.5
    margin = rng.normal(1.5, 1.0, 2 * COUNT) + by_heart * MEMBERS
    releases = rng.normal(size=(2 * COUNT, 3)) + in_release * MEMBERS[:, None]
    lesions = np.array([f"l{i // 2}" for i in range(2 * COUNT)])
    logits = np.where(malignant, margin, -margin)
    return membership.Photos(releases, logits, logits > 0, malignant, lesions)


def rates(seen):
    found = membership.scores(seen, MEMBERS, seed=1)
    return {name: metrics.auc(MEMBERS, score) for name, score in found.items()}


def test_what_was_learned_by_heart_is_found():
    found = rates(photos(by_heart=3.0))
    assert found["loss"] > 0.95
    assert found["confidence"] > 0.9
    assert found["likelihood ratio"] > 0.95


def test_what_only_the_release_tells_is_found_by_the_ratio():
    found = rates(photos(by_heart=0.0, in_release=1.5))
    assert 0.45 < found["loss"] < 0.55
    assert found["likelihood ratio"] > 0.9


def test_nothing_is_found_where_there_is_nothing():
    for rate in rates(photos(by_heart=0.0)).values():
        assert 0.44 < rate < 0.56


def of_persons(count, each, numbers, *, in_answer):
    """`each` photos of every person, half of them members, that are alike; so is what a tail answers to them."""
    rng = np.random.default_rng(0)
    who, members = np.arange(count * each) // each, np.arange(count * each) < count * each // 2
    releases = rng.normal(size=(count, numbers))[who] + 0.01 * rng.normal(size=(len(who), numbers))
    malignant = (rng.random(count) < 0.5)[who]
    margin = rng.normal(1.5, 1.0, count)[who] + in_answer * members
    logits = np.where(malignant, margin, -margin)
    subjects = np.array([f"person {one}" for one in who])
    return membership.Photos(releases, logits, logits > 0, malignant, subjects), members


def test_a_person_who_is_known_again_is_no_member():
    """Photos of one are all learned from, or all tried on: else the probe would find members where nothing tells."""
    seen, members = of_persons(16, 50, 30, in_answer=0.0)
    ratio = membership.scores(seen, members, seed=1)[membership.RATIO]
    assert metrics.auc(members, ratio) < 0.7


def test_a_probe_that_knows_persons_again_is_not_chosen():
    """The one by the answer finds more among others."""
    seen, members = of_persons(200, 10, 4, in_answer=1.0)
    ratio = membership.scores(seen, members, seed=1)[membership.RATIO]
    assert metrics.auc(members, ratio) > 0.72


def test_members_found_at_few_false_alarms():
    score = np.r_[np.full(COUNT, 1.0), np.zeros(COUNT)]
    assert membership.found_at(MEMBERS, score) == 1.0
    assert membership.found_at(MEMBERS, np.zeros(2 * COUNT)) == 0.0
    others = np.arange(50.0)  # of which one is two in a hundred
    assert membership.found_at(np.arange(51) < 1, np.r_[48.5, others]) == 0.0
    assert membership.found_at(np.arange(51) < 1, np.r_[49.5, others]) == 1.0


def test_more_photos_of_a_lesion_are_no_more_lesions():
    """Photographed eight times, each lesion tells what it told before, and no interval is narrower for it."""
    seen = photos(by_heart=0.5)
    widths = []
    for chosen in (np.arange(0, 2 * COUNT, 8), np.arange(0, 2 * COUNT, 8).repeat(8)):
        part = membership.Photos(*(values[chosen] for values in vars(seen).values()))
        found, _ = membership._measured(part, MEMBERS[chosen], seed=1)
        widths.append({name: found[name].high - found[name].low for name in ("loss", "loss beyond", "label_only")})
    once, eight = widths
    assert eight == pytest.approx(once, rel=0.05)


def labelled(side, split):
    """Every second photo malignant; of the given split."""
    entries = (replace(entry, malignant=bool(i % 2), split=split) for i, entry in enumerate(side.entries))
    return Side(tuple(entries), side.pixels)


@pytest.fixture
def known(small_audit):
    sides = small_audit.collection
    collection = replace(sides, auxiliary=labelled(sides.auxiliary, "train"), targets=labelled(sides.targets, "test"))
    return replace(small_audit, collection=collection)


def test_a_network_that_was_not_trained_on_the_photos_tells_nothing(known):
    """The labels are made up and no photo was ever seen, so all there is to find is chance."""
    for preset in ("none", "certified"):
        found = membership.run(known, preset)
        assert found.members == 100
        assert found.label_only.low < 0.5 < found.label_only.high
        assert found.loss.low < 0.5 < found.loss.high
        assert found.paired_difference.low < 0.1


def test_a_tail_that_learned_the_photos_by_heart_is_found_out(known):
    """The undefended tail's answers to the members' photos, replaced by what they should be."""
    observations = known.observations["none"]
    labels = known.collection.auxiliary.malignant
    told = np.where(labels, 9.0, -9.0).astype(np.float32)
    learned = replace(known, observations={"none": replace(observations, auxiliary_answers=told)})
    found = membership.run(learned, "none")
    assert found.loss.low > 0.9
    assert found.paired_difference.low > 0.05
    assert found.found_at_one_percent > 0.5


def test_members_are_the_photos_of_the_training_set_alone(known):
    """Beside others of the attacker's, whose answers are wrong here."""
    side = known.collection.auxiliary
    entries = tuple(replace(e, split="val" if i < 30 else "train") for i, e in enumerate(side.entries))
    right = np.where(side.malignant, 9.0, -9.0).astype(np.float32)
    told = np.where(np.arange(len(entries)) < 30, -right, right)
    collection = replace(known.collection, auxiliary=Side(entries, side.pixels))
    observations = {"none": replace(known.observations["none"], auxiliary_answers=told)}
    found = membership.run(replace(known, collection=collection, observations=observations), "none")
    assert found.loss.low > 0.9


def test_every_photo_is_its_own_subject_s(known):
    """Of whom there is one each here; the attacker's first photos are no members."""
    sides = known.collection
    entries = tuple(replace(e, split="val" if i < 30 else "train") for i, e in enumerate(sides.auxiliary.entries))
    collection = replace(sides, auxiliary=Side(entries, sides.auxiliary.pixels))
    seen, members = membership._photos(replace(known, collection=collection), "none", 1)
    assert seen.subjects[members].tolist() == [f"lesion {entry.lesion}" for entry in entries[30:]][: members.sum()]
    others = [f"lesion {entry.lesion}" for entry in sides.targets.entries]
    assert seen.subjects[~members].tolist() == others[: members.sum()]


def test_the_label_alone_is_the_one_that_a_user_is_told(known):
    """A photo is called malignant from a threshold far below even odds on, so a logit of -0.5 may be right."""
    observations = known.observations["none"]
    told = np.where(known.collection.auxiliary.malignant, -0.5, -9.0).astype(np.float32)
    assert (observations.says_malignant(told) == known.collection.auxiliary.malignant).all()
    learned = replace(known, observations={"none": replace(observations, auxiliary_answers=told)})
    assert membership.run(learned, "none").label_only.low > 0.65


@pytest.mark.parametrize(
    ("split", "malignant", "reason"),
    [("val", True, "known to be of the training set"), ("train", None, "without a diagnosis")],
)
def test_what_cannot_be_known_is_not_run(small_audit, split, malignant, reason):
    entries = [replace(e, split=split, malignant=malignant) for e in small_audit.collection.auxiliary.entries]
    auxiliary = replace(small_audit.collection.auxiliary, entries=tuple(entries))
    found = membership.run(
        replace(small_audit, collection=replace(small_audit.collection, auxiliary=auxiliary)), "none"
    )
    assert isinstance(found, NotRun)
    assert reason in found.reason
    assert found.left_out, "no preset promises it, so no goal waits for it"

"""A10 on releases made here, and on the shipped bundle's of synthetic lesions."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from securesplit.audit import judge
from securesplit.audit.attacks import persons
from securesplit.audit.baselines import squared_distances
from securesplit.audit.photos import Entry, Side
from securesplit.audit.results import NotRun
from tests.privacy.reports import audit_of

pytest.importorskip("scipy")


def releases(photos, numbers, *, noise, seed=0):
    """Noise-free ones and what was seen of them; with infinite noise they have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    clean, other = rng.normal(size=(2, photos, numbers)).astype(np.float32)
    return clean, other if np.isinf(noise) else clean + np.float32(noise) * other


def named(distances):
    return persons._first(distances).mean()


def test_drawn_persons_have_different_photos():
    found = persons.drawn_persons(50, 40, 6, seed=1)
    assert found.shape == (40, 6)
    assert all(len({*person}) == 6 for person in found)
    assert all(len({*column}) == 40 for column in found.T)


def test_known_persons_are_patients_or_lesions():
    entries = [Entry(i, f"l{i // 2}", person="p" if i < 3 else "") for i in range(6)]
    side = Side(tuple(entries), np.zeros((6, 1, 1, 3), np.uint8))
    assert persons.known_persons(side, 2).tolist() == [[0, 1], [4, 5]]
    assert persons.known_persons(side, 3).tolist() == [[0, 1, 2]]
    assert persons.known_persons(side, 4).tolist() == [[0, 1, 2, 3]]  # the second photo of her second lesion


def test_a_lesion_that_is_called_as_a_person_is_nobody_else_s():
    entries = [Entry(0, "a", person="7"), Entry(1, "b", person="7"), Entry(2, "7"), Entry(3, "7")]
    side = Side(tuple(entries), np.zeros((4, 1, 1, 3), np.uint8))
    assert persons.known_persons(side, 2).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("numbers", [1, 5])
def test_assignment_is_the_best_order(numbers):
    """By the lower bound and by sorting, the right person's rank is that of trying every order."""
    gallery, observed = releases(40, numbers, noise=0.6)
    whose = persons.drawn_persons(40, 30, 3, seed=2)
    distances = squared_distances(gallery, observed)
    every = np.min(
        [
            sum(distances[np.ix_(whose[:, i], whose[:, j])] for i, j in enumerate(order))
            for order in permutations(range(3))
        ],
        axis=0,
    )
    assert persons._first(persons.assigned(distances, whose, 30)) == pytest.approx(persons._first(every))
    if numbers == 1:
        by_sorting = persons.sorted_distances(gallery[whose, 0], observed[whose, 0])
        assert by_sorting == pytest.approx(every, abs=1e-5)


def test_more_photos_name_the_person_better():
    gallery, observed = releases(200, 4, noise=1.0)
    distances = squared_distances(gallery, observed)
    rates = [named(persons.in_order(distances, persons.drawn_persons(200, 200, k, 1))) for k in (1, 4, 10)]
    assert rates[0] < 0.2 < rates[1] < rates[2]
    assert rates[2] > 0.9


def test_noise_alone_names_nobody():
    gallery, observed = releases(200, 4, noise=np.inf)
    distances, whose = squared_distances(gallery, observed), persons.drawn_persons(200, 200, 4, 1)
    assert named(persons.in_order(distances, whose)) < 0.03
    assert named(persons.assigned(distances, whose, 200)) < 0.03


def test_undefended_releases_name_the_person(small_audit):
    for photos in (1, 4):
        found = persons.run(small_audit, "none", photos)
        assert found.top1.low > 0.9
        assert found.unordered.low > 0.9
        assert found.paired_difference.low > 0.5
        assert found.certified_bound == 1.0


def test_certified_names_persons_within_the_composed_bound(small_audit):
    one, four = persons.run(small_audit, "certified", 1), persons.run(small_audit, "certified", 4)
    assert one.certified_bound < 0.06
    assert one.top1.low <= one.certified_bound
    assert four.top1.mean > one.top1.mean
    assert four.control.mean > 0.9
    goals = {g.claim: g.state for g in judge.judge(audit_of({"certified": "proven"}, one.to_json()))}
    assert goals["A10 drawn person of 100, 1 photo, certified bound"] == "passed"


def test_a_lot_of_noise_names_no_person(noisy_audit):
    found = persons.run(noisy_audit, "certified", 4)
    assert max(found.top1.low, found.unordered.low) <= found.certified_bound
    assert found.top1.mean < 0.06


def test_persons_that_nobody_knows_are_not_run(small_audit):
    found = persons.run(small_audit, "none", 2, known=True)
    assert isinstance(found, NotRun)
    assert found.left_out

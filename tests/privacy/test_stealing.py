"""A13 on tails made here, and on the shipped one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securesplit.audit.attacks import stealing

pytest.importorskip("sklearn")


def agreement(student, tail, *, queries=400):
    """Of the copy's labels with the tail's, on releases that it did not ask about."""
    releases = np.random.default_rng(0).normal(size=(queries + 300, 3, 2)).astype(np.float32)
    answers = tail(releases).astype(np.float32)
    copy = stealing.STUDENTS[student](releases[:queries], answers[:queries], releases[queries:])
    return np.mean((copy > 0) == (answers[queries:] > 0))


def linear(releases):
    return releases.reshape(len(releases), -1) @ np.linspace(-1, 2, 6)


def product(releases):
    return 3 * releases[:, 0, 0] * releases[:, 1, 1] + releases[:, 2, 0]


def by_chance(releases):
    return np.random.default_rng(1).normal(size=len(releases))


def test_each_copy_learns_the_tail_that_suits_it():
    assert agreement("linear", linear) > 0.97
    assert agreement("quadratic", product) > 0.95
    assert agreement("linear", product) < 0.8
    assert min(agreement(student, linear) for student in stealing.STUDENTS) > 0.75


@pytest.mark.parametrize("student", stealing.STUDENTS)
def test_answers_by_chance_cannot_be_copied(student):
    assert 0.4 < agreement(student, by_chance) < 0.6


def test_six_values_are_stolen_by_six_queries(small_audit):
    found = stealing.run(small_audit, "certified")
    assert (found.queries, found.asked, found.student) == (6, 6, "nearest")
    assert found.agreement.mean >= stealing.AGREEMENT


@pytest.fixture
def halved(small_audit):
    """The worker says malignant of every second photo, so that a constant copy agrees on half."""
    observations = small_audit.observations["none"]
    told = [observations.preset.calibration.probability(float(x)) for x in observations.target_answers]
    preset = replace(observations.preset, threshold=float(np.median(told)))
    return small_audit, replace(observations, preset=preset)


def with_observations(audit, observations):
    return replace(audit, observations=audit.observations | {"none": observations})


def test_queries_steal_the_undefended_tail(halved):
    found = stealing.run(with_observations(*halved), "none")
    assert found.majority.mean == pytest.approx(0.5, abs=0.02)
    assert found.paired_difference.low > 0.25
    assert found.agreements[-1] > found.agreements[0]
    assert list(found.tried) == sorted(found.tried)


def test_answers_that_do_not_depend_on_the_release_are_not_stolen(halved):
    audit, observations = halved
    rng = np.random.default_rng(5)
    shuffled = replace(observations, auxiliary_answers=rng.permutation(observations.auxiliary_answers))
    found = stealing.run(with_observations(audit, shuffled), "none")
    assert found.queries is None
    assert found.asked == len(observations.auxiliary)
    assert found.paired_difference.low < 0.05

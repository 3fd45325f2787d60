"""A batch at several workers: all of them compute, results come in order, and an end in between ends everything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from securesplit import Client, Diagnosis, PhotoError
from securesplit.device.client import Outcome
from securesplit.device.several_workers import AT_A_WORKER
from securesplit.imaging.synthetic import draw_lesion
from securesplit.pki import keystore
from securesplit.worker.served_model import ServedModel
from securesplit_testing.serving import Running, now, running

KEYS = keystore.ephemeral(now())
PHOTOS = [draw_lesion(seed, 160) for seed in range(24)]


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Running]]:
    served = ServedModel.from_bundle(None)
    with running(served, keys=KEYS) as one, running(served, keys=KEYS) as other:
        yield [one, other]


def client(endpoints: list[str], state: Path, **options: float) -> Client:
    return Client(endpoints, credentials=KEYS[1], state=state, privacy="certified", anyway=True, **options)


def malignant(outcomes: list[Outcome]) -> list[float]:
    assert {type(outcome) for outcome in outcomes} == {Diagnosis}
    return [outcome.malignant for outcome in outcomes if isinstance(outcome, Diagnosis)]


def test_all_workers_compute_and_results_are_those_of_one(workers: list[Running], tmp_path: Path) -> None:
    with client([workers[0].front.endpoint], tmp_path) as alone:
        expected = malignant([alone.diagnose(photo) for photo in PHOTOS])
    before = [worker.front.counters.requests["done"] for worker in workers]
    with client([worker.front.endpoint for worker in workers], tmp_path) as several:
        found = list(several.diagnose_many(PHOTOS))
    assert all(given is photo for (given, _), photo in zip(found, PHOTOS, strict=True))
    assert malignant([outcome for _, outcome in found]) == expected
    done = [worker.front.counters.requests["done"] - n for worker, n in zip(workers, before, strict=True)]
    assert sum(done) == len(PHOTOS)
    assert min(done) >= len(PHOTOS) // 4


def test_an_absent_worker_and_a_bad_photo_cost_the_others_nothing(
    workers: list[Running], tmp_path: Path, free_port: Callable[[], int]
) -> None:
    endpoints = [f"tcp://127.0.0.1:{free_port()}", workers[1].front.endpoint]
    photos = [*PHOTOS[:4], np.zeros((2, 2), np.uint8), *PHOTOS[4:8]]
    with client(endpoints, tmp_path) as some:
        kinds = [type(outcome) for _, outcome in some.diagnose_many(photos)]
    assert kinds == [Diagnosis] * 4 + [PhotoError] + [Diagnosis] * 4


def test_who_stops_early_leaves_nothing_under_way(workers: list[Running], tmp_path: Path) -> None:
    threads = threading.active_count()
    with client([worker.front.endpoint for worker in workers], tmp_path) as some:
        results = some.diagnose_many(PHOTOS)
        next(results)
        results.close()
        assert threading.active_count() == threads
        last = some.diagnose(PHOTOS[-1])
    assert isinstance(last, Diagnosis)
    assert last.privacy.device is not None
    assert last.privacy.device.photos <= 2 * AT_A_WORKER + 2


def test_with_a_budget_photos_are_asked_about_one_by_one(workers: list[Running], tmp_path: Path) -> None:
    with client([worker.front.endpoint for worker in workers], tmp_path, budget=1e9) as some:
        counted = [outcome.privacy.device for _, outcome in some.diagnose_many(PHOTOS[:6])]
    assert [device.photos for device in counted] == [1, 2, 3, 4, 5, 6]

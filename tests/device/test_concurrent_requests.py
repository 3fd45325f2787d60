"""A batch at one or several workers: all compute, results come in order, and an end in between ends everything."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Self

import numpy as np
import pytest

from securesplit import Client, ConfigError, Diagnosis, PhotoError
from securesplit.channel import tensor
from securesplit.channel.events import Request
from securesplit.device import concurrent_requests
from securesplit.device.client import Outcome
from securesplit.device.concurrent_requests import AT_A_WORKER, ConcurrentRequests
from securesplit.device.ledger import Ledger
from securesplit.errors import UnreachableError
from securesplit.imaging.synthetic import draw_lesion
from securesplit.model import Bundle
from securesplit.worker.served_model import ServedModel
from securesplit_testing.descriptors import free_descriptors
from securesplit_testing.serving import Running, running, serve_bundle
from tests.transport.clients import KEYS
from tests.transport.posing import posing

PHOTOS = [draw_lesion(seed, 160) for seed in range(24)]


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Running]]:
    served = ServedModel.from_bundle(None)
    with running(served, keys=KEYS) as one, running(served, keys=KEYS) as other:
        yield [one, other]


def client(endpoints: list[str], state: Path, **options: Any) -> Client:
    return Client(endpoints, credentials=KEYS[1], state=state, privacy="certified", anyway=True, **options)


def malignant(outcomes: list[Outcome]) -> list[float]:
    assert {type(outcome) for outcome in outcomes} == {Diagnosis}
    return [outcome.malignant for outcome in outcomes if isinstance(outcome, Diagnosis)]


@pytest.mark.parametrize("number", [1, 2])
def test_all_workers_compute_and_results_are_those_of_one_photo(
    workers: list[Running], tmp_path: Path, number: int
) -> None:
    asked = workers[:number]
    with client([asked[0].front.endpoint], tmp_path) as alone:
        expected = malignant([alone.diagnose(photo) for photo in PHOTOS])
    before = [worker.front.counters.requests["done"] for worker in asked]
    with client([worker.front.endpoint for worker in asked], tmp_path) as many:
        found = list(many.diagnose_many(PHOTOS))
    assert all(given is photo for (given, _), photo in zip(found, PHOTOS, strict=True))
    assert malignant([outcome for _, outcome in found]) == expected
    done = [worker.front.counters.requests["done"] - n for worker, n in zip(asked, before, strict=True)]
    assert sum(done) == len(PHOTOS)
    assert min(done) >= len(PHOTOS) // (2 * number)


def test_one_worker_has_several_requests_under_way_each_with_its_own_time(tmp_path: Path) -> None:
    asked: dict[int, bytes] = {}

    def answer_the_first(request: Request) -> tuple[int, bytes]:
        asked[request.ref] = request.plaintext
        nobody = request.ref if len(asked) == 1 else request.ref ^ 1
        return nobody, tensor.encode(np.array([0.0, 1.0], np.float32))

    with posing(answer_the_first, Bundle.load().identity) as worker:
        with client([worker.endpoint], tmp_path, timeout_s=1.5) as one:
            start_s = time.monotonic()
            results = itertools.islice(one.diagnose_many(PHOTOS), 1 + AT_A_WORKER)
            kinds = [type(outcome) for _, outcome in results]
    assert kinds == [Diagnosis, *AT_A_WORKER * [UnreachableError]]
    assert len(asked) == 1 + AT_A_WORKER, "the others are not asked about while it does not answer"
    assert time.monotonic() - start_s < 1.5 * AT_A_WORKER / 2


def test_a_slow_worker_is_not_asked_more_than_it_answers_in_time(tmp_path: Path) -> None:
    with running(serve_bundle(rest_s=0.6), keys=KEYS) as slow:
        with client([slow.front.endpoint], tmp_path, timeout_s=3.6) as patient:
            malignant([outcome for _, outcome in patient.diagnose_many(PHOTOS[: 1 + AT_A_WORKER])])


def test_photos_are_counted_in_their_order(workers: list[Running], tmp_path: Path) -> None:
    with client([workers[0].front.endpoint], tmp_path) as one:
        counted = [outcome.privacy.device for _, outcome in one.diagnose_many(PHOTOS)]
    assert [device.photos for device in counted] == list(range(1, 1 + len(PHOTOS)))


@pytest.mark.parametrize("budget", [None, 1e9])
def test_photos_of_a_client_that_was_closed_are_errors(
    workers: list[Running], tmp_path: Path, budget: float | None
) -> None:
    with client([workers[0].front.endpoint], tmp_path, budget=budget) as one:
        results = one.diagnose_many(PHOTOS)
        next(results)
        one.close()
        rest = [outcome for _, outcome in results]
    assert len(rest) == len(PHOTOS) - 1
    assert {type(outcome) for outcome in rest} == {UnreachableError}
    assert {outcome.message for outcome in rest if isinstance(outcome, UnreachableError)} == {"the client was closed"}


def test_a_client_is_closed_while_another_thread_begins_with_many_photos(
    workers: list[Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is done here at the last moment at which the client does not know of them yet."""
    threads = threading.active_count()

    class Begun(ConcurrentRequests):
        def __enter__(self) -> Self:
            one.close()
            return super().__enter__()

    one = client([workers[0].front.endpoint], tmp_path)
    monkeypatch.setattr(concurrent_requests, "ConcurrentRequests", Begun)
    outcomes = [outcome for _, outcome in one.diagnose_many(PHOTOS[:3])]
    assert [str(outcome) for outcome in outcomes] == ["the client was closed"] * 3
    assert threading.active_count() == threads


def test_a_client_closes_all_while_other_threads_begin(
    workers: list[Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one is there whenever Python code of `close` runs, as other threads may then."""
    one, closed = client([workers[0].front.endpoint], tmp_path), list[ConcurrentRequests]()
    known, others = ([object.__new__(ConcurrentRequests) for _ in range(20)] for _ in range(2))
    one._requests.update(known)

    def close(requests: ConcurrentRequests) -> None:
        closed.append(requests)

    def meanwhile(_frame: FrameType, event: str, _: object) -> None:
        if event == "call" and others:
            one._requests.add(others.pop())

    monkeypatch.setattr(ConcurrentRequests, "close", close)
    before = sys.getprofile()
    sys.setprofile(meanwhile)
    try:
        one.close()
    finally:
        sys.setprofile(before)
    assert {*known} <= {*closed}


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
        assert threading.active_count() == threads + 1, "the client's own, which writes to the ledger"
        last = some.diagnose(PHOTOS[-1])
    assert isinstance(last, Diagnosis)
    assert last.privacy.device is not None
    assert last.privacy.device.photos <= 2 * AT_A_WORKER + 2


def test_with_a_budget_photos_are_asked_about_one_by_one(workers: list[Running], tmp_path: Path) -> None:
    with client([worker.front.endpoint for worker in workers], tmp_path, budget=1e9) as some:
        counted = [outcome.privacy.device for _, outcome in some.diagnose_many(PHOTOS[:6])]
    assert [device.photos for device in counted] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("good", [0, 1, 2, 9])
@pytest.mark.parametrize("options", [{}, {"budget": 1e9}])
def test_what_the_photos_raise_comes_after_the_results_before_it(
    workers: list[Running], tmp_path: Path, good: int, options: dict[str, Any]
) -> None:
    """Some had been asked about by then, and the ledger had them; their answers were lost."""

    def photos() -> Iterator[Any]:
        yield from PHOTOS[:good]
        raise OSError("the camera is gone")

    outcomes = []
    with client([worker.front.endpoint for worker in workers], tmp_path, **options) as some:
        with pytest.raises(OSError, match="the camera is gone"):
            outcomes.extend(outcome for _, outcome in some.diagnose_many(photos()))
        with Ledger(tmp_path) as ledger:
            assert ledger.total().photos == good
    assert len(malignant(outcomes)) == good if good else not outcomes


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("free", [1, 3])
def test_too_few_descriptors_for_a_batch_are_an_error_of_ours(
    workers: list[Running], tmp_path: Path, free: int
) -> None:
    with client([workers[0].front.endpoint], tmp_path) as some:
        some.diagnose(PHOTOS[0])
        with free_descriptors(free), pytest.raises(ConfigError, match="too many files open"):
            list(some.diagnose_many(PHOTOS[:3]))
        assert len(malignant([outcome for _, outcome in some.diagnose_many(PHOTOS[:3])])) == 3

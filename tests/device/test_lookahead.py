"""Photos that are worked on before their turn: in order, within bounds, and none of them sent early."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest

from securesplit import Client, Diagnosis, PhotoError
from securesplit.device.lookahead import AHEAD, ahead
from securesplit.imaging import Listing, photo_name
from securesplit.worker import EmbeddedWorker
from securesplit_testing.photo_files import lesion, saved


def test_results_and_errors_come_in_order() -> None:
    def work(number: int) -> int:
        if number % 7 == 3:
            raise ValueError(number)
        return number * number

    found = []
    for number, result in ahead(work, range(40)):
        try:
            found.append((number, result()))
        except ValueError as error:
            found.append((number, -error.args[0]))
    assert found == [(n, -n if n % 7 == 3 else n * n) for n in range(40)]


def test_results_may_be_taken_after_the_last_item() -> None:
    """As of photos that share a ciphertext: the end of the feed says that no more will join them."""
    may_go_on = threading.Event()

    def work(number: int) -> int:
        assert may_go_on.wait(20)
        return number

    feed = ahead(work, range(AHEAD + 1))
    taken = [next(feed) for _ in range(AHEAD + 1)]
    threading.Timer(0.1, may_go_on.set).start()
    assert next(feed, None) is None
    assert [result() for _, result in taken] == list(range(AHEAD + 1))


def test_an_endless_feed_is_taken_a_few_ahead_and_its_threads_end() -> None:
    taken = itertools.count()
    before = threading.active_count()
    results = ahead(lambda number: number, taken)
    for _ in range(10):
        next(results)[1]()
    assert next(taken) <= 10 + AHEAD + 1
    results.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("number", [0, 1])
def test_a_single_photo_needs_no_thread(number: int) -> None:
    found = [result() for _, result in ahead(lambda _: threading.current_thread(), range(number))]
    assert found == [threading.current_thread()] * number


@pytest.mark.parametrize("privacy", ["certified", "encrypted"])
def test_a_folder_through_a_client(tmp_path: Path, privacy: str) -> None:
    """Nothing is sent or counted of photos whose turn has not come, and a bad one costs the others nothing."""
    for seed in range(6):
        (tmp_path / f"{seed}.png").write_bytes(saved(lesion(200, seed), "PNG"))
    (tmp_path / "3.png").write_bytes(b"no photo")
    with EmbeddedWorker(None) as worker, _client(worker, tmp_path / ".state", privacy) as client:
        results = client.diagnose_many(Listing([tmp_path]))
        _, first = next(results)
        assert isinstance(first, Diagnosis)
        assert first.privacy.device is not None
        assert first.privacy.device.photos == 1
        rest = [(photo_name(photo), outcome) for photo, outcome in results]
        assert [name for name, _ in rest] == [str(tmp_path / f"{seed}.png") for seed in range(1, 6)]
        assert [type(outcome) for _, outcome in rest] == [Diagnosis, Diagnosis, PhotoError, Diagnosis, Diagnosis]
        assert _counted(rest[-1][1]) == 5
        alone = client.diagnose(tmp_path / "5.png")
        assert isinstance(alone, Diagnosis)
        assert isinstance(rest[-1][1], Diagnosis)
        assert alone.malignant == pytest.approx(rest[-1][1].malignant, rel=1e-2), "ciphertexts hold noise of their own"


def _counted(outcome: object) -> int:
    assert isinstance(outcome, Diagnosis)
    assert outcome.privacy.device is not None
    return outcome.privacy.device.photos


def _client(worker: EmbeddedWorker, state: Path, privacy: str) -> Client:
    return Client(worker.endpoint, credentials=worker.client_credentials, state=state, privacy=privacy, anyway=True)

"""Encrypted requests over both connections: keys are uploaded once, and whatever a worker does meanwhile, it ends."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit.channel import tensor
from securesplit.channel.events import Request
from securesplit.channel.sealing import MAX_SEQUENCE
from securesplit.device.encryption_key import EVALUATION_FILE, EncryptionKey
from securesplit.encrypted import messages
from securesplit.encrypted.messages import CHUNK_BYTES, Answer, ChunkAnswer, ChunkStatus, Status
from securesplit.errors import UnreachableError, WorkerError
from securesplit.transport import key_upload
from securesplit.transport.async_connection import AsyncConnection
from securesplit.transport.connection import Connection, Timeouts
from securesplit.transport.inquiry import EncryptedRelease
from securesplit.transport.key_upload import FORGETFUL_S, MAX_UPLOADS, KeyUpload
from securesplit_testing.serving import IDENTITY
from securesplit_testing.slow_line import slow_line
from securesplit_testing.timing import took_less_than
from tests.transport.clients import KEYS
from tests.transport.encrypted_worker import (
    PIECES,
    EncryptedWorker,
    Silence,
    answer,
    ciphertext,
    logits,
    paused,
    release,
    serving,
    small_key,
)

pytest.importorskip("tenseal", reason="TenSEAL is not installed")
PATIENT = Timeouts(total_s=60.0, try_s=20.0, absent_s=0.5)
"""For workers that answer whatever is asked: a try that a busy machine cut short would be another one."""


@pytest.fixture
def key(tmp_path: Path) -> EncryptionKey:
    for photos in (1, 3):
        answer(photos)  # which takes a second the first time
    return small_key(tmp_path)


def ask_blocking(endpoints: list[str], timeouts: Timeouts, *asked: EncryptedRelease) -> list[list[float]]:
    with Connection(endpoints, KEYS[1], IDENTITY, timeouts=timeouts) as connection:
        return [[found.logit for found in connection.request_encrypted(each)] for each in asked]


def ask_async(endpoints: list[str], timeouts: Timeouts, *asked: EncryptedRelease) -> list[list[float]]:
    async def scenario() -> list[list[float]]:
        async with AsyncConnection(endpoints, KEYS[1], IDENTITY, timeouts=timeouts) as connection:
            return [[found.logit for found in await connection.request_encrypted(each)] for each in asked]

    return asyncio.run(scenario())


Ask = Callable[..., list[list[float]]]
both = pytest.mark.parametrize("ask", [ask_blocking, ask_async])


@both
def test_keys_are_uploaded_once_and_then_known(key: EncryptionKey, ask: Ask) -> None:
    worker = EncryptedWorker()
    with serving(worker) as endpoint:
        found = ask([endpoint], PATIENT, release(key), release(key, 3), release(key))
        assert ask([endpoint], PATIENT, release(key)) == [pytest.approx(logits(1), abs=2e-3)]
    assert found == [pytest.approx(logits(n), abs=2e-3) for n in (1, 3, 1)]
    assert [chunk.offset for chunk in worker.chunks] == [n * CHUNK_BYTES for n in range(PIECES)]
    assert list(worker.keys) == [key.evaluation.digest]


def test_bytes_and_times_are_those_of_the_request(key: EncryptionKey) -> None:
    with serving(EncryptedWorker()) as endpoint, Connection([endpoint], KEYS[1], IDENTITY) as connection:
        connection.request_encrypted(release(key))
        alone, three = connection.request_encrypted(release(key)), connection.request_encrypted(release(key, 3))
    assert len(alone[0].frame) == alone[0].payload_bytes == sum(found.payload_bytes for found in three)
    assert {found.tail_ms for found in three} == {1.5}
    assert ciphertext(1) not in alone[0].frame


def test_pieces_that_go_together_have_room_in_one_session(key: EncryptionKey) -> None:
    """A session has one message left where two are due: both go in the next one."""
    worker = EncryptedWorker()
    with serving(worker) as endpoint, Connection([endpoint], KEYS[1], IDENTITY) as connection:
        connection.request_encrypted(release(key))
        worker.keys.clear()
        sealer = connection._opened.value.sessions[0]._channel._sealer
        assert sealer is not None
        sealer.sequence = MAX_SEQUENCE - 3  # a request, a piece, and two pieces
        (found,) = connection.request_encrypted(release(key))
    assert found.logit == pytest.approx(logits(1)[0], abs=2e-3)
    assert len(worker.chunks) == 2 * PIECES, "none was sent twice"


def test_an_upload_goes_on_under_other_credentials(key: EncryptionKey) -> None:
    worker = EncryptedWorker()

    async def scenario(endpoint: str) -> None:
        loop = asyncio.get_running_loop()

        def renew(number: int) -> None:
            if number == 3:
                asyncio.run_coroutine_threadsafe(renewed(), loop).result(5)

        async def renewed() -> None:
            connection.renew(KEYS[1])

        worker.on_chunk = renew
        async with AsyncConnection([endpoint], KEYS[1], IDENTITY) as connection:
            (found,) = await connection.request_encrypted(release(key))
            assert found.logit == pytest.approx(logits(1)[0], abs=2e-3)
            assert len(connection._context._sockets) == 2, "of one connection, its own and its monitor"

    with serving(worker) as endpoint:
        asyncio.run(scenario(endpoint))


@both
def test_an_upload_goes_on_where_it_was_cut(key: EncryptionKey, ask: Ask) -> None:
    worker = EncryptedWorker()

    def silent_once(number: int) -> None:
        if number == 3:
            raise Silence

    worker.on_chunk = silent_once
    with serving(worker) as endpoint:
        assert ask([endpoint], replace(PATIENT, try_s=2.0), release(key)) == [pytest.approx(logits(1), abs=2e-3)]
    assert len(worker.chunks) == PIECES + 2, "the lost one again, and one that asks how far it was"


@both
def test_a_worker_that_restarted_gets_them_again(key: EncryptionKey, ask: Ask) -> None:
    worker = EncryptedWorker()

    def restarted(number: int) -> None:
        if number == 4:
            worker.partial.clear()

    worker.on_chunk = restarted
    with serving(worker) as endpoint:
        first = ask([endpoint], PATIENT, release(key))
        worker.keys.clear()
        assert ask([endpoint], PATIENT, release(key)) == first
    assert len(worker.chunks) == 3 * PIECES, "the fourth went together with the last two, which are lost with it"


@both
def test_one_that_forgets_them_every_time_is_given_up(key: EncryptionKey, ask: Ask) -> None:
    worker, other = EncryptedWorker(), EncryptedWorker()
    worker.on_request = lambda _: Answer(Status.KEY_NEEDED)
    worker.on_chunk = lambda _: worker.keys.clear()
    with serving(worker) as endpoint, serving(other) as second:
        with pytest.raises(WorkerError, match=f"lost this device's evaluation keys {MAX_UPLOADS} times"):
            ask([endpoint], PATIENT, release(key))
        assert len(worker.chunks) == MAX_UPLOADS * PIECES
        assert ask([endpoint, second], PATIENT, release(key)) == [pytest.approx(logits(1), abs=2e-3)]
    assert len(other.chunks) == PIECES


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_one_that_forgets_them_gets_none_for_later_requests(key: EncryptionKey, kind: str) -> None:
    """Or it would be sent 0.1 GB for each photo of an archive; after a while it may have them once more."""
    worker, now = EncryptedWorker(), [0.0]
    worker.on_request = lambda _: Answer(Status.KEY_NEEDED)
    worker.on_chunk = lambda _: worker.keys.clear()
    with serving(worker) as endpoint, blocking_or_async(kind, endpoint, lambda: now[0]) as fail:
        for _ in range(4):
            assert fail(release(key)) is WorkerError
        assert len(worker.chunks) == MAX_UPLOADS * PIECES
        now[0] += FORGETFUL_S + 1.0
        assert [fail(release(key)) for _ in range(2)] == [WorkerError] * 2
        assert len(worker.chunks) == (MAX_UPLOADS + 1) * PIECES
        worker.on_request = worker.on_chunk = lambda _: None
        now[0] += FORGETFUL_S + 1.0
        assert fail(release(key)) is None
        worker.keys.clear()
        assert fail(release(key)) is None, "an answer came of it"


@contextlib.contextmanager
def blocking_or_async(
    kind: str, endpoint: str, clock: Callable[[], float]
) -> Iterator[Callable[[EncryptedRelease], type | None]]:
    """Asks over one connection, and returns the kind of error that came of it."""
    with contextlib.ExitStack() as opened:
        if kind == "blocking":
            connection = opened.enter_context(Connection([endpoint], KEYS[1], IDENTITY, timeouts=PATIENT, clock=clock))
            ask: Callable[[EncryptedRelease], Any] = connection.request_encrypted
        else:
            runner = opened.enter_context(asyncio.Runner())

            async def made() -> AsyncConnection:
                return AsyncConnection([endpoint], KEYS[1], IDENTITY, timeouts=PATIENT, clock=clock)

            several = runner.run(made())
            opened.callback(lambda: runner.run(several.close()))
            ask = lambda asked: runner.run(several.request_encrypted(asked))  # noqa: E731

        def outcome(asked: EncryptedRelease) -> type | None:
            try:
                ask(asked)
            except WorkerError as error:
                return type(error)
            return None

        yield outcome


@both
def test_one_that_takes_pieces_without_end_is_given_up(
    key: EncryptionKey, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = EncryptedWorker()
    again, full = ChunkAnswer(ChunkStatus.RESTART, 0), ChunkAnswer(ChunkStatus.NO_ROOM)
    worker.on_chunk = lambda number: again if number % 25 else full
    monkeypatch.setattr(key_upload, "MOST_PIECES", 40)
    with serving(worker) as endpoint, pytest.raises(WorkerError, match="never keeps them"):
        ask([endpoint], PATIENT, release(key))
    assert 40 <= len(worker.chunks) < 40 + 25 + key_upload.MOST_AT_ONCE, "that many, and at most one upload more"


@both
def test_no_room_is_waited_for_and_no_longer_than_the_deadline(key: EncryptionKey, ask: Ask) -> None:
    worker = EncryptedWorker()
    worker.on_chunk = lambda number: ChunkAnswer(ChunkStatus.NO_ROOM) if number == 1 else None
    with serving(worker) as endpoint:
        assert ask([endpoint], PATIENT, release(key)) == [pytest.approx(logits(1), abs=2e-3)]
        worker.keys.clear()
        worker.on_chunk = lambda _: ChunkAnswer(ChunkStatus.NO_ROOM)
        with pytest.raises(UnreachableError, match="no room for evaluation keys"):
            ask([endpoint], replace(PATIENT, total_s=2.0, room_s=0.1), release(key))


@both
def test_a_worker_without_room_is_waited_for_longer_than_a_silent_one(key: EncryptionKey, ask: Ask) -> None:
    """It says how long, and its answer is sealed; so the wait does not count as time of the request."""
    worker, came = EncryptedWorker(), []

    def full(number: int) -> ChunkAnswer | None:
        came.append(time.monotonic())
        return ChunkAnswer(ChunkStatus.NO_ROOM, 1_000) if number <= 4 else None

    worker.on_chunk = full
    with serving(worker) as endpoint:
        assert ask([endpoint], replace(PATIENT, total_s=3.0), release(key)) == [pytest.approx(logits(1), abs=2e-3)]
    assert len(came) == PIECES + 4
    assert min(after - before for before, after in itertools.pairwise(came[:5])) >= 0.99, "not sooner than it said"


class HesitantWorker(EncryptedWorker):
    """Answers the second piece of keys when it has the third one, too."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[tuple[int, bytes]] = []

    def reply(self, asked: Request) -> list[tuple[int, bytes]]:
        self._held.append(super().reply(asked))
        said, self._held = ([], self._held) if len(self.chunks) == 2 else (self._held, [])
        return said


@both
def test_over_a_long_line_several_pieces_are_under_way_together(key: EncryptionKey, ask: Ask) -> None:
    worker = HesitantWorker()
    with serving(worker) as endpoint, slow_line(endpoint, delay_s=0.1) as line:
        assert ask([line], replace(PATIENT, total_s=20.0), release(key)) == [pytest.approx(logits(1), abs=2e-3)]
    assert len(worker.chunks) == PIECES


def test_over_a_thin_line_pieces_go_one_by_one(key: EncryptionKey) -> None:
    """Two of them would take longer than one may."""
    upload, together, received = KeyUpload(key.evaluation, 8.0), [], 0
    for took_s in (4.2, 2.0, 0.01):
        together.append(len(upload.next_chunks()))
        received += together[-1] * CHUNK_BYTES
        upload.take([tensor.encode(ChunkAnswer(ChunkStatus.GO_ON, received).encode())], took_s)
    assert [*together, len(upload.next_chunks())] == [1, 1, 1, 2]


def foreign_answer(_number: int) -> Answer:
    """What was computed under another device's key."""
    return Answer(Status.ANSWERED, 1.0, answer(1)[: len(answer(1)) // 2] * 2)


def sized(value: int) -> np.ndarray:
    return np.full(messages.ANSWER_BYTES, value, np.uint8)


NONSENSE: dict[str, Callable[[int], Answer | bytes]] = {
    "noise": foreign_answer,
    "zeros": lambda _: Answer(Status.ANSWERED, 1.0, bytes(messages.ANSWER_CIPHERTEXT_BYTES)),
    "residues beyond their prime": lambda _: Answer(Status.ANSWERED, 1.0, b"\xff" * messages.ANSWER_CIPHERTEXT_BYTES),
    "an unknown status": lambda _: tensor.encode(sized(9)),
    "another size": lambda _: tensor.encode(sized(0)[1:]),
    "an answer in the open": lambda _: tensor.encode(np.array([1.0, 1.0], np.float32)),
    "nothing": lambda _: b"",
    "a tail of an hour": lambda _: Answer(Status.ANSWERED, 3.6e6, answer(1)),
}


@both
@pytest.mark.parametrize("name", NONSENSE)
def test_an_answer_that_cannot_be_is_an_error_and_another_worker_is_asked(
    key: EncryptionKey, ask: Ask, name: str
) -> None:
    worker, other = EncryptedWorker(), EncryptedWorker()
    worker.on_request = NONSENSE[name]
    with serving(worker) as endpoint, serving(other) as second:
        with pytest.raises(WorkerError, match="makes no sense"):
            ask([endpoint], PATIENT, release(key))
        assert ask([endpoint, second], PATIENT, release(key)) == [pytest.approx(logits(1), abs=2e-3)]


@both
@pytest.mark.parametrize(
    ("said", "why"),
    [
        (ChunkAnswer(ChunkStatus.REFUSED), "refuses this device's evaluation keys"),
        (ChunkAnswer(ChunkStatus.GO_ON, 7), "it has 7 bytes of"),
        (ChunkAnswer(ChunkStatus.GO_ON, 1 << 40), "it has 1,099,511,627,776 bytes of"),
        (ChunkAnswer(ChunkStatus.RESTART, 0), "again and again"),
        (tensor.encode(np.full(16, 9, np.uint8)), "makes no sense"),
        (b"", "makes no sense"),
    ],
)
def test_so_does_what_is_said_of_a_piece(key: EncryptionKey, ask: Ask, said: ChunkAnswer | bytes, why: str) -> None:
    worker = EncryptedWorker()
    worker.on_chunk = lambda _: said
    with serving(worker) as endpoint, pytest.raises(WorkerError, match=why):
        ask([endpoint], PATIENT, release(key))


def test_whether_ciphertexts_are_computed_on_costs_no_keys() -> None:
    worker = EncryptedWorker()
    with serving(worker) as endpoint, Connection([endpoint], KEYS[1], IDENTITY, timeouts=PATIENT) as connection:
        connection.check_encryption()
        assert len(worker.requests) == 1
        assert not worker.chunks
        for said in (Answer(Status.REFUSED), Answer(Status.ANSWERED, 1.0, answer(1)), b"", tensor.encode(sized(9))):
            worker.on_request = lambda _, said=said: said  # type: ignore[misc]
            with pytest.raises(WorkerError, match="makes no sense"):
                connection.check_encryption()


@both
def test_a_refused_request_is_a_verdict(key: EncryptionKey, ask: Ask) -> None:
    worker = EncryptedWorker()
    worker.on_request = lambda _: Answer(Status.REFUSED)
    with serving(worker) as endpoint, pytest.raises(WorkerError, match="refuses this device's key or ciphertext"):
        ask([endpoint], PATIENT, release(key))
    assert len(worker.requests) == 1


@both
def test_pieces_that_arrive_put_the_deadline_off(key: EncryptionKey, ask: Ask) -> None:
    worker = EncryptedWorker()
    worker.on_chunk = paused(0.5)
    with serving(worker) as endpoint:
        assert ask([endpoint], replace(PATIENT, total_s=2.5), release(key)) == [pytest.approx(logits(1), abs=2e-3)]


def test_but_not_for_ever(key: EncryptionKey) -> None:
    worker = EncryptedWorker()
    worker.on_chunk = paused(0.2)
    with serving(worker) as endpoint, pytest.raises(UnreachableError, match="no answer came"):
        ask_blocking([endpoint], replace(PATIENT, total_s=0.5, upload_s=0.1), release(key))


@both
def test_silence_does_not(key: EncryptionKey, ask: Ask) -> None:
    def silent(number: int) -> None:
        if number > 2:
            raise Silence

    worker = EncryptedWorker()
    worker.on_chunk = silent
    with serving(worker) as endpoint:
        start = time.monotonic()
        with pytest.raises(UnreachableError, match="no answer came"):
            ask([endpoint], replace(PATIENT, total_s=0.7), release(key))
    took_less_than(4.0, start)


def test_threads_that_wait_for_an_upload_wait_on(key: EncryptionKey) -> None:
    worker, asked = EncryptedWorker(), release(key)
    worker.on_chunk = paused(0.5)
    with serving(worker) as endpoint:
        timeouts = replace(PATIENT, total_s=2.5)
        with Connection([endpoint], KEYS[1], IDENTITY, timeouts=timeouts) as connection, ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda _: connection.request_encrypted(asked)[0].logit, range(3)))
    assert found == pytest.approx(3 * logits(1), abs=2e-3)
    assert len(worker.chunks) == PIECES


def test_tasks_share_an_upload_which_ends_with_the_last_of_them(key: EncryptionKey) -> None:
    worker, goes_on = EncryptedWorker(), threading.Event()

    def hold(number: int) -> None:
        if number == 2:
            goes_on.wait(20)
        time.sleep(0.1)

    worker.on_chunk = hold

    async def scenario(endpoint: str) -> None:
        async with AsyncConnection([endpoint], KEYS[1], IDENTITY, timeouts=PATIENT) as connection:

            def begin() -> asyncio.Task[list[Any]]:
                return asyncio.create_task(connection.request_encrypted(release(key)))

            doomed = [begin(), begin()]
            while len(worker.chunks) < 2:
                await asyncio.sleep(0.01)
            for task in doomed:
                task.cancel()
            await asyncio.gather(*doomed, return_exceptions=True)
            goes_on.set()
            await asyncio.sleep(0.5)
            assert len(worker.chunks) <= 3 < PIECES, "of two that went together; nobody waited any more"
            tasks = [begin() for _ in range(5)]
            await asyncio.sleep(0.15)
            tasks.pop(0).cancel()
            answers = await asyncio.gather(*tasks)
            assert [each[0].logit for each in answers] == pytest.approx(4 * logits(1), abs=2e-3)
        assert len(worker.chunks) <= PIECES + 3

    with serving(worker) as endpoint:
        asyncio.run(scenario(endpoint))


def test_closing_ends_an_upload(key: EncryptionKey) -> None:
    worker, closed = EncryptedWorker(), []
    worker.on_chunk = paused(0.3)
    with serving(worker) as endpoint, ThreadPoolExecutor(1) as pool:
        connection = Connection([endpoint], KEYS[1], IDENTITY, timeouts=PATIENT)
        asked = pool.submit(connection.request_encrypted, release(key))
        while len(worker.chunks) < 2:
            time.sleep(0.01)
        connection.close()
        with pytest.raises(UnreachableError, match="closed"):
            asked.result(20)
        closed.append(len(worker.chunks))
    assert closed[0] < PIECES


def test_closing_ends_an_async_upload(key: EncryptionKey) -> None:
    worker = EncryptedWorker()
    worker.on_chunk = paused(0.3)

    async def scenario(endpoint: str) -> None:
        connection = AsyncConnection([endpoint], KEYS[1], IDENTITY, timeouts=PATIENT)
        asked = asyncio.create_task(connection.request_encrypted(release(key)))
        while len(worker.chunks) < 2:
            await asyncio.sleep(0.01)
        await connection.close()
        with pytest.raises(UnreachableError, match="closed"):
            await asyncio.wait_for(asked, 20)

    with serving(worker) as endpoint:
        asyncio.run(scenario(endpoint))
    assert len(worker.chunks) < PIECES


@both
def test_keys_that_were_drawn_again_meanwhile_are_uploaded_again(key: EncryptionKey, ask: Ask, tmp_path: Path) -> None:
    worker, file = EncryptedWorker(), tmp_path / EVALUATION_FILE

    def replaced(number: int) -> None:
        if number == 2:
            small_key(file.parent / "other", seed=2)
            (file.parent / "other" / EVALUATION_FILE).rename(file)

    worker.on_chunk = replaced
    with serving(worker) as endpoint:
        assert ask([endpoint], PATIENT, release(key)) == [pytest.approx(logits(1), abs=2e-3)]
    assert list(worker.keys) == [key.evaluation.digest]


@both
def test_a_second_worker_costs_one_upload(key: EncryptionKey, ask: Ask) -> None:
    first, second = EncryptedWorker(), EncryptedWorker()
    with serving(second) as other:
        with serving(first) as endpoint:
            ask([endpoint, other], PATIENT, release(key))
        assert ask([endpoint, other], PATIENT, release(key), release(key)) == 2 * [pytest.approx(logits(1), abs=2e-3)]
    assert (len(first.chunks), len(second.chunks)) == (PIECES, PIECES)


def test_nothing_leaves_before_it_may(key: EncryptionKey) -> None:
    worker, allowed = EncryptedWorker(), threading.Event()

    def before_sending() -> None:
        if not allowed.is_set():
            raise WorkerError("not yet")

    with serving(worker) as endpoint, Connection([endpoint], KEYS[1], IDENTITY) as connection:
        with pytest.raises(WorkerError, match="not yet"):
            connection.request_encrypted(release(key), before_sending=before_sending)
        assert not worker.requests
        allowed.set()
        assert connection.request_encrypted(release(key), before_sending=before_sending)

"""`Client` from many threads and `AsyncClient` with many tasks: each photo gets its own diagnosis."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from securesplit import AsyncClient, Client
from securesplit.errors import BudgetError, PhotoError, TrustError, UnreachableError
from securesplit.pki import keystore
from securesplit.worker.served_model import ServedModel
from securesplit_testing.serving import Running, running
from tests.integration.conftest import Worker

DrawPhoto = Callable[..., Path]
PHOTOS, TURNS = 6, 4
pytestmark = pytest.mark.usefixtures("known_keys")


@pytest.fixture
def photos(draw_photo: DrawPhoto) -> list[Path]:
    return [draw_photo(seed) for seed in range(PHOTOS)]


@pytest.fixture
def expected(worker: Worker, photos: list[Path]) -> dict[str, float]:
    """What each photo's diagnosis is, asked one by one."""
    with Client(worker.endpoint, certs=worker.certs, privacy="compact") as client:
        return {str(photo): client.diagnose(photo).malignant for photo in photos}


def test_any_number_of_threads_may_ask_one_client(
    worker: Worker, photos: list[Path], expected: dict[str, float]
) -> None:
    """The head's interpreter, the noise, the ledger and the session are shared; no answer may change hands."""
    with Client(worker.endpoint, certs=worker.certs, privacy="compact") as client, ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(client.trace, photos * TURNS))
    assert len(set(expected.values())) == PHOTOS, "a mix-up would show"
    for diagnosis, trace in answers:
        assert diagnosis.malignant == expected[diagnosis.photo]
        assert diagnosis.privacy.releases == 1
        assert trace.wire
    by_photo = {d.photo: t.release for d, t in answers}
    assert all(np.array_equal(trace.release, by_photo[d.photo]) for d, trace in answers)


def test_threads_together_do_not_overspend_a_budget(worker: Worker, photos: list[Path], tmp_path: Path) -> None:
    """Six at once are granted as many photos as one after the other."""
    granted = []
    for count in (1, 6):
        state = tmp_path / f"state-{count}"
        with Client(worker.endpoint, certs=worker.certs, privacy="2", budget=4.0, state=state) as client:
            with ThreadPoolExecutor(count) as threads:
                tasks = [threads.submit(client.diagnose, photo) for photo in photos]
            errors = [error for task in tasks if (error := task.exception())]
        assert all(isinstance(error, BudgetError) for error in errors), errors
        granted.append(PHOTOS - len(errors))
    assert granted[0] == granted[1] < PHOTOS


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_many_photos_at_once_over_one_session(worker: Worker, photos: list[Path], expected: dict[str, float]) -> None:
    async def scenario() -> None:
        async with AsyncClient(worker.endpoint, certs=worker.certs, privacy="compact") as client:
            answers = await asyncio.gather(*(client.diagnose(photo) for photo in photos * TURNS))
            assert [answer.photo for answer in answers] == [str(photo) for photo in photos * TURNS]
            assert all(answer.malignant == expected[answer.photo] for answer in answers)
            assert all(answer.timing_ms.round_trip > 0 for answer in answers)

    run(scenario())


def test_the_head_does_not_hold_up_the_loop(worker: Worker, photos: list[Path]) -> None:
    async def scenario() -> None:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0.002)
                beats += 1

        async with AsyncClient(worker.endpoint, certs=worker.certs) as client:
            heart = asyncio.create_task(beat())
            answers = await asyncio.gather(*(client.diagnose(photo) for photo in photos * 2))
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)
        assert beats > 2 * len(answers), "a loop that waits for each head would beat about once a photo"

    run(scenario())


def test_errors_and_cancellations_of_some_leave_the_others_alone(
    worker: Worker, photos: list[Path], expected: dict[str, float], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")

    async def scenario() -> None:
        async with AsyncClient(worker.endpoint, certs=worker.certs, privacy="compact") as client:
            for turn in range(4):
                doomed = [asyncio.create_task(client.diagnose(photo)) for photo in photos[:3]]
                good = [asyncio.create_task(client.diagnose(photo)) for photo in photos]
                bad = asyncio.create_task(client.diagnose(broken))
                await asyncio.sleep(0.01 * turn)
                for task in doomed:
                    task.cancel()
                with pytest.raises(PhotoError):
                    await bad
                assert all(answer.malignant == expected[answer.photo] for answer in await asyncio.gather(*good))
                await asyncio.gather(*doomed, return_exceptions=True)

    run(scenario())


def test_closing_ends_what_still_waits_with_an_error(worker: Worker, photos: list[Path]) -> None:
    async def scenario() -> None:
        client = AsyncClient(worker.endpoint, certs=worker.certs)
        await client.diagnose(photos[0])
        waiting = [asyncio.create_task(client.diagnose(photo)) for photo in photos * 3]
        await asyncio.sleep(0.01)
        await client.close()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert any(isinstance(end, UnreachableError) for end in ended)
        unexpected = [end for end in ended if isinstance(end, BaseException) and not isinstance(end, UnreachableError)]
        assert unexpected == []
        with pytest.raises(UnreachableError, match="the client was closed"):
            await client.diagnose(photos[0])

    run(scenario())


@pytest.fixture
def stolen(tmp_path: Path) -> Iterator[tuple[Running, Path, Path]]:
    """A worker with the real bundle, the CA's folder, and a device's own copy of what it needs."""
    ca, device = tmp_path / "ca", tmp_path / "device"
    keystore.create(ca, server_names=["127.0.0.1"], days=1, now=datetime.now(UTC))
    shutil.copytree(ca, device)
    keys = keystore.load_server(ca, now=datetime.now(UTC)), keystore.load_client(device, now=datetime.now(UTC))
    with running(ServedModel.from_bundle(None), keys=keys) as worker:
        yield worker, ca, device


def test_a_client_with_the_list_refuses_a_revoked_worker(
    stolen: tuple[Running, Path, Path], photos: list[Path]
) -> None:
    worker, ca, device = stolen
    with Client(worker.front.endpoint, certs=device) as client:
        client.diagnose(photos[0])
        old = (ca / "crl.pem").read_bytes()
        keystore.revoke(ca, "127.0.0.1", now=datetime.now(UTC))
        new = (ca / "crl.pem").read_bytes()
        (device / "crl.pem").write_bytes(new[: len(new) // 2])
        client.diagnose(photos[1])
        (device / "crl.pem").write_bytes(new)
        with pytest.raises(TrustError, match="the worker's certificate was revoked") as caught:
            client.diagnose(photos[2])
        assert "do not use this worker" in caught.value.hint
        (device / "crl.pem").write_bytes(old)
        with pytest.raises(TrustError, match="the worker's certificate was revoked"):
            client.diagnose(photos[2])


def test_an_asyncio_client_does_too(stolen: tuple[Running, Path, Path], photos: list[Path]) -> None:
    worker, ca, device = stolen

    async def scenario() -> None:
        async with AsyncClient(worker.front.endpoint, certs=device) as client:
            await client.diagnose(photos[0])
            keystore.revoke(ca, "127.0.0.1", now=datetime.now(UTC))
            old = (device / "crl.pem").read_bytes()
            for crl in ((ca / "crl.pem").read_bytes(), old):
                (device / "crl.pem").write_bytes(crl)
                with pytest.raises(TrustError, match="the worker's certificate was revoked"):
                    await client.diagnose(photos[1])

    run(scenario())


def test_a_renewed_certificate_is_used_by_the_same_client(
    stolen: tuple[Running, Path, Path], photos: list[Path]
) -> None:
    worker, ca, device = stolen
    with Client(worker.front.endpoint, certs=device) as client:
        client.diagnose(photos[0])
        keystore.renew(ca, days=1, now=datetime.now(UTC))
        server = keystore.load_server(ca, now=datetime.now(UTC))
        worker.front.reload(lambda: server)
        for name in ("clients/device.key", "clients/device.crt", "crl.pem"):
            (device / name).write_bytes((ca / name).read_bytes())
        client.diagnose(photos[1])
        new = keystore.load_client(device, now=datetime.now(UTC)).fingerprint
        sessions = worker.front._channel._sessions._entries.values()
        assert new in {session.fingerprint for session in sessions}

"""The ledger counts what left the device: everything that did, and nothing that did not."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from securesplit import AsyncClient, Client
from securesplit.channel.frames import Code, Frame, FrameType
from securesplit.errors import BudgetError, SecureSplitError, UnreachableError, WorkerError
from securesplit.pki import keystore
from securesplit.transport.connection import Timeouts
from securesplit.worker.served_model import ServedModel
from securesplit_testing.serving import Running, now, running
from securesplit_testing.timing import TooSlowError, took_less_than
from tests.integration.conftest import Command, counted
from tests.transport.middleman import err, middleman

DrawPhoto = Callable[..., Path]
KEYS = keystore.ephemeral(now())
PHOTOS = 5


@pytest.fixture(scope="module")
def worker() -> Iterator[Running]:
    with running(ServedModel.from_bundle(None), keys=KEYS) as started:
        yield started


def ask(endpoint: str, photos: list[Path], options: dict[str, Any]) -> list[BaseException | None]:
    errors: list[BaseException | None] = []
    with Client(endpoint, credentials=KEYS[1], **options) as client:
        for photo in photos:
            try:
                client.diagnose(photo)
                errors.append(None)
            except SecureSplitError as error:
                errors.append(error)
    return errors


def ask_at_once(endpoint: str, photos: list[Path], options: dict[str, Any]) -> list[BaseException | None]:
    async def scenario() -> list[BaseException | None]:
        async with AsyncClient(endpoint, credentials=KEYS[1], **options) as client:
            ends = await asyncio.gather(*(client.diagnose(photo) for photo in photos), return_exceptions=True)
        return [end if isinstance(end, BaseException) else None for end in ends]

    return asyncio.run(scenario())


CLIENTS = [ask, ask_at_once]


@pytest.mark.parametrize("ask", CLIENTS)
def test_nothing_is_counted_where_nothing_listens(
    ask: Any, draw_photo: DrawPhoto, known_keys: Path, free_port: Callable[[], int]
) -> None:
    photos, start = [draw_photo(seed) for seed in range(PHOTOS)], time.monotonic()
    errors = ask(f"tcp://127.0.0.1:{free_port()}", photos, {"state": known_keys, "timeout_s": 0.2})
    assert all(isinstance(error, UnreachableError) for error in errors), errors
    assert counted(known_keys) == 0
    took_less_than(0.2 * PHOTOS + 4.0, start)


def test_nothing_is_charged_when_the_worker_has_gone(draw_photo: DrawPhoto, known_keys: Path) -> None:
    """The session outlives its connection, but what is sealed under it leaves only over another one."""
    with running(ServedModel.from_bundle(None), keys=KEYS) as worker:
        client = Client(worker.front.endpoint, credentials=KEYS[1], state=known_keys, timeout_s=10.0)
        client.diagnose(draw_photo(1))
    client._connection._timeouts = Timeouts(total_s=0.5)
    with client:
        for seed in (2, 3):
            with pytest.raises(UnreachableError):
                client.diagnose(draw_photo(seed))
    assert counted(known_keys) == 1


def test_the_same_for_asyncio(draw_photo: DrawPhoto, known_keys: Path) -> None:
    async def scenario() -> None:
        with running(ServedModel.from_bundle(None), keys=KEYS) as worker:
            client = AsyncClient(worker.front.endpoint, credentials=KEYS[1], state=known_keys, timeout_s=10.0)
            await client.diagnose(draw_photo(1))
        client._connection._timeouts = Timeouts(total_s=0.5)
        async with client:
            ends = await asyncio.gather(*(client.diagnose(draw_photo(n)) for n in (2, 3)), return_exceptions=True)
        assert all(isinstance(end, UnreachableError) for end in ends), ends

    asyncio.run(scenario())
    assert counted(known_keys) == 1


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("code", [Code.WORKER, Code.BUSY, Code.TLS, Code.UNKNOWN_SESSION, None])
def test_nothing_is_counted_where_nobody_proves_to_be_a_worker(
    code: Code | None, ask: Any, draw_photo: DrawPhoto, known_keys: Path
) -> None:
    def forge(frame: Frame) -> list[bytes]:
        return [] if code is None else err(code, frame)

    with middleman(None, None, forge) as forger:
        errors = ask(forger.endpoint, [draw_photo(1)], {"state": known_keys, "timeout_s": 0.5})
        if not forger.forged:
            raise TooSlowError("the request ended before the forger's turn")
    assert all(errors)
    assert counted(known_keys) == 0


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("stage", [FrameType.FIN, FrameType.REQ])
def test_it_is_on_the_disk_before_a_byte_of_it_leaves(
    worker: Running, stage: FrameType, ask: Any, draw_photo: DrawPhoto, known_keys: Path
) -> None:
    """Wherever the device is killed, it has counted what the wire carried; and a request that fails then is counted."""
    on_the_wire: list[int] = []

    def forge(frame: Frame) -> list[bytes]:
        on_the_wire.append(counted(known_keys))
        return err(Code.WORKER, frame)

    with middleman(worker.front.endpoint, stage, forge) as forger:
        errors = ask(forger.endpoint, [draw_photo(1), draw_photo(2)], {"state": known_keys})
    assert on_the_wire[0] >= 1
    assert all(rows >= first for rows, first in zip(on_the_wire[1:], on_the_wire, strict=False))
    assert any(isinstance(error, WorkerError) for error in errors)
    assert counted(known_keys) == 2


@pytest.mark.parametrize("ask", CLIENTS)
def test_what_a_budget_refuses_never_leaves(worker: Running, ask: Any, draw_photo: DrawPhoto, known_keys: Path) -> None:
    with middleman(worker.front.endpoint, FrameType.FIN, lambda _: []) as between:
        errors = ask(between.endpoint, [draw_photo(1)], {"state": known_keys, "privacy": "8", "budget": 2.0})
        assert between.forged == 0, "no FIN, which carries the first request"
    assert isinstance(errors[0], BudgetError)
    assert counted(known_keys) == 0


@pytest.mark.parametrize("style", ["json", "text"])
def test_the_command_gives_up_after_a_few_photos(
    style: str, securesplit: Command, draw_photo: DrawPhoto, certs: Path, free_port: Callable[[], int]
) -> None:
    photos = [draw_photo(seed) for seed in range(PHOTOS)]
    where = ["--connect", f"tcp://127.0.0.1:{free_port()}", "--certs", certs, "--timeout", "0.1", "--format", style]
    done = securesplit("diagnose", *photos, *where)
    assert done.returncode == 6
    assert f"photo 3 of {PHOTOS}" in done.stderr
    assert f"photo 4 of {PHOTOS}" not in done.stderr
    assert f"{PHOTOS - 3} photos were not tried, since 3 photos in a row met no worker" in done.stderr
    if style == "json":
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["photo"] for line in lines] == [str(photo) for photo in photos]
        assert {line["error"]["exit_code"] for line in lines} == {6}
    else:
        assert f"{PHOTOS - 3} more photos: not tried" in done.stdout
    assert counted(Path(os.environ["SECURESPLIT_STATE"])) == 0


def test_unreadable_photos_between_do_not_keep_the_command_trying(
    securesplit: Command, draw_photo: DrawPhoto, certs: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    photos = [draw_photo(1), broken, draw_photo(2), broken, draw_photo(3), broken, draw_photo(4)]
    where = ["--connect", f"tcp://127.0.0.1:{free_port()}", "--certs", certs, "--timeout", "0.1"]
    done = securesplit("diagnose", *photos, *where)
    assert done.returncode == 6
    assert "2 photos were not tried" in done.stderr

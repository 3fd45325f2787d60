"""The page under the preset ``encrypted``: what it says, and that what is drawn is the ciphertext."""

from __future__ import annotations

import base64
import contextlib
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from securesplit.encrypted.messages import ChunkAnswer, ChunkStatus
from securesplit.encrypted.tail import EncryptedTail
from securesplit.model import Bundle
from securesplit_testing.encryption import encrypted_bundle, evaluation_keys
from securesplit_testing.serving import wait_until
from tests.transport.clients import KEYS
from tests.transport.encrypted_worker import EncryptedWorker, serving, small_key
from tests.ui.conftest import MOLE, Page, served

pytest.importorskip("tenseal", reason="TenSEAL is not installed")


pytestmark = pytest.mark.skipif(encrypted_bundle() is None, reason="the default bundle has no preset encrypted")


def computing() -> EncryptedWorker:
    """With the default bundle's tail."""
    quadratic = Bundle.load().open_encrypted_tail()
    assert quadratic is not None
    tail = EncryptedTail(quadratic)
    return EncryptedWorker(lambda ciphertext, photos: tail.answer(ciphertext, photos, evaluation_keys()))


@contextlib.contextmanager
def paged(worker: EncryptedWorker, state: Path) -> Iterator[Page]:
    """A page that asks it."""
    who: Any = SimpleNamespace(client_credentials=KEYS[1])
    with (
        serving(worker, Bundle.load().identity) as endpoint,
        served(who, state, endpoint=endpoint, privacy="encrypted") as page,
    ):
        yield page


def test_the_page_shows_what_left_and_who_can_read_it(tmp_path: Path) -> None:
    small, worker = small_key(tmp_path), computing()
    with paged(worker, tmp_path) as page:
        landing = page.browser.get("/").text
        assert "What is sent is encrypted" in landing
        assert "Only a few numbers" not in landing
        assert "does not protect" not in landing
        answer = page.ask(MOLE).text
    assert small.evaluation.digest in worker.keys
    assert "256 numbers as a ciphertext that only this device can read" in answer
    assert "The server learned nothing of this photo" in answer
    assert "strongest attack" not in answer
    drawn = re.search(r'width="128" height="128" data-rgb="([^"]+)"[^>]*The ciphertext, as shades', answer)
    assert drawn is not None
    assert base64.b64decode(drawn[1])[::3] == worker.requests[-1].ciphertext[: 128**2]


def test_the_page_says_that_it_waits_for_room(tmp_path: Path) -> None:
    small_key(tmp_path)
    worker, is_seen = computing(), threading.Event()
    worker.on_chunk = lambda _: None if is_seen.is_set() else ChunkAnswer(ChunkStatus.NO_ROOM, 250)
    with paged(worker, tmp_path) as page, ThreadPoolExecutor(1) as threads:
        assert page.api("GET", "upload").text == ""
        asked = threads.submit(page.ask, MOLE)
        try:
            wait_until(lambda: page.api("GET", "upload").text.startswith("waiting for room"))
        finally:
            is_seen.set()
        assert "The server learned nothing of this photo" in asked.result().text
        assert page.api("GET", "upload").text == ""

"""The page under the preset ``encrypted``: what it says, and that what is drawn is the ciphertext."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from securesplit.encrypted.tail import EncryptedTail
from securesplit.model import Bundle
from securesplit_testing.encryption import encrypted_bundle, evaluation_keys
from tests.transport.encrypted_worker import EncryptedWorker, serving, small_key
from tests.transport.test_forged import KEYS
from tests.ui.conftest import MOLE, served

pytest.importorskip("tenseal", reason="TenSEAL is not installed")


@pytest.mark.skipif(encrypted_bundle() is None, reason="the default bundle has no preset encrypted")
def test_the_page_shows_what_left_and_who_can_read_it(tmp_path: Path) -> None:
    bundle = Bundle.load()
    quadratic = bundle.open_encrypted_tail()
    assert quadratic is not None
    tail, small = EncryptedTail(quadratic), small_key(tmp_path)
    worker = EncryptedWorker(lambda ciphertext, photos: tail.answer(ciphertext, photos, evaluation_keys()))
    who = SimpleNamespace(client_credentials=KEYS[1])
    with (
        serving(worker, bundle.identity) as endpoint,
        served(who, tmp_path, endpoint=endpoint, privacy="encrypted") as page,  # type: ignore[arg-type]
    ):
        landing = page.browser.get("/").text
        assert "What is sent is encrypted" in landing
        assert "Only a few numbers" not in landing
        assert "does not protect" not in landing
        answer = page.ask(MOLE).text
    assert small.evaluation.digest in worker.keys
    assert "256 numbers as a ciphertext that only this device can read" in answer
    assert "The server learned nothing of this photo" in answer
    assert "strongest attack" not in answer
    drawn = re.search(r'width="128" height="128" data-rgb="([^"]+)"[^>]*The ciphertext that was sent', answer)
    assert drawn is not None
    assert base64.b64decode(drawn[1])[::3] == worker.requests[-1].ciphertext[: 128**2]

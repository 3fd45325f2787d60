"""What the clear text of one session tells, to whoever listens, of another one of the same device."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest

from securesplit.channel.client import ClientChannel
from securesplit.channel.frames import Frame, FrameType
from securesplit.pki import keystore
from securesplit.pki.credentials import Credentials
from securesplit_testing.serving import IDENTITY, Running, now
from tests.transport.clients import CLIENT, CLIENTS, TIMEOUTS
from tests.transport.middleman import middleman

PHOTOS = 6


@pytest.mark.parametrize("ask", CLIENTS)
def test_ids_of_requests_tell_nothing_of_other_requests(worker: Running, ask: Any) -> None:
    """Counted, they told each worker how much others were asked, and joined sessions of a device that had moved."""
    heard: list[Frame] = []

    def listen(frame: Frame) -> list[bytes]:
        heard.append(frame)
        return []

    numbers = [float(n) for n in range(PHOTOS)]
    for _ in range(2):
        with middleman(worker.front.endpoint, None, listen, beside=True) as tap:
            assert ask([tap.endpoint], TIMEOUTS, numbers) == numbers
    refs = list(dict.fromkeys(frame.ref for frame in heard if frame.type is not FrameType.HELLO))  # retries keep theirs
    assert len(refs) == 2 * PHOTOS
    assert min(refs) > 1 << 32, "as rare as 12 in 2^32 where they are drawn"
    assert len({after - before for before, after in pairwise(refs)}) == len(refs) - 1
    assert len({frame.session for frame in heard}) == 4, "two handshakes and two sessions"


def in_common(credentials: Credentials) -> set[tuple[int, int]]:
    """Bytes by their places that five first frames have in common; random ones agree once in three million tries."""
    first, *others = [ClientChannel(credentials, IDENTITY, "127.0.0.1").hello() for _ in range(5)]
    return set(enumerate(first)).intersection(*(enumerate(other) for other in others))


def test_the_first_frame_says_the_same_of_every_device() -> None:
    _, other = keystore.ephemeral(now())
    assert in_common(CLIENT) == in_common(other)


def test_the_first_frame_says_the_same_of_every_process() -> None:
    """What a program drew once and showed in each of its handshakes would join all of them."""
    program = """
from securesplit.channel.client import ClientChannel
from securesplit.pki import keystore
from securesplit_testing.serving import IDENTITY, now
print(ClientChannel(keystore.ephemeral(now())[1], IDENTITY, "127.0.0.1").hello().hex())
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert in_common(CLIENT) <= set(enumerate(bytes.fromhex(told.stdout)))

"""A worker that computes on ciphertexts and can be told to fail: real channel, real tail, and keys of a few pieces."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from securesplit.channel import payload, tensor
from securesplit.channel.events import Request
from securesplit.channel.tensor import TensorSpec
from securesplit.device.encryption_key import EVALUATION_FILE, EncryptionKey, file_content
from securesplit.encrypted import messages
from securesplit.encrypted.messages import CHUNK_BYTES, Answer, ChunkAnswer, ChunkStatus, KeyChunk, Status
from securesplit.encrypted.tail import EncryptedTail
from securesplit.transport.inquiry import EncryptedRelease
from securesplit_testing.ciphertexts import random_tail
from securesplit_testing.encryption import device_key, evaluation_keys, give_key
from securesplit_testing.serving import IDENTITY
from tests.transport.posing import posing

PIECES = 6
FEATURES = np.random.default_rng(8).uniform(-1, 1, (3, 256))
_REQUEST, _CHUNK = (TensorSpec((size,), "uint8") for size in (messages.REQUEST_BYTES, messages.CHUNK_MESSAGE_BYTES))


def small_key(folder: Path, seed: int = 1) -> EncryptionKey:
    """The shared device's key, with `PIECES` pieces of other bytes in place of its 103 of evaluation keys."""
    key = give_key(folder)
    filler = np.random.default_rng(seed).bytes((PIECES - 1) * CHUNK_BYTES + 1000)
    (folder / EVALUATION_FILE).write_bytes(file_content(device_key().secret, (filler, b"")))
    return key


@functools.cache
def ciphertext(photos: int) -> bytes:
    """Of the first of `FEATURES`."""
    return device_key().encrypt(FEATURES[:photos])


def release(key: EncryptionKey, photos: int = 1) -> EncryptedRelease:
    return EncryptedRelease(key, photos, ciphertext(photos))


@functools.cache
def tail() -> EncryptedTail:
    return EncryptedTail(random_tail())


@functools.cache
def answer(photos: int) -> bytes:
    """The tail's, to `ciphertext`."""
    return tail().answer(ciphertext(photos), photos, evaluation_keys())


def logits(photos: int) -> list[float]:
    """What must come of `ciphertext`."""
    return [float(logit) for logit in tail().tail.plain(FEATURES[:photos])]


class Silence(Exception):  # noqa: N818  (what it does)
    """Nothing is answered."""


class EncryptedWorker:
    """Holds the keys that it was given, and answers requests under them.

    Attributes:
        keys: by digest, what it has.
        chunks: that came, in order.
        requests: that came.
        on_chunk: called with each chunk's number; may raise `Silence`, pause, or give an answer of its own.
        on_request: likewise.

    Args:
        compute: ciphertext and number of photos -> answer.
    """

    def __init__(self, compute: Callable[[bytes, int], bytes] | None = None) -> None:
        self._compute = compute or _known_answer
        self.keys: dict[bytes, bytes] = {}
        self.partial: dict[bytes, bytes] = {}
        self.chunks: list[KeyChunk] = []
        self.requests: list[messages.Request] = []
        self.on_chunk: Callable[[int], ChunkAnswer | bytes | None] = lambda _: None
        self.on_request: Callable[[int], Answer | bytes | None] = lambda _: None
        self.lock = threading.Lock()

    def reply(self, asked: Request) -> Any:
        """What it says, sealed by `posing`; an answer that is bytes already is sent as it is."""
        sent = payload.parse_request(asked.plaintext, [_REQUEST, _CHUNK])
        said = self._chunk(sent.release) if sent.spec == _CHUNK else self._request(sent.release)
        return asked.ref, said if isinstance(said, bytes) else tensor.encode(said.encode())

    def _chunk(self, message: np.ndarray) -> ChunkAnswer | bytes:
        chunk = KeyChunk.decode(message)
        self.chunks.append(chunk)
        if (own := self.on_chunk(len(self.chunks))) is not None:
            return own
        held = self.keys.get(chunk.digest, self.partial.get(chunk.digest, b""))
        if chunk.offset != len(held):
            return ChunkAnswer(ChunkStatus.RESTART, len(held))
        self.partial[chunk.digest] = held = held + chunk.data
        if len(held) == chunk.total:
            if messages.digest_of(held) != chunk.digest:
                return ChunkAnswer(ChunkStatus.REFUSED)
            self.keys[chunk.digest] = self.partial.pop(chunk.digest)
        return ChunkAnswer(ChunkStatus.GO_ON, len(held))

    def _request(self, message: np.ndarray) -> Answer | bytes:
        request = messages.Request.decode(message)
        self.requests.append(request)
        if (own := self.on_request(len(self.requests))) is not None:
            return own
        if request.digest not in self.keys:
            return Answer(Status.KEY_NEEDED)
        return Answer(Status.ANSWERED, 1.5, self._compute(request.ciphertext, request.photos))


def _known_answer(asked: bytes, photos: int) -> bytes:
    assert asked == ciphertext(photos)
    return answer(photos)


@contextlib.contextmanager
def serving(worker: EncryptedWorker, identity: bytes = IDENTITY) -> Iterator[str]:
    """Its endpoint, for clients with the credentials of `tests.transport.test_forged`."""

    def reply(asked: Request) -> Any:
        try:
            return worker.reply(asked)
        except Silence:
            return []

    with posing(reply, identity) as found:
        yield found.endpoint


def paused(seconds: float) -> Callable[[int], None]:
    """For `on_chunk`."""
    return lambda _number: time.sleep(seconds)

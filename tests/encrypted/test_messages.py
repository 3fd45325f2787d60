"""Messages of the preset ``encrypted``: nothing lost, one spelling each, and whatever is no message is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from securesplit.encrypted import messages
from securesplit.encrypted.device import answer_bytes, request_bytes
from securesplit.encrypted.messages import (
    ANSWER_BYTES,
    ANSWER_CIPHERTEXT_BYTES,
    CHUNK_ANSWER_BYTES,
    CHUNK_BYTES,
    CHUNK_MESSAGE_BYTES,
    CIPHERTEXT_BYTES,
    MAX_TAIL_MS,
    REQUEST_BYTES,
    Answer,
    ChunkAnswer,
    ChunkStatus,
    KeyBlob,
    KeyChunk,
    MessageError,
    Request,
    Status,
    digest_of,
)
from securesplit.encrypted.parameters import SHIPPED
from securesplit_testing.encryption import chunk_of

DIGESTS = st.binary(min_size=32, max_size=32)
NOISE = np.random.default_rng(5).bytes(CHUNK_BYTES)
FEW = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
U64 = (1 << 64) - 1


@st.composite
def chunks(draw: st.DrawFn) -> KeyChunk:
    """Chunks anywhere in blobs of any size, full ones and last ones."""
    offset = draw(st.integers(0, U64 // CHUNK_BYTES - 1)) * CHUNK_BYTES
    total = offset + draw(st.integers(1, 2 * CHUNK_BYTES))
    return KeyChunk(draw(DIGESTS), offset, total, NOISE[: min(CHUNK_BYTES, total - offset)])


def answers() -> st.SearchStrategy[Answer]:
    times = st.floats(0, MAX_TAIL_MS, width=32)
    done = st.builds(Answer, st.just(Status.ANSWERED), times, st.just(NOISE[:ANSWER_CIPHERTEXT_BYTES]))
    return done | st.builds(Answer, st.sampled_from([Status.KEY_NEEDED, Status.REFUSED]), times)


ANY: list[tuple[Any, int, st.SearchStrategy[Any]]] = [
    (Request, REQUEST_BYTES, st.builds(Request, DIGESTS, st.integers(1, 16), st.just(NOISE[:CIPHERTEXT_BYTES]))),
    (KeyChunk, CHUNK_MESSAGE_BYTES, chunks()),
    (Answer, ANSWER_BYTES, answers()),
    (ChunkAnswer, CHUNK_ANSWER_BYTES, st.builds(ChunkAnswer, st.sampled_from(ChunkStatus), st.integers(0, U64))),
]
EACH = pytest.mark.parametrize(("kind", "size", "some"), ANY, ids=[kind.__name__ for kind, _, _ in ANY])


@EACH
@FEW
@given(data=st.data())
def test_every_message_has_one_size_and_loses_nothing(
    kind: Any, size: int, some: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    message = data.draw(some)
    encoded = message.encode()
    assert (encoded.dtype, encoded.shape) == (np.uint8, (size,))
    assert kind.decode(encoded) == message
    np.testing.assert_array_equal(kind.decode(encoded).encode(), encoded)


@EACH
@FEW
@given(data=st.data())
def test_bytes_that_decode_have_one_spelling(
    kind: Any, size: int, some: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    """Whatever a head is overwritten with: it is refused, or encodes to the very same bytes."""
    encoded = data.draw(some).encode().copy()
    at = data.draw(st.integers(0, min(size, 56) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    try:
        decoded = kind.decode(encoded)
    except MessageError:
        return
    np.testing.assert_array_equal(decoded.encode(), encoded)


@EACH
def test_another_size_or_dtype_is_refused(kind: Any, size: int, some: st.SearchStrategy[Any]) -> None:
    for wrong in (0, 1, size - 1, size + 1):
        with pytest.raises(MessageError, match="not"):
            kind.decode(np.zeros(wrong, np.uint8))
    for shape, dtype in (((1, size), np.uint8), ((size,), np.int8)):
        with pytest.raises(MessageError, match="not"):
            kind.decode(np.zeros(shape, dtype))


def changed(message: Any, at: int, value: int) -> np.ndarray:
    data = message.encode().copy()
    data[at] = value
    return np.asarray(data)


REQUEST = Request(bytes(32), 1, NOISE[:CIPHERTEXT_BYTES])
CHUNK = KeyChunk(bytes(32), CHUNK_BYTES, CHUNK_BYTES + 5, NOISE[:5])
KEY_NEEDED = Answer(Status.KEY_NEEDED)
CHUNK_ANSWER = ChunkAnswer(ChunkStatus.GO_ON, 7)


@pytest.mark.parametrize("at", range(33, 40))
def test_an_unused_byte_of_a_request_is_refused(at: int) -> None:
    with pytest.raises(MessageError, match="unused"):
        Request.decode(changed(REQUEST, at, 1))


@pytest.mark.parametrize(
    ("kind", "message", "at"),
    [
        *((Answer, KEY_NEEDED, at) for at in (1, 2, 3, 8, ANSWER_BYTES - 1)),
        *((ChunkAnswer, CHUNK_ANSWER, at) for at in range(1, 8)),
        *((KeyChunk, CHUNK, at) for at in (53, CHUNK_MESSAGE_BYTES - 1)),
    ],
)
def test_an_unused_byte_elsewhere_is_refused(kind: Any, message: Any, at: int) -> None:
    with pytest.raises(MessageError, match="unused"):
        kind.decode(changed(message, at, 1))


@pytest.mark.parametrize("status", range(3, 256, 7))
def test_an_unknown_status_is_refused(status: int) -> None:
    with pytest.raises(MessageError, match="unknown status"):
        Answer.decode(changed(KEY_NEEDED, 0, status))
    if status >= len(ChunkStatus):
        with pytest.raises(MessageError, match="unknown status"):
            ChunkAnswer.decode(changed(CHUNK_ANSWER, 0, status))


@pytest.mark.parametrize("photos", [0, 17, 255])
def test_no_or_too_many_photos_are_refused(photos: int) -> None:
    with pytest.raises(MessageError, match="1 to 16"):
        Request.decode(changed(REQUEST, 32, photos))


@pytest.mark.parametrize(
    "make",
    [
        lambda: KeyChunk(bytes(32), 1, 10, bytes(9)),
        lambda: KeyChunk(bytes(32), CHUNK_BYTES, CHUNK_BYTES, b""),
        lambda: KeyChunk(bytes(32), 0, 0, b""),
        lambda: KeyChunk(bytes(32), 0, 10, bytes(9)),
        lambda: KeyChunk(bytes(31), 0, 10, bytes(10)),
        lambda: KeyChunk(bytes(32), -CHUNK_BYTES, 10, bytes(10)),
        lambda: KeyChunk(bytes(32), 0, U64 + 1, bytes(CHUNK_BYTES)),
        lambda: Request(bytes(33), 1, bytes(CIPHERTEXT_BYTES)),
        lambda: Request(bytes(32), 1, bytes(CIPHERTEXT_BYTES - 1)),
        lambda: Answer(Status.KEY_NEEDED, 0.0, bytes(ANSWER_CIPHERTEXT_BYTES)),
        lambda: Answer(Status.ANSWERED, 0.0, b""),
        lambda: Answer(Status.REFUSED, float("nan")),
        lambda: Answer(Status.REFUSED, float("inf")),
        lambda: Answer(Status.REFUSED, -1.0),
        lambda: ChunkAnswer(ChunkStatus.GO_ON, -1),
        lambda: ChunkAnswer(ChunkStatus.GO_ON, U64 + 1),
    ],
)
def test_fields_out_of_bounds_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(MessageError):
        make()


def test_a_time_that_is_no_number_is_refused() -> None:
    data = KEY_NEEDED.encode().copy()
    for time in (np.nan, np.inf, -1.0, 2e9):
        data[4:8] = np.frombuffer(np.float32(time).tobytes(), np.uint8)
        with pytest.raises(MessageError, match="so long"):
            Answer.decode(data)


@given(st.binary(min_size=0, max_size=3 * 50))
def test_the_chunks_of_a_blob_are_the_blob(blob: bytes) -> None:
    blob = blob * 10_000
    digest = digest_of(blob)
    assert digest == hashlib.sha256(blob).digest()
    received = b""
    while len(received) < len(blob):
        chunk = KeyChunk.decode(chunk_of(blob, digest, len(received)).encode())
        assert (chunk.offset, chunk.total, chunk.digest) == (len(received), len(blob), digest)
        received += chunk.data
        assert chunk.end == len(received)
    assert received == blob


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_keys_travel_as_one_blob(galois: bytes, relinearization: bytes) -> None:
    keys = KeyBlob(galois, relinearization)
    assert KeyBlob.decode(keys.encode()) == keys
    assert KeyBlob.decode(memoryview(keys.encode())) == keys


@pytest.mark.parametrize("blob", [b"", bytes(7), b"\x01" + bytes(7), b"\xff" * 8 + bytes(50), b"\xff" * 7])
def test_a_blob_that_is_too_short_for_what_it_claims_is_refused(blob: bytes) -> None:
    with pytest.raises(MessageError, match="too short"):
        KeyBlob.decode(blob)


def test_the_sizes_are_those_of_the_shipped_parameters() -> None:
    assert (request_bytes(SHIPPED), answer_bytes(SHIPPED)) == (CIPHERTEXT_BYTES, ANSWER_CIPHERTEXT_BYTES)
    assert (REQUEST_BYTES, CHUNK_MESSAGE_BYTES, ANSWER_BYTES, CHUNK_ANSWER_BYTES) == (149_608, 262_192, 77_832, 16)
    assert messages.MAX_PHOTOS == 16

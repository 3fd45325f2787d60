"""What device and worker say to each other for the preset ``encrypted``: bytes of fixed sizes, in both directions.

Every message is one uint8 tensor of the sealed channel. Integers are little-endian, unused bytes are zero, and one
message has one spelling. A request names its evaluation keys by digest; a worker that does not hold them answers
`Status.KEY_NEEDED`, upon which the device uploads them chunk by chunk, in order, and asks again.

Request: ``digest 32, photos u8, 7 unused, ciphertext``. Answer: ``status u8, 3 unused, tail_ms f32, ciphertext``. Chunk
of the keys: ``digest 32, offset u64, total u64, data``, and its answer: ``status u8, 7 unused, received u64``. The keys
as one blob: ``length of the Galois keys u64, Galois keys, relinearization key``; their digest is its SHA-256.

Nothing here trusts the other side, and nothing here looks into a ciphertext or a key.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from securesplit.encrypted.device import answer_bytes, least_key_bytes, request_bytes
from securesplit.encrypted.layout import Layout
from securesplit.encrypted.parameters import SHIPPED

Message: TypeAlias = NDArray[np.uint8]
"""``(size,)``, one of the four sizes below."""

PRESET = "encrypted"
DIGEST_BYTES = 32
CHUNK_BYTES = 256 << 10
MAX_KEY_BYTES = 32 << 20  # bytes; the shipped layout's keys take 27 MB
MAX_TAIL_MS = 1e9
_LAYOUT = Layout(slots=SHIPPED.slots)
MAX_PHOTOS = _LAYOUT.batch
LEAST_KEY_BYTES = least_key_bytes(SHIPPED, _LAYOUT)
"""21 MB; less is no device's keys, and would have a worker unpack and load them for next to nothing."""

_REQUEST = struct.Struct(f"<{DIGEST_BYTES}sB7s")
_CHUNK = struct.Struct(f"<{DIGEST_BYTES}sQQ")
_ANSWER = struct.Struct("<B3sf")
_CHUNK_ANSWER = struct.Struct("<B7sQ")
_GALOIS = struct.Struct("<Q")

CIPHERTEXT_BYTES = request_bytes(SHIPPED)
ANSWER_CIPHERTEXT_BYTES = answer_bytes(SHIPPED)
REQUEST_BYTES = _REQUEST.size + CIPHERTEXT_BYTES
CHUNK_MESSAGE_BYTES = _CHUNK.size + CHUNK_BYTES
ANSWER_BYTES = _ANSWER.size + ANSWER_CIPHERTEXT_BYTES
CHUNK_ANSWER_BYTES = _CHUNK_ANSWER.size


class MessageError(ValueError):
    """These bytes are no message of this kind."""


class Status(enum.IntEnum):
    """How a request was handled."""

    ANSWERED = 0
    KEY_NEEDED = 1
    REFUSED = 2
    """The keys or the ciphertext are not of these parameters."""


class ChunkStatus(enum.IntEnum):
    """How a chunk was handled."""

    GO_ON = 0
    RESTART = 1
    """Go on from `ChunkAnswer.received`, which is not where this chunk would have gone."""
    REFUSED = 2
    """The keys are larger than any that are taken, or smaller than any can be, or their digest is another one."""
    NO_ROOM = 3


@dataclass(frozen=True, slots=True)
class Request:
    """Photos in one ciphertext.

    Attributes:
        digest: of the evaluation keys, 32 bytes.
        photos: 1 to `MAX_PHOTOS`.
        ciphertext: `CIPHERTEXT_BYTES`.

    Raises:
        MessageError: a field is out of bounds.
    """

    digest: bytes
    photos: int
    ciphertext: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _require(len(self.digest) == DIGEST_BYTES, "a digest has 32 bytes")
        _require(1 <= self.photos <= MAX_PHOTOS, f"a ciphertext holds 1 to {MAX_PHOTOS} photos")
        _require(len(self.ciphertext) == CIPHERTEXT_BYTES, "the ciphertext has another size")

    def encode(self) -> Message:
        """Turn the request into ``(REQUEST_BYTES,)``."""
        return _array(_REQUEST.pack(self.digest, self.photos, bytes(7)), self.ciphertext)

    @classmethod
    def decode(cls, message: NDArray[Any]) -> Request:
        """Parse a request.

        Raises:
            MessageError: it is none.
        """
        data = _bytes(message, REQUEST_BYTES)
        digest, photos, unused = _REQUEST.unpack_from(data)
        _require_zero(unused)
        return cls(digest, photos, data[_REQUEST.size :])


@dataclass(frozen=True, slots=True)
class KeyChunk:
    """A piece of a device's evaluation keys.

    Attributes:
        digest: of the whole blob, 32 bytes.
        offset: of the piece, a multiple of `CHUNK_BYTES` below `total`.
        total: bytes of the blob; how many are taken is the worker's decision.
        data: `CHUNK_BYTES`, or what the last piece has.

    Raises:
        MessageError: a field is out of bounds.
    """

    digest: bytes
    offset: int
    total: int
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _require(len(self.digest) == DIGEST_BYTES, "a digest has 32 bytes")
        _require(0 <= self.offset < self.total < 1 << 64, "the chunk is not within the keys")
        _require(self.offset % CHUNK_BYTES == 0, f"a chunk begins at a multiple of {CHUNK_BYTES}")
        _require(len(self.data) == min(CHUNK_BYTES, self.total - self.offset), "the chunk has another size")

    @property
    def end(self) -> int:
        """The offset of what follows."""
        return self.offset + len(self.data)

    def encode(self) -> Message:
        """Turn the chunk into ``(CHUNK_MESSAGE_BYTES,)``."""
        head = _CHUNK.pack(self.digest, self.offset, self.total)
        return _array(head, self.data, bytes(CHUNK_BYTES - len(self.data)))

    @classmethod
    def decode(cls, message: NDArray[Any]) -> KeyChunk:
        """Parse a chunk.

        Raises:
            MessageError: it is none.
        """
        data = _bytes(message, CHUNK_MESSAGE_BYTES)
        digest, offset, total = _CHUNK.unpack_from(data)
        end = _CHUNK.size + max(0, min(CHUNK_BYTES, total - offset))
        _require_zero(data[end:])
        return cls(digest, offset, total, data[_CHUNK.size : end])


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request was handled, and what came of it.

    Attributes:
        status: how it was handled.
        tail_ms: what the tail took, 0 to `MAX_TAIL_MS` milliseconds.
        ciphertext: `ANSWER_CIPHERTEXT_BYTES` of an answered request, else empty.

    Raises:
        MessageError: a field is out of bounds.
    """

    status: Status
    tail_ms: float = 0.0
    ciphertext: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        size = ANSWER_CIPHERTEXT_BYTES if self.status is Status.ANSWERED else 0
        _require(0.0 <= self.tail_ms <= MAX_TAIL_MS, "no tail takes so long")
        _require(len(self.ciphertext) == size, "the ciphertext has another size")

    def encode(self) -> Message:
        """Turn the answer into ``(ANSWER_BYTES,)``."""
        head = _ANSWER.pack(self.status, bytes(3), self.tail_ms)
        return _array(head, self.ciphertext, bytes(ANSWER_CIPHERTEXT_BYTES - len(self.ciphertext)))

    @classmethod
    def decode(cls, message: NDArray[Any]) -> Answer:
        """Parse an answer.

        Raises:
            MessageError: it is none.
        """
        data = _bytes(message, ANSWER_BYTES)
        code, unused, tail_ms = _ANSWER.unpack_from(data)
        _require(code in tuple(Status), "an unknown status")
        _require_zero(unused)
        rest = data[_ANSWER.size :]
        if code == Status.ANSWERED:
            return cls(Status.ANSWERED, tail_ms, rest)
        _require_zero(rest)
        return cls(Status(code), tail_ms)


@dataclass(frozen=True, slots=True)
class ChunkAnswer:
    """How a chunk was handled.

    Attributes:
        status: how it was handled.
        received: bytes of these keys that the worker has now, from the first on: where the next chunk goes.

    Raises:
        MessageError: a field is out of bounds.
    """

    status: ChunkStatus
    received: int = 0

    def __post_init__(self) -> None:
        _require(0 <= self.received < 1 << 64, "no worker has received that much")

    def encode(self) -> Message:
        """Turn the answer into ``(CHUNK_ANSWER_BYTES,)``."""
        return _array(_CHUNK_ANSWER.pack(self.status, bytes(7), self.received))

    @classmethod
    def decode(cls, message: NDArray[Any]) -> ChunkAnswer:
        """Parse the answer to a chunk.

        Raises:
            MessageError: it is none.
        """
        code, unused, received = _CHUNK_ANSWER.unpack(_bytes(message, CHUNK_ANSWER_BYTES))
        _require(code in tuple(ChunkStatus), "an unknown status")
        _require_zero(unused)
        return cls(ChunkStatus(code), received)


@dataclass(frozen=True, slots=True)
class KeyBlob:
    """A device's evaluation keys as they travel.

    Attributes:
        galois: Galois keys, as SEAL serializes them.
        relinearization: likewise the relinearization key.
    """

    galois: bytes = field(repr=False)
    relinearization: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Turn the keys into one blob."""
        return b"".join((_GALOIS.pack(len(self.galois)), self.galois, self.relinearization))

    @classmethod
    def decode(cls, blob: bytes | memoryview) -> KeyBlob:
        """Take a blob apart.

        Raises:
            MessageError: it is too short for what it claims.
        """
        _require(len(blob) >= _GALOIS.size, "the keys are too short")
        end = _GALOIS.size + int(_GALOIS.unpack_from(blob)[0])
        _require(end <= len(blob), "the keys are too short")
        return cls(bytes(blob[_GALOIS.size : end]), bytes(blob[end:]))


def digest_of(blob: bytes) -> bytes:
    """The 32 bytes by which a request names its keys."""
    return hashlib.sha256(blob).digest()


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001  (reads as a sentence)
    if not holds:
        raise MessageError(otherwise)


def _require_zero(unused: bytes) -> None:
    _require(unused == bytes(len(unused)), "unused bytes are not zero")


def _bytes(message: NDArray[Any], size: int) -> bytes:
    _require(message.dtype == np.uint8 and message.shape == (size,), f"the message is not {size} bytes")
    return message.tobytes()


def _array(*parts: bytes) -> Message:
    return np.frombuffer(b"".join(parts), np.uint8)

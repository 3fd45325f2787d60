"""What a connection asks and what comes of it: a release in the open of the sealed channel, or an encrypted one.

No I/O: both connections send what `Inquiry.outgoing` gives and hand what comes back to `Inquiry.conclude`. A worker
that lacks the evaluation keys of an encrypted release says so (`KeyNeeded`); `KeyUpload` brings them, piece by piece,
as requests of their own, and the release is then asked about again, under another id: the first one has its answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from securesplit.channel import payload, tensor
from securesplit.channel.payload import OutgoingRequest
from securesplit.channel.tensor import TensorError, TensorSpec
from securesplit.encrypted import messages
from securesplit.encrypted.messages import ChunkStatus, MessageError, Status
from securesplit.encrypted.wire import WireError
from securesplit.errors import WorkerError
from securesplit.transport import answer
from securesplit.transport.answer import Answer
from securesplit.transport.retry_policy import MAX_WAIT_S, Retry, proven
from securesplit.transport.worker_session import Exchange

T_co = TypeVar("T_co", covariant=True)

UPLOAD_LOGGER: Final = "securesplit.upload"
"""Where an upload says, at level DEBUG, how many bytes of how many the worker has, or that it waits for room, with
`wait_s` among its arguments: it may take minutes."""
MAX_UPLOADS: Final = 3
"""Uploads of the same keys to one endpoint for one request; behind a balancer each may have gone to another worker."""
MOST_PIECES: Final = MAX_UPLOADS * messages.MAX_KEY_BYTES // messages.CHUNK_BYTES
"""Pieces of keys that one request sends to one endpoint before that is given up, whatever it says of them: 0.2 GB, and
at most one upload more."""
MOST_AT_ONCE: Final = 8
"""Pieces that are under way together, where a line is quick and long: two megabytes."""
_SHARE = 0.25  # of a try's time that they may take together, by the pace of those before
_NO_ROOM_S = 0.5  # for a worker that does not say how long
_SPARE_CHUNKS = 16  # beyond twice what the keys have, for workers that restart in the middle
_ANSWER = TensorSpec((messages.ANSWER_BYTES,), "uint8")
_CHUNK_ANSWER = TensorSpec((messages.CHUNK_ANSWER_BYTES,), "uint8")
_upload_log = logging.getLogger(UPLOAD_LOGGER)
_VERSIONS = "compare the versions of both sides, or ask another worker"
_MEMORY = "give the worker more --evaluation-key-memory, or ask another one"


class EvaluationKeys(Protocol):
    """What a worker computes with, in pieces (`securesplit.device.encryption_key.EvaluationKeyFile`)."""

    @property
    def digest(self) -> bytes:
        """By which a request names them, 32 bytes."""

    def check(self) -> bytes:
        """The digest of keys that are whole; takes a while."""

    def chunk(self, offset: int) -> messages.KeyChunk:
        """The piece that begins at `offset`."""


class Key(Protocol):
    """The device's (`securesplit.device.encryption_key.EncryptionKey`)."""

    @property
    def evaluation(self) -> EvaluationKeys:
        """Its evaluation keys."""

    def decrypt(self, answer: bytes, photos: int) -> NDArray[np.float64]:
        """An answer -> ``(photos,)`` logits.

        Raises:
            WireError: it makes no sense.
            CredentialError: this device's files are not as they should be.
        """


@dataclass(frozen=True)
class EncryptedRelease:
    """Photos whose releases share one ciphertext.

    Attributes:
        key: under which it is encrypted.
        photos: how many, 1 to `messages.MAX_PHOTOS`.
        ciphertext: `messages.CIPHERTEXT_BYTES`.
    """

    key: Key = field(repr=False)
    photos: int
    ciphertext: bytes = field(repr=False)


class KeyNeeded(Exception):  # noqa: N818  (an instruction, no error)
    """The worker lacks these evaluation keys.

    Args:
        keys: which.
    """

    def __init__(self, keys: EvaluationKeys) -> None:
        super().__init__("the worker lacks this device's evaluation keys")
        self.keys = keys


class Inquiry(Protocol[T_co]):
    """A question to a worker.

    Attributes:
        is_slow: concluding it takes milliseconds, which an event loop has not.
    """

    is_slow: bool

    def outgoing(self) -> OutgoingRequest:
        """What the next try sends."""

    def conclude(self, exchange: Exchange, payload_bytes: int, took_s: float) -> T_co:
        """What a worker's reply says; arguments as `answer.conclude`.

        Raises:
            Retry: nothing that can be an answer.
            KeyNeeded: keys must be uploaded first.
        """


class PlainInquiry:
    """About one release.

    Args:
        release: a preset's shape and integer dtype.
    """

    is_slow = False

    def __init__(self, release: NDArray[Any]) -> None:
        self._request = OutgoingRequest(release)

    def outgoing(self) -> OutgoingRequest:
        """The same each time."""
        return self._request

    def conclude(self, exchange: Exchange, payload_bytes: int, took_s: float) -> Answer:
        """The answer; raises Retry where it cannot be one."""
        return answer.conclude(exchange, payload_bytes, took_s)


class EncryptedInquiry:
    """About photos in one ciphertext.

    Args:
        release: the ciphertext, and what decrypts its answer.
    """

    is_slow = True

    def __init__(self, release: EncryptedRelease) -> None:
        self._release = release

    def outgoing(self) -> OutgoingRequest:
        """The ciphertext, under the name that its evaluation keys have now."""
        asked = self._release
        request = messages.Request(asked.key.evaluation.digest, asked.photos, asked.ciphertext)
        return OutgoingRequest(request.encode())

    def conclude(self, exchange: Exchange, payload_bytes: int, took_s: float) -> list[Answer]:
        """An answer for each photo, with its share of the bytes that were sent; their sum is exact.

        Raises:
            Retry: the worker refuses, or its answer makes no sense.
            KeyNeeded: it lacks the evaluation keys.
        """
        try:
            said = messages.Answer.decode(tensor.decode(exchange.plaintext, [_ANSWER]))
            if said.status is Status.KEY_NEEDED:
                raise KeyNeeded(self._release.key.evaluation)
            if said.status is Status.REFUSED:
                raise WorkerError("the worker refuses this device's key or ciphertext", hint=_VERSIONS)
            logits = self._release.key.decrypt(said.ciphertext, self._release.photos).tolist()
            answer.check_tail_ms(said.tail_ms, took_s)
        except (TensorError, MessageError, WireError) as error:
            raise proven(payload.senseless(str(error))) from None
        except WorkerError as error:
            raise proven(error) from None
        each, rest = divmod(payload_bytes, len(logits))
        return [
            Answer(logit, said.tail_ms, took_s * 1_000, each + (n < rest), exchange.frame)
            for n, logit in enumerate(logits)
        ]


class KeyUpload:
    """The way of a device's evaluation keys to one worker, which says how much of them it has.

    Piece by piece a line of 10 Mbit/s and 0.6 s of delay takes two minutes, three times as long as it must; so several
    are under way together, as many as that pays for.

    Args:
        keys: to upload; they are checked, which takes a while.
        try_s: how long the worker may take for an answer.
    """

    def __init__(self, keys: EvaluationKeys, try_s: float) -> None:
        self._keys, self._try_s = keys, try_s
        self._digest = keys.check()
        self._total = keys.chunk(0).total
        self._received = 0
        self._at_once = 1
        self._left = 2 * ceil(self._total / messages.CHUNK_BYTES) + _SPARE_CHUNKS

    def next_chunks(self) -> list[OutgoingRequest]:
        """What to send next, together; nothing once the worker has all.

        Raises:
            Retry: the keys have changed, or the worker takes piece after piece and never has them.
        """
        end = min(self._total, self._received + self._at_once * messages.CHUNK_BYTES)
        return [self._outgoing(offset) for offset in range(self._received, end, messages.CHUNK_BYTES)]

    def _outgoing(self, offset: int) -> OutgoingRequest:
        chunk = self._keys.chunk(offset)
        if chunk.digest != self._digest:
            raise Retry("the evaluation keys were drawn again meanwhile", at_once=True)
        if not self._left:
            raise proven(payload.senseless("it takes the evaluation keys again and again"))
        self._left -= 1
        return OutgoingRequest(chunk.encode())

    def take(self, plaintexts: Sequence[bytes], took_s: float) -> None:
        """Take the answers to `next_chunks`, which came within this time.

        Raises:
            Retry: the worker refuses the keys, has no room for them now, or makes no sense.
        """
        for plaintext in plaintexts:
            self._received = self._read(plaintext, took_s)
        pays = int(_SHARE * self._try_s * len(plaintexts) / max(took_s, 1e-3))
        self._at_once = max(1, min(2 * self._at_once, MOST_AT_ONCE, pays))
        what = {"received": self._received, "total": self._total}
        _upload_log.debug("the worker has %(received)d of %(total)d bytes of evaluation keys", what)

    def _read(self, plaintext: bytes, took_s: float) -> int:
        """How much the worker has by one answer."""
        try:
            said = messages.ChunkAnswer.decode(tensor.decode(plaintext, [_CHUNK_ANSWER]))
        except (TensorError, MessageError) as error:
            raise proven(payload.senseless(str(error))) from None
        if said.status is ChunkStatus.NO_ROOM:
            wait_s = min(said.received / 1e3, MAX_WAIT_S) or _NO_ROOM_S
            why = "the worker has no room for evaluation keys now"
            _upload_log.debug("%(why)s, and is asked again in %(wait_s)g s", {"why": why, "wait_s": wait_s})
            raise Retry(why, after_s=wait_s, elsewhere=True, queued_s=took_s)
        if said.status is ChunkStatus.REFUSED:
            raise proven(WorkerError("the worker refuses this device's evaluation keys", hint=_VERSIONS))
        if said.received != self._total and (said.received > self._total or said.received % messages.CHUNK_BYTES):
            raise proven(payload.senseless(f"it has {said.received} bytes of {self._total}"))
        return said.received


def check_uploads(uploads: int, pieces: int) -> None:
    """End the tries at an endpoint that asks for the keys every time.

    Args:
        uploads: of one request that it took to the end.
        pieces: that it was sent for that request, of these and others.

    Raises:
        Retry: it has had enough.
    """
    if uploads == MAX_UPLOADS:
        raise proven(WorkerError(f"the worker lost this device's evaluation keys {MAX_UPLOADS} times", hint=_MEMORY))
    if pieces >= MOST_PIECES:
        raise proven(WorkerError("the worker takes this device's evaluation keys and never keeps them", hint=_MEMORY))

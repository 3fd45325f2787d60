"""The way of a device's evaluation keys to a worker that lacks them: piece by piece, as requests of their own.

No I/O: both connections send what `KeyUpload.next_chunks` gives, together, and hand what comes back to
`KeyUpload.take`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import ceil, inf
from typing import Final, Protocol

from securesplit.channel import payload, tensor
from securesplit.channel.payload import OutgoingRequest
from securesplit.channel.tensor import TensorError, TensorSpec
from securesplit.encrypted import messages
from securesplit.encrypted.messages import ChunkStatus, MessageError
from securesplit.errors import WorkerError
from securesplit.i18n import gettext_noop
from securesplit.transport.retry_policy import MAX_WAIT_S, Retry, proven

UPLOAD_LOGGER: Final = "securesplit.upload"
"""Where an upload says, at level DEBUG, how many bytes of how many the worker has, or that it waits for room, with
`wait_s` among its arguments: it may take minutes."""
MAX_UPLOADS: Final = 3
"""Uploads of the same keys to one endpoint for one request; behind a balancer each may have gone to another worker."""
MOST_PIECES: Final = MAX_UPLOADS * messages.MAX_KEY_BYTES // messages.CHUNK_BYTES
"""Pieces of keys that one request sends to one endpoint before that is given up, whatever it says of them: 0.1 GB, and
at most one upload more."""
FORGETFUL_S: Final = 600.0
"""So long an endpoint gets no keys that had them `MAX_UPLOADS` times, or `MOST_PIECES`, and answered no request since;
then once more."""
MOST_AT_ONCE: Final = 8
"""Pieces that are under way together, where a line is quick and long: two megabytes."""
_SHARE = 0.25  # of a try's time that they may take together, by the pace of those before
_NO_ROOM_S = 0.5  # for a worker that does not say how long
_SPARE_CHUNKS = 16  # beyond twice what the keys have, for workers that restart in the middle
_CHUNK_ANSWER = TensorSpec((messages.CHUNK_ANSWER_BYTES,), "uint8")
_upload_log = logging.getLogger(UPLOAD_LOGGER)
VERSIONS: Final = "compare the versions of both sides, or ask another worker"
"""The hint where a worker refuses what it should take."""
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
            why = gettext_noop("the worker has no room for evaluation keys now")
            _upload_log.debug("%(why)s, and is asked again in %(wait_s)g s", {"why": why, "wait_s": wait_s})
            raise Retry(why, after_s=wait_s, elsewhere=True, queued_s=took_s)
        if said.status is ChunkStatus.REFUSED:
            raise proven(WorkerError("the worker refuses this device's evaluation keys", hint=VERSIONS))
        if said.received != self._total and (said.received > self._total or said.received % messages.CHUNK_BYTES):
            raise proven(payload.senseless(f"it has {said.received:,} bytes of {self._total:,}"))
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


class FruitlessUploads:
    """What one endpoint took of evaluation keys, over all requests of a connection, since it last answered one.

    A worker that asks for them with every photo of an archive would else be sent 0.1 GB for each.

    Args:
        clock: seconds, rising.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._uploads, self._pieces, self._last_s = clock, 0, 0, -inf

    def check(self) -> None:
        """Raise Retry, which gives the endpoint up, where it had too much lately."""
        had_enough = self._uploads >= MAX_UPLOADS or self._pieces >= MOST_PIECES
        if had_enough and self._clock() - self._last_s < FORGETFUL_S:
            raise proven(
                WorkerError(
                    "the worker asked for this device's evaluation keys again and again, and gets none for ten minutes",
                    hint=_MEMORY,
                )
            )

    def took(self, pieces: int) -> None:
        """It took so many pieces; that it has no room for them is no offence."""
        self._pieces += pieces
        self._last_s = self._clock()

    def ended(self) -> None:
        """It says that it has all of them."""
        self._uploads += 1

    def answered(self) -> None:
        """It has answered a request."""
        self._uploads = self._pieces = 0

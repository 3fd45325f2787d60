"""Front <-> tail: a head of words and raw numbers.

Front to tail: how to build the engine (JSON), then batches, ``NUMBER DTYPE SHAPE PRESET``, and ciphertexts,
``encrypted NUMBER PHOTOS OFFSET LENGTH DIGEST``: its keys are where that says in the arena that both have
(``key_arena.py``). Tail to front: ``ready`` with the layers of its confinement, ``done NUMBER MILLISECONDS`` with the
logits, ``answered NUMBER MILLISECONDS`` with a ciphertext, ``refused NUMBER WHY`` (a ciphertext or its keys are none),
``failed NUMBER WHY`` (this batch raised), and ``broken`` with the cause in JSON (the engine cannot be built). What came
from a client was checked before; what a tail says is checked by the front.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.encrypted.messages import ANSWER_CIPHERTEXT_BYTES, MAX_TAIL_MS
from securesplit.errors import SecureSplitError
from securesplit.worker.ipc.pipe import Message, PipeError

READY, DONE, FAILED, BROKEN = "ready", "done", "failed", "broken"
ANSWERED, REFUSED = "answered", "refused"
_ENCRYPTED = "encrypted"


@dataclass(frozen=True, slots=True)
class Batch:
    r"""Work for a tail.

    Attributes:
        number: counts the batches of a pool.
        preset: name of the releases' preset.
        releases: (n, \*shape) integers.
    """

    number: int
    preset: str
    releases: NDArray[Any]

    def encode(self) -> Message:
        """Turn the batch into a message."""
        shape = "x".join(map(str, self.releases.shape))
        return f"{self.number} {self.releases.dtype.str} {shape} {self.preset}".encode(), self.releases.tobytes()

    @classmethod
    def decode(cls, message: Message) -> Batch:
        """Parse a message."""
        number, dtype, shape, preset = message[0].decode().split(" ", 3)
        releases = np.frombuffer(message[1], dtype=dtype).reshape([int(length) for length in shape.split("x")])
        return cls(int(number), preset, releases)


@dataclass(frozen=True, slots=True)
class EncryptedBatch:
    """A ciphertext for a tail.

    Attributes:
        number: counts the batches of a pool.
        photos: how many it holds.
        offset: where its keys begin in the arena.
        length: of its keys, in bytes.
        digest: of its keys, by which a tail knows them again.
        ciphertext: as the client sent it.
    """

    number: int
    photos: int
    offset: int
    length: int
    digest: bytes
    ciphertext: bytes = field(repr=False)

    def encode(self) -> Message:
        """Turn the batch into a message."""
        words = (_ENCRYPTED, self.number, self.photos, self.offset, self.length, self.digest.hex())
        return " ".join(map(str, words)).encode(), self.ciphertext

    @classmethod
    def decode(cls, message: Message) -> EncryptedBatch:
        """Parse a message."""
        *numbers, digest = message[0].decode().split(" ")[1:]
        number, photos, offset, length = map(int, numbers)
        return cls(number, photos, offset, length, bytes.fromhex(digest), message[1])


def decode_batch(message: Message) -> Batch | EncryptedBatch:
    """Parse work of either kind."""
    is_encrypted = message[0].startswith(_ENCRYPTED.encode())
    return EncryptedBatch.decode(message) if is_encrypted else Batch.decode(message)


@dataclass(frozen=True, slots=True)
class Report:
    """What a tail reports to the front.

    Attributes:
        event: READY, DONE, ANSWERED, REFUSED, FAILED or BROKEN.
        batch: number of the batch that is done, answered, refused or failed.
        logits: (n,) float32, where done.
        milliseconds: how long the tail computed.
        reason: why it failed, is refused or broken; where ready, the layers of its confinement, separated by spaces.
        error: name of the error's class, where broken.
        hint: what helps, where broken.
        ciphertext: the answer, where answered.
    """

    event: str
    batch: int = -1
    logits: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    milliseconds: float = 0.0
    reason: str = ""
    error: str = ""
    hint: str = ""
    ciphertext: bytes = field(default=b"", repr=False)

    @classmethod
    def broken(cls, error: Exception) -> Report:
        """Why an engine cannot be built, or not here."""
        hint = error.hint if isinstance(error, SecureSplitError) else ""
        return cls(BROKEN, reason=str(error), error=type(error).__name__, hint=hint)

    def encode(self) -> Message:
        """Turn the report into a message."""
        if self.event == DONE:
            return f"{DONE} {self.batch} {self.milliseconds}".encode(), self.logits.tobytes()
        if self.event == ANSWERED:
            return f"{ANSWERED} {self.batch} {self.milliseconds}".encode(), self.ciphertext
        if self.event in (FAILED, REFUSED):
            return f"{self.event} {self.batch} {self.reason}".encode(), b""
        broken = self.event == BROKEN
        return self.event.encode(), (
            json.dumps([self.error, self.reason, self.hint], allow_nan=False) if broken else self.reason
        ).encode()

    @classmethod
    def decode(cls, message: Message) -> Report:
        """Parse a message.

        Raises:
            PipeError: it is not a report.
        """
        try:
            match message[0].decode().split(" ", 2):
                case ["ready"]:
                    return cls(READY, reason=message[1].decode())
                case ["done", number, milliseconds]:
                    logits = np.frombuffer(message[1], np.float32)
                    if 0.0 <= float(milliseconds) < inf and np.isfinite(logits).all():
                        return cls(DONE, int(number), logits, float(milliseconds))
                case ["answered", number, milliseconds] if len(message[1]) == ANSWER_CIPHERTEXT_BYTES:
                    if 0.0 <= float(milliseconds) <= MAX_TAIL_MS:
                        return cls(ANSWERED, int(number), milliseconds=float(milliseconds), ciphertext=message[1])
                case ["failed" | "refused" as event, number, reason]:
                    return cls(event, int(number), reason=reason)
                case ["broken"]:
                    error, reason, hint = map(str, json.loads(message[1]))
                    return cls(BROKEN, error=error, reason=reason, hint=hint)
        except (ValueError, TypeError, RecursionError):
            pass
        raise PipeError("a tail's message is not a report")

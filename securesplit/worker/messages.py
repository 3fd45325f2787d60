"""Front <-> tail: a JSON head and raw numbers.

Front to tail: how to build the engine, then batches. Tail to front: ready, done, failed (this batch raised), broken
(the engine cannot be built). What came from a client was checked before; what a tail says is checked by the front.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from securesplit.transport.pipe import Message, PipeError

READY, DONE, FAILED, BROKEN = "ready", "done", "failed", "broken"


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
        head = {
            "batch": self.number,
            "preset": self.preset,
            "shape": self.releases.shape,
            "dtype": self.releases.dtype.str,
        }
        return json.dumps(head).encode(), self.releases.tobytes()

    @classmethod
    def decode(cls, message: Message) -> Batch:
        """Parse a message."""
        head = json.loads(message[0])
        releases = np.frombuffer(message[1], dtype=head["dtype"]).reshape(head["shape"])
        return cls(head["batch"], head["preset"], releases)


@dataclass(frozen=True, slots=True)
class Report:
    """News of a tail.

    Attributes:
        event: READY, DONE, FAILED or BROKEN.
        batch: number of the batch that is done or failed.
        logits: (n,) float32, where done.
        milliseconds: how long the tail computed.
        reason: why it failed or is broken.
        error: name of the error's class, where broken.
        hint: what helps, where broken.
    """

    event: str
    batch: int = -1
    logits: NDArray[np.float32] | None = None
    milliseconds: float = 0.0
    reason: str = ""
    error: str = ""
    hint: str = ""

    def encode(self) -> Message:
        """Turn the report into a message."""
        head = {
            "event": self.event,
            "batch": self.batch,
            "ms": self.milliseconds,
            "reason": self.reason,
            "error": self.error,
            "hint": self.hint,
        }
        numbers = b"" if self.logits is None else np.asarray(self.logits, np.float32).tobytes()
        return json.dumps(head).encode(), numbers

    @classmethod
    def decode(cls, message: Message) -> Report:
        """Parse a message.

        Raises:
            PipeError: it is no report.
        """
        try:
            head = json.loads(message[0])
            logits = np.frombuffer(message[1], np.float32) if head["event"] == DONE else None
            numbers = int(head["batch"]), logits, float(head["ms"])
            return cls(str(head["event"]), *numbers, str(head["reason"]), str(head["error"]), str(head["hint"]))
        except (ValueError, TypeError, LookupError):
            raise PipeError("a tail's message is no report") from None

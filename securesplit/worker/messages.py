"""Front <-> tail, on ipc: a JSON header and raw numbers.

Front to tail: a batch. Tail to front: ready, done, failed (this batch raised), broken (the engine cannot be built).
Both ends are one program of one user, so nothing here is hardened; what came from a client was checked before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    def encode(self) -> list[bytes]:
        """Turn the batch into message parts."""
        head = {
            "batch": self.number,
            "preset": self.preset,
            "shape": self.releases.shape,
            "dtype": self.releases.dtype.str,
        }
        return [json.dumps(head).encode(), self.releases.tobytes()]

    @classmethod
    def decode(cls, parts: list[bytes]) -> Batch:
        """Parse message parts."""
        head = json.loads(parts[0])
        releases = np.frombuffer(parts[1], dtype=head["dtype"]).reshape(head["shape"])
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
        error: name of the error's class.
    """

    event: str
    batch: int = -1
    logits: NDArray[np.float32] | None = None
    milliseconds: float = 0.0
    reason: str = ""
    error: str = ""

    def encode(self) -> list[bytes]:
        """Turn the report into message parts."""
        head = {
            "event": self.event,
            "batch": self.batch,
            "ms": self.milliseconds,
            "reason": self.reason,
            "error": self.error,
        }
        numbers = b"" if self.logits is None else np.asarray(self.logits, np.float32).tobytes()
        return [json.dumps(head).encode(), numbers]

    @classmethod
    def decode(cls, parts: list[bytes]) -> Report:
        """Parse message parts."""
        head = json.loads(parts[0])
        logits = np.frombuffer(parts[1], np.float32) if head["event"] == DONE else None
        return cls(head["event"], head["batch"], logits, head["ms"], head["reason"], head["error"])

"""What the pool asks of an engine for tails: start one, wherever that is, and talk to it.

Local processes (``process.py``) and actors of a Ray cluster (``ray_tails.py``) both are that. A tail's life and
messages are the same in each: settings, batches, reports (``ipc/messages.py``), and an end that its pipe shows.
"""

from __future__ import annotations

from typing import Protocol

from securesplit.worker.ipc.messages import Batch, EncryptedBatch, Report


class Tail(Protocol):
    """A started tail.

    Attributes:
        name: for people; unique in its pool.
    """

    name: str

    @property
    def pid(self) -> int:
        """The process of this machine that computes, or that passes messages on."""

    @property
    def readable(self) -> int:
        """A descriptor that becomes readable with a report, and when the tail is gone (for a `Poller`)."""

    @property
    def must_write(self) -> bool:
        """Whether the tail has not taken all of what was sent."""

    def send(self, batch: Batch | EncryptedBatch) -> None:
        """Hand over a batch, without waiting; where the tail is gone `receive` raises."""

    def flush(self) -> None:
        """Hand over more of what was sent."""

    def receive(self) -> list[Report]:
        """What it has reported since the last call.

        Raises:
            PipeError: it is gone, or sends something that is not a report.
        """

    def resident_bytes(self) -> int:
        """The resident memory of that process; 0 where it has ended, or the system does not tell. From any thread."""

    def exit_cause(self) -> str:
        """What ended a tail that died: the name of a signal, or an exit code; empty where that is not known."""

    def kill(self) -> None:
        """End the tail now, hung or not; `is_gone` tells when that is done."""

    def is_gone(self) -> bool:
        """Whether a killed tail has ended, as far as this machine can tell; never waits."""

    def wait(self) -> None:
        """Wait until a killed tail has ended, as far as this machine can tell."""


class Tails(Protocol):
    """Starts tails."""

    def start(self, name: str, core: int | None) -> Tail:
        """Start a tail.

        Args:
            name: for people; unique in its pool.
            core: the only one that it may run on; None: any.

        Raises:
            OSError: none can be started now: no descriptor, process or memory is left.
        """

    def close(self) -> None:
        """Every tail was killed; end what served them all."""

"""Whoever stands between a device and a worker: it holds no key, reads every frame, and answers what it likes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import zmq

from securesplit.channel import frames
from securesplit.channel.frames import Code, ErrorBody, Frame, FrameType, Reason

Forge = Callable[[Frame], list[bytes]]
"""What is answered in a worker's place to a frame of the device; [] is silence."""


def err(
    code: Code,
    frame: Frame,
    *,
    retry_after_ms: int = 0,
    reason: Reason = Reason.NONE,
    detail: bytes = b"",
    ref: int | None = None,
    session: bytes | None = None,
) -> list[bytes]:
    """An ERR to a frame, for its ref and session unless others are wanted."""
    body = ErrorBody(retry_after_ms, reason, detail).encode()
    ref, session = frame.ref if ref is None else ref, frame.session if session is None else session
    return [frames.encode(Frame(FrameType.ERR, code, ref=ref, session=session, body=body))]


class Middleman:
    """Listens as a worker does; forges answers to frames of one kind, and relays the others where there is a worker.

    Args:
        worker: whom it relays to; None: what is not forged has no answer.
        stage: the type of the device's frames that are forged; None: all.
        forge: makes the answers.
        times: how many are forged; None: all.
        beside: what is forged is relayed too, so that the true answer comes after the forged one.

    Attributes:
        endpoint: where it listens.
        forged: how many were.
        seen: frames of the device.
    """

    def __init__(
        self, worker: str | None, stage: FrameType | None, forge: Forge, times: int | None, *, beside: bool
    ) -> None:
        self._worker, self._stage, self._forge, self._times = worker, stage, forge, times
        self._beside = beside
        self.forged = self.seen = 0
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._front.linger = 0
        self.endpoint = f"tcp://127.0.0.1:{self._front.bind_to_random_port('tcp://127.0.0.1')}"
        self._behind: dict[bytes, zmq.Socket[bytes]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many of the device's connections it has relayed."""
        return len(self._behind)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _run(self) -> None:
        while not self._stop.is_set():
            poller = zmq.Poller()
            for socket in (self._front, *self._behind.values()):
                poller.register(socket, zmq.POLLIN)
            ready = dict(poller.poll(20))
            if self._front in ready:
                route, _, data = self._front.recv_multipart()
                self._take(route, data)
            for route, behind in self._behind.items():
                if behind in ready:
                    self._front.send_multipart([route, b"", behind.recv_multipart()[-1]])

    def _take(self, route: bytes, data: bytes) -> None:
        self.seen += 1
        frame = frames.decode(data)
        if self._stage in (None, frame.type) and (self._times is None or self.forged < self._times):
            self.forged += 1
            for answer in self._forge(frame):
                self._front.send_multipart([route, b"", answer])
            if not self._beside:
                return
        if self._worker is not None:
            self._relay(route).send_multipart([b"", data])

    def _relay(self, route: bytes) -> zmq.Socket[bytes]:
        """A connection to the worker for each of the device's, as a proxy has."""
        if route not in self._behind:
            self._behind[route] = self._context.socket(zmq.DEALER)
            self._behind[route].connect(self._worker)
        return self._behind[route]


@contextlib.contextmanager
def middleman(
    worker: str | None, stage: FrameType | None, forge: Forge, *, times: int | None = None, beside: bool = False
) -> Iterator[Middleman]:
    """Listen until the end of the with statement."""
    made = Middleman(worker, stage, forge, times, beside=beside)
    try:
        yield made
    finally:
        made.close()

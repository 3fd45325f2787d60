"""TCP on one side, frames on the other: so that foreign TLS programs can talk to our channel.

``python -m tests.interop.adapter PORT`` serves until it is ended, for testssl.sh and the like by hand.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from securesplit.channel import frames
from securesplit.channel.events import Drop, Request, Send
from securesplit.channel.frames import Code, ErrorBody, Frame, FrameType, Reason
from securesplit.channel.server import ServerChannel
from securesplit_testing.channels import BUNDLE, World

QUIET_S = 0.15  # a flight is over when nothing came for so long
HANDSHAKE_ID = b"adapter-adapter-"
Seal = Callable[[Frame], Frame]


def read_flight(link: socket.socket, wait_s: float = 5.0) -> bytes:
    """What a peer sends until it falls silent; empty where it closes."""
    link.settimeout(wait_s)
    flight = b""
    try:
        while part := link.recv(65536):
            flight += part
            link.settimeout(QUIET_S)
    except (TimeoutError, ConnectionResetError):
        pass
    return flight


@dataclass
class Outcome:
    """What became of one TCP connection.

    Attributes:
        events: of the server's channel, in order.
        reply: the sealed answer to the first request, where it came to that.
    """

    events: list[object] = field(default_factory=list)
    reply: Frame | None = None

    @property
    def reason(self) -> str:
        """Why the peer was refused; empty where it was not."""
        last = self.events[-1] if self.events else Drop("silent")
        return last.reason if isinstance(last, Send | Drop) else ""


class Adapter:
    """Serves TLS clients on a loopback port from a real ServerChannel.

    Args:
        channel: the server's.
        seal: makes the sealed request that goes with a client's second flight; the frame that it gets has the TLS
            bytes as its body. Without it the bytes of the request are noise, which the server refuses at last.
        port: of the loopback interface; 0 for any.
    """

    def __init__(self, channel: ServerChannel, seal: Seal | None = None, *, port: int = 0) -> None:
        self._channel, self._seal = channel, seal
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        self.outcomes: list[Outcome] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def outcome(self, wait_s: float = 10.0) -> Outcome:
        """Of the first connection, once it is over."""
        deadline = time.monotonic() + wait_s
        while not self.outcomes and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.outcomes[0]

    def _start(self, action: Callable[[], None]) -> None:
        thread = threading.Thread(target=action)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            self._start(lambda link=link, peer=b"%d" % number: self._serve(link, peer))  # type: ignore[misc]

    def _serve(self, link: socket.socket, peer: bytes) -> None:
        outcome = Outcome()
        with link:
            self._converse(link, peer, outcome)
        self.outcomes.append(outcome)

    def _converse(self, link: socket.socket, peer: bytes, outcome: Outcome) -> None:
        hello = Frame(FrameType.HELLO, session=HANDSHAKE_ID, body=BUNDLE + read_flight(link))
        if not self._deliver(link, peer, hello, outcome):
            return
        if flight := read_flight(link):
            fin = Frame(FrameType.FIN, ref=1, session=HANDSHAKE_ID, body=len(flight).to_bytes(2, "big") + flight)
            fin = self._seal(fin) if self._seal else Frame(fin.type, fin.code, 1, 1, fin.session, fin.body + bytes(16))
            self._deliver(link, peer, fin, outcome)

    def _deliver(self, link: socket.socket, peer: bytes, frame: Frame, outcome: Outcome) -> bool:
        """Hand a frame to the server and its TLS bytes to the client; False where that was the end."""
        with self._lock:
            event = self._channel.receive(peer, frames.encode(frame))
            outcome.events.append(event)
            if isinstance(event, Request):
                sealed = self._channel.seal_reply(event.session, event.ref, b"answer")
                outcome.reply = frames.decode(sealed)
        answer = frames.decode(event.frame) if isinstance(event, Send) else None
        tls = b""
        if answer is not None and answer.type is FrameType.HREPLY:
            tls = answer.body
        elif answer is not None and answer.code is Code.TLS:
            body = ErrorBody.decode(answer.body)
            tls = body.detail if body.reason is Reason.ALERT else b""
        try:
            link.sendall(tls)
        except OSError:
            return False
        return answer is not None and answer.type is FrameType.HREPLY


def main(port: str) -> None:
    """Serve a new world on a port of the loopback interface until the process is ended."""
    with Adapter(World().server, port=int(port)):
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])

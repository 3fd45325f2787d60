"""Messages between a front and one of its tails, over the pair of sockets that ties their lives together.

A message is ``head length u32, body length u32, head, body``, little-endian. The front's end never blocks: what the
system does not take at once waits here, and is written when the `Poller` reports room. The tail's end only waits.
Nobody else can reach either end; still, the front accepts no length beyond `MAX_BYTES` from a tail.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from typing import TypeAlias

Message: TypeAlias = tuple[bytes, bytes]
"""Head and body."""

MAX_BYTES = 1 << 20
LENGTHS = struct.Struct("<II")
"""What a message begins with: the lengths of its head and body."""
_CHUNK = 1 << 16


class PipeError(Exception):
    """The other end is gone, or writes something that is not a message."""


def frame(message: Message) -> bytes:
    """A message as it travels."""
    head, body = message
    return b"".join((LENGTHS.pack(len(head), len(body)), head, body))


class FrontPipe:
    """The front's end; makes both.

    Attributes:
        theirs: the other end, for the child; closed with `hand_over` once the child has it.

    Raises:
        OSError: no descriptor is left.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)  # noqa: FBT003  (the standard library's signature)
        self._inbox, self._outbox = bytearray(), bytearray()

    @property
    def readable(self) -> int:
        """A descriptor that becomes readable with a message, and when the other end is gone (for a `Poller`)."""
        return self._ours.fileno()

    @property
    def must_write(self) -> bool:
        """Whether something waits until the system takes more."""
        return bool(self._outbox)

    def hand_over(self) -> None:
        """Close the other end here, so that the child's is the only one."""
        self.theirs.close()

    def send(self, message: Message) -> None:
        """Write a message, now or by `flush`; to an end that is gone it is lost, and `receive` raises."""
        self._outbox += frame(message)
        self.flush()

    def flush(self) -> None:
        """Write as much as the system takes."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while self._outbox:
                del self._outbox[: self._ours.send(self._outbox)]

    def receive(self) -> list[Message]:
        """The messages that have come whole.

        Raises:
            PipeError: the other end is gone and nothing whole came before that, or it claims more than `MAX_BYTES`.
        """
        is_over = self._fill()
        messages = []
        while (message := self._take()) is not None:
            messages.append(message)
        if is_over and not messages:
            raise PipeError("the other end is gone")
        return messages

    def close(self) -> None:
        """Close both ends."""
        self._ours.close()
        self.theirs.close()

    def _fill(self) -> bool:
        """Read what is there; whether that was the end."""
        while len(self._inbox) <= MAX_BYTES:
            try:
                got = self._ours.recv(_CHUNK)
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            self._inbox += got
            if len(got) < _CHUNK:
                return not got
        return False

    def _take(self) -> Message | None:
        if len(self._inbox) < LENGTHS.size:
            return None
        head, body = LENGTHS.unpack_from(self._inbox)
        if head + body > MAX_BYTES:
            raise PipeError("the other end writes no messages")
        start = LENGTHS.size
        end = start + head + body
        if len(self._inbox) < end:
            return None
        message = bytes(self._inbox[start : start + head]), bytes(self._inbox[start + head : end])
        del self._inbox[:end]
        return message


class TailPipe:
    """The tail's end.

    Args:
        descriptor: of the socket that was inherited.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        # The end of a socket is reported even where no event was asked for. epoll where there is one: a process that
        # may open no more descriptors may not poll the one that it has either (EINVAL, getrlimit(2)).
        self._watch = select.epoll() if hasattr(select, "epoll") else select.poll()
        self._watch.register(self._socket, 0)

    def send(self, message: Message) -> None:
        """Write a message.

        Raises:
            PipeError: the front is gone.
        """
        try:
            self._socket.sendall(frame(message))
        except ConnectionError as error:
            raise PipeError("the front is gone") from error

    def receive(self) -> Message:
        """Wait for a message.

        Raises:
            PipeError: the front is gone.
        """
        head, body = LENGTHS.unpack(self._exactly(LENGTHS.size))
        return bytes(self._exactly(head)), bytes(self._exactly(body))

    def wait_for_end(self) -> None:
        """Return when the front is gone; for a thread of its own, reads nothing."""
        self._watch.poll()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            try:
                got = self._socket.recv_into(view)
            except ConnectionError:
                got = 0
            if not got:
                raise PipeError("the front is gone")
            view = view[got:]
        return data

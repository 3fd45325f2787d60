"""The pipe between a front and a tail: whole messages, in order, whatever the system takes at once."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securesplit.transport.poll import Poller
from securesplit.worker.ipc.pipe import MAX_BYTES, FrontPipe, Message, PipeError, TailPipe


@pytest.fixture
def front() -> Iterator[FrontPipe]:
    pipe = FrontPipe()
    yield pipe
    pipe.close()


def _theirs(front: FrontPipe) -> TailPipe:
    return TailPipe(front.theirs.detach())


def _read_reports(front: FrontPipe, many: int) -> list[Message]:
    poller, heard = Poller(), list[Message]()
    poller.add(front)
    while len(heard) < many:
        assert poller.wait(5.0)
        heard += front.receive()
    return heard


@given(st.lists(st.tuples(st.binary(max_size=100), st.binary(max_size=5_000)), max_size=20))
def test_messages_arrive_whole_and_in_order(messages: list[Message]) -> None:
    front = FrontPipe()
    tail = _theirs(front)
    for message in messages:
        front.send(message)
        tail.send(message)
    assert [tail.receive() for _ in messages] == messages
    assert _read_reports(front, len(messages)) == messages
    front.close()
    tail.close()


def test_what_a_full_pipe_does_not_take_is_written_later(front: FrontPipe) -> None:
    tail, message = _theirs(front), (b"head", bytes(900_000))
    poller = Poller()
    poller.add(front)
    front.send(message)
    assert front.must_write
    poller.watch(front, writes=True)
    assert not poller.wait(0.0)
    heard: list[Message] = []
    reader = threading.Thread(target=lambda: heard.append(tail.receive()))
    reader.start()
    while front.must_write:
        assert poller.wait(5.0)
        front.flush()
    reader.join(5.0)
    assert heard == [message]
    poller.watch(front, writes=False)
    assert not poller.wait(0.0)
    tail.close()


def test_last_words_are_heard_before_the_end(front: FrontPipe) -> None:
    tail = _theirs(front)
    tail.send((b"words", b""))
    tail.close()
    assert front.receive() == [(b"words", b"")]
    with pytest.raises(PipeError, match="gone"):
        front.receive()
    front.send((b"lost", b""))


def test_half_a_message_is_no_message(front: FrontPipe) -> None:
    with socket.socket(fileno=front.theirs.detach()) as theirs:
        theirs.sendall(struct.pack("<II", 3, 1) + b"abc")
        assert front.receive() == []
        theirs.sendall(b"d")
        assert front.receive() == [(b"abc", b"d")]
        theirs.sendall(b"\1")
    assert front.receive() == []
    with pytest.raises(PipeError, match="gone"):
        front.receive()


@pytest.mark.parametrize("lengths", [(MAX_BYTES, 1), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_a_tail_is_believed_no_length(front: FrontPipe, lengths: tuple[int, int]) -> None:
    with socket.socket(fileno=front.theirs.detach()) as theirs:
        theirs.sendall(struct.pack("<II", *lengths))
        with pytest.raises(PipeError, match="no messages"):
            front.receive()


def test_a_tail_that_never_stops_writing_holds_up_nobody(front: FrontPipe) -> None:
    """`receive` returns after about `MAX_BYTES`, however fast the other end writes."""
    theirs = socket.socket(fileno=front.theirs.detach())

    def write() -> None:
        try:
            while True:
                theirs.sendall(struct.pack("<II", 0, 60_000) + bytes(60_000))
        except OSError:
            theirs.close()

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(20):
        assert sum(len(body) for _, body in front.receive()) <= MAX_BYTES + (1 << 16)
    front.close()
    writer.join(5.0)
    assert not writer.is_alive()


def test_the_tail_notices_the_end_of_the_front(front: FrontPipe) -> None:
    tail = _theirs(front)
    watcher = threading.Thread(target=tail.wait_for_end)
    watcher.start()
    front.send((b"a", b"b"))
    watcher.join(0.1)
    assert watcher.is_alive(), "a message is no end"
    assert tail.receive() == (b"a", b"b")
    front.close()
    watcher.join(5.0)
    assert not watcher.is_alive()
    with pytest.raises(PipeError, match="gone"):
        tail.receive()
    with pytest.raises(PipeError, match="gone"):
        tail.send((b"", b""))
    tail.close()

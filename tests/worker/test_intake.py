"""Requests of open sessions do not wait behind handshakes, and handshakes do not starve."""

from __future__ import annotations

from securesplit.channel.frames import Frame, FrameType, encode
from securesplit.transport.server import Incoming
from securesplit.worker.intake import Intake


def message(kind: FrameType, ref: int = 0) -> Incoming:
    return Incoming((b"peer", b""), "127.0.0.1", encode(Frame(kind, ref=ref)))


def test_what_belongs_to_a_session_first_in_its_order_then_a_few_handshakes() -> None:
    intake = Intake()
    hellos = [message(FrameType.HELLO, ref) for ref in range(6)]
    fin, request = message(FrameType.FIN), message(FrameType.REQ)
    for each in [*hellos, fin, request]:
        intake.add(each)
    assert intake.turn() == [fin, request, *hellos[:4]]
    assert not intake.is_empty
    assert intake.turn() == hellos[4:]
    assert intake.is_empty


def test_many_requests_do_not_starve_handshakes() -> None:
    intake = Intake()
    hello = message(FrameType.HELLO)
    intake.add(hello)
    for ref in range(50):
        intake.add(message(FrameType.REQ, ref))
    assert hello in intake.turn()


def test_a_flood_of_handshakes_is_bounded_and_loses_the_oldest() -> None:
    intake = Intake()
    for ref in range(10_000):
        intake.add(message(FrameType.HELLO, ref))
    seen = []
    while not intake.is_empty:
        seen += intake.turn()
    assert len(seen) == 256
    assert seen[-1] == message(FrameType.HELLO, 9_999)


def test_garbage_goes_through_to_the_channel() -> None:
    intake = Intake()
    for body in (b"", b"x", b"SSP1"):
        intake.add(Incoming((b"peer", b""), "", body))
    assert [m.body for m in intake.turn()] == [b"", b"x", b"SSP1"]

"""Requests of open sessions do not wait behind handshakes; newcomers have their turn, whoever crowds in beside them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from securesplit.channel.frames import Frame, FrameType, encode
from securesplit.channel.limits import Limits
from securesplit.transport.server import Incoming
from securesplit.worker.admission import HELLO_SHARE, MESSAGES_A_CLIENT, Intake, Line, is_hello

FREE = Limits(handshakes_per_s=1e9, handshake_burst=1e9)


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def message(kind: FrameType, ref: int = 0, peer: bytes = b"peer", address: str = "127.0.0.1") -> Incoming:
    return Incoming((peer, b""), address, encode(Frame(kind, ref=ref)))


def hello(peer: int, address: str = "127.0.0.1", ref: int = 0) -> Incoming:
    return message(FrameType.HELLO, ref, b"%d" % peer, address)


def requests(peer: bytes, many: int) -> list[Incoming]:
    return [message(FrameType.REQ, ref, peer) for ref in range(many)]


def test_session_frames_keep_order_one_handshake_a_turn() -> None:
    clock = Clock()
    intake = Intake(FREE, clock)
    hellos = [hello(peer) for peer in range(3)]
    first, second = requests(b"peer", 2)
    for each in hellos:
        intake.add_hello(each)
    for each in (first, second):
        intake.add("device", each)
    assert intake.messages() == [("device", first), ("device", second)]
    assert intake.messages() == []
    assert [intake.newcomer() for _ in range(4)] == [*hellos, None]


def test_many_connections_delay_another_client_by_one_message() -> None:
    intake = Intake(FREE, Clock())
    for n in range(MESSAGES_A_CLIENT):
        assert intake.add("greedy", message(FrameType.REQ, n, b"%d" % (n % 16)))
    modest = message(FrameType.REQ, 1, b"modest")
    assert intake.add("modest", modest)
    assert intake.pause_s(0.1) == 0.0, "what waits is not slept over"
    assert ("modest", modest) in intake.messages()[:2]


def test_a_client_s_place_in_the_queue_is_bounded() -> None:
    intake = Intake(FREE, Clock())
    assert all(intake.add("greedy", each) for each in requests(b"peer", MESSAGES_A_CLIENT))
    assert not intake.add("greedy", message(FrameType.REQ))
    assert intake.add("modest", message(FrameType.REQ))
    taken = len(intake.messages())
    assert 0 < taken < len(intake), "a turn is short, so that answers leave between two"
    assert intake.add("greedy", message(FrameType.REQ))


def test_handshakes_have_no_more_than_their_share_of_the_time() -> None:
    clock = Clock()
    intake = Intake(FREE, clock)
    for peer in range(200):
        intake.add_hello(hello(peer))
    start, busy_s = clock.now_s, 0.0
    while clock.now_s < start + 0.3:
        if intake.newcomer() is None:
            clock.now_s += min(0.0001, intake.pause_s(0.1) or 0.0001)
        else:
            clock.now_s += 0.001
            busy_s += 0.001
            intake.spent(0.001)
    assert 0.9 * HELLO_SHARE < busy_s / 0.3 <= 1.02 * HELLO_SHARE


def test_an_idle_front_sleeps_until_the_next_handshake_is_due() -> None:
    clock = Clock()
    intake = Intake(FREE, clock)
    assert intake.pause_s(0.1) == 0.1
    intake.add_hello(hello(1))
    assert intake.pause_s(0.1) == 0.0
    assert intake.newcomer() is not None
    intake.spent(0.01)
    assert intake.pause_s(0.1) == 0.1, "nobody waits"
    intake.add_hello(hello(2))
    others_s = 0.01 * (1 / HELLO_SHARE - 1)
    assert abs(intake.pause_s(0.1) - others_s) < 1e-9
    assert intake.newcomer() is None
    clock.now_s += others_s + 0.001
    assert intake.newcomer() is not None


def test_addresses_take_turns_and_so_do_the_connections_of_each() -> None:
    line = Line(FREE)
    for peer in range(4):
        line.add(hello(peer, "flood"))
    line.add(hello(9, "honest"))
    order = [line.take(0.0) for _ in range(5)]
    assert [(m.address, m.route[0]) for m in order if isinstance(m, Incoming)] == [
        ("flood", b"0"),
        ("honest", b"9"),
        ("flood", b"1"),
        ("flood", b"2"),
        ("flood", b"3"),
    ]


def test_an_honest_client_behind_a_flooding_address_is_served() -> None:
    """A hundred connections repeat HELLOs without end; a newcomer of the same address is next, or the one after."""
    line = Line(FREE)
    for turn in range(200):
        for peer in range(100):
            line.add(hello(peer, ref=turn))
        line.take(0.0)
    for number in range(20):
        newcomer = hello(1_000 + number)
        line.add(newcomer)
        taken = [line.take(0.0), line.take(0.0)]
        assert newcomer in taken
        for each in taken:
            if isinstance(each, Incoming) and each != newcomer:
                line.add(each)


def test_a_returning_client_is_not_starved_by_new_ones() -> None:
    line = Line(FREE)
    line.add(hello(1))
    line.take(0.0)
    line.add(hello(1, ref=2))
    for peer in range(2, 50):
        line.add(hello(peer))
    assert hello(1, ref=2) in [line.take(0.0) for _ in range(4)]


def test_a_full_line_first_drops_those_already_answered() -> None:
    line = Line(FREE)
    line.add(hello(1))
    line.take(0.0)
    for peer in range(100, 356):
        line.add(hello(peer))
    again = hello(1, ref=2)
    assert line.add(again) == again


def test_a_connection_has_one_handshake_in_the_line_its_latest() -> None:
    line = Line(FREE)
    for ref in range(10_000):
        assert line.add(hello(1, ref=ref)) is None
    assert len(line) == 1
    assert line.take(0.0) == hello(1, ref=9_999)


def test_a_full_line_loses_the_oldest_of_the_most_crowded_address() -> None:
    line = Line(FREE)
    quiet = [hello(peer, f"10.0.0.{peer}") for peer in range(20)]
    for each in quiet:
        line.add(each)
    lost = [line.add(hello(peer, "flood")) for peer in range(1_000)]
    assert len(line) == 256
    assert [each for each in lost if each] == [hello(peer, "flood") for peer in range(1_000 - 236)]
    left = set()
    while len(line):
        left.add(line.take(0.0))
    assert set(quiet) <= left


def test_an_address_without_a_token_does_not_block_others() -> None:
    line = Line(Limits(handshakes_per_s=10.0, handshake_burst=2.0))
    for peer in range(4):
        line.add(hello(peer, "busy"))
    line.add(hello(9, "honest"))
    got = [line.take(0.0) for _ in range(4)]
    assert [m.route[0] for m in got if isinstance(m, Incoming)] == [b"0", b"9", b"1"]
    assert got[3] == 0.1
    assert isinstance(line.take(0.11), Incoming)


def test_the_front_sleeps_until_there_is_a_token() -> None:
    clock = Clock()
    intake = Intake(Limits(handshakes_per_s=10.0, handshake_burst=1.0), clock)
    for peer in range(2):
        intake.add_hello(hello(peer))
    assert intake.newcomer() is not None
    assert intake.newcomer() is None
    assert abs(intake.pause_s(1.0) - 0.1) < 1e-9
    clock.now_s += 0.1001
    assert intake.newcomer() is not None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans()), max_size=200))
def test_the_line_counts_right_and_loses_nobody_unseen(steps: list[tuple[str, int, bool]]) -> None:
    line, waiting = Line(FREE), {}
    for address, peer, take in steps:
        if take:
            taken = line.take(0.0)
            if isinstance(taken, Incoming):
                del waiting[taken.address, taken.route[0]]
            else:
                assert not waiting
        else:
            assert line.add(hello(peer, address)) is None
            waiting[address, b"%d" % peer] = True
        assert len(line) == len(waiting)


def test_many_requests_do_not_starve_handshakes() -> None:
    intake = Intake(FREE, Clock())
    intake.add_hello(hello(1))
    for ref in range(50):
        intake.add("device", message(FrameType.REQ, ref))
    intake.messages()
    assert intake.newcomer() == hello(1)


def test_garbage_and_oversized_hellos_take_no_place_in_the_line() -> None:
    huge = Incoming((b"peer", b""), "", encode(Frame(FrameType.HELLO, body=bytes(1 << 18))))
    bodies = [Incoming((b"peer", b""), "", body) for body in (b"", b"x", b"SSP1")]
    assert not any(is_hello(each) for each in (*bodies, huge))

"""Requests of open sessions do not wait behind handshakes; new clients have their turn in a crowd."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from securesplit.channel.frames import Frame, FrameType, encode
from securesplit.channel.limits import Limits
from securesplit.transport.server import Incoming
from securesplit.worker.admission import HELLO_SHARE, MESSAGES_A_CLIENT, AdmissionController, HandshakeQueue, is_hello
from securesplit_testing.clock import Clock

FREE = Limits(handshakes_per_s=1e9, handshake_burst=1e9)


def message(kind: FrameType, ref: int = 0, peer: bytes = b"peer", address: str = "127.0.0.1") -> Incoming:
    return Incoming((peer, b""), address, encode(Frame(kind, ref=ref)))


def hello(peer: int, address: str = "127.0.0.1", ref: int = 0) -> Incoming:
    return message(FrameType.HELLO, ref, b"%d" % peer, address)


def requests(peer: bytes, many: int) -> list[Incoming]:
    return [message(FrameType.REQ, ref, peer) for ref in range(many)]


def test_session_frames_keep_order_one_handshake_a_turn() -> None:
    clock = Clock()
    admission = AdmissionController(FREE, clock)
    hellos = [hello(peer) for peer in range(3)]
    first, second = requests(b"peer", 2)
    for each in hellos:
        admission.add_hello(each)
    for each in (first, second):
        admission.add("device", each)
    assert admission.messages() == [("device", first), ("device", second)]
    assert admission.messages() == []
    assert [admission.next_handshake() for _ in range(4)] == [*hellos, None]


def test_many_connections_delay_another_client_by_one_message() -> None:
    admission = AdmissionController(FREE, Clock())
    for n in range(MESSAGES_A_CLIENT):
        assert admission.add("greedy", message(FrameType.REQ, n, b"%d" % (n % 16)))
    modest = message(FrameType.REQ, 1, b"modest")
    assert admission.add("modest", modest)
    assert admission.pause_s(0.1) == 0.0, "what waits is not slept over"
    assert ("modest", modest) in admission.messages()[:2]


def test_a_client_s_place_in_the_queue_is_bounded() -> None:
    admission = AdmissionController(FREE, Clock())
    assert all(admission.add("greedy", each) for each in requests(b"peer", MESSAGES_A_CLIENT))
    assert not admission.add("greedy", message(FrameType.REQ))
    assert admission.add("modest", message(FrameType.REQ))
    taken = len(admission.messages())
    assert 0 < taken < len(admission), "a turn is short, so that answers leave between two"
    assert admission.add("greedy", message(FrameType.REQ))


def test_handshakes_have_no_more_than_their_share_of_the_time() -> None:
    clock = Clock()
    admission = AdmissionController(FREE, clock)
    for peer in range(200):
        admission.add_hello(hello(peer))
    start, busy_s = clock.now_s, 0.0
    while clock.now_s < start + 0.3:
        if admission.next_handshake() is None:
            clock.now_s += min(0.0001, admission.pause_s(0.1) or 0.0001)
        else:
            clock.now_s += 0.001
            busy_s += 0.001
            admission.spent(0.001)
    assert 0.9 * HELLO_SHARE < busy_s / 0.3 <= 1.02 * HELLO_SHARE


def test_an_idle_front_sleeps_until_the_next_handshake_is_due() -> None:
    clock = Clock()
    admission = AdmissionController(FREE, clock)
    assert admission.pause_s(0.1) == 0.1
    admission.add_hello(hello(1))
    assert admission.pause_s(0.1) == 0.0
    assert admission.next_handshake() is not None
    admission.spent(0.01)
    assert admission.pause_s(0.1) == 0.1, "nobody waits"
    admission.add_hello(hello(2))
    others_s = 0.01 * (1 / HELLO_SHARE - 1)
    assert abs(admission.pause_s(0.1) - others_s) < 1e-9
    assert admission.next_handshake() is None
    clock.now_s += others_s + 0.001
    assert admission.next_handshake() is not None


def test_addresses_take_turns_and_so_do_the_connections_of_each() -> None:
    queue = HandshakeQueue(FREE)
    for peer in range(4):
        queue.add(hello(peer, "flood"))
    queue.add(hello(9, "honest"))
    order = [queue.take(0.0) for _ in range(5)]
    assert [(m.address, m.route[0]) for m in order if isinstance(m, Incoming)] == [
        ("flood", b"0"),
        ("honest", b"9"),
        ("flood", b"1"),
        ("flood", b"2"),
        ("flood", b"3"),
    ]


def test_an_honest_client_behind_a_flooding_address_is_served() -> None:
    """A hundred connections repeat HELLOs without end; a newcomer of the same address is next, or the one after."""
    queue = HandshakeQueue(FREE)
    for turn in range(200):
        for peer in range(100):
            queue.add(hello(peer, ref=turn))
        queue.take(0.0)
    for number in range(20):
        newcomer = hello(1_000 + number)
        queue.add(newcomer)
        taken = [queue.take(0.0), queue.take(0.0)]
        assert newcomer in taken
        for each in taken:
            if isinstance(each, Incoming) and each != newcomer:
                queue.add(each)


def test_a_returning_client_is_not_starved_by_new_ones() -> None:
    queue = HandshakeQueue(FREE)
    queue.add(hello(1))
    queue.take(0.0)
    queue.add(hello(1, ref=2))
    for peer in range(2, 50):
        queue.add(hello(peer))
    assert hello(1, ref=2) in [queue.take(0.0) for _ in range(4)]


def test_who_was_answered_long_ago_is_new_again() -> None:
    queue = HandshakeQueue(FREE)
    for peer in range(4_097):
        queue.add(hello(peer))
        queue.take(0.0)
    for peer in (4_096, 0):
        queue.add(hello(peer, ref=2))
    assert queue.take(0.0) == hello(0, ref=2), "of so many only the last 4,096 are remembered"


def test_a_full_line_first_drops_those_already_answered() -> None:
    queue = HandshakeQueue(FREE)
    queue.add(hello(1))
    queue.take(0.0)
    for peer in range(100, 356):
        queue.add(hello(peer))
    again = hello(1, ref=2)
    assert queue.add(again) == again


def test_a_connection_has_one_handshake_in_the_line_its_latest() -> None:
    queue = HandshakeQueue(FREE)
    for ref in range(10_000):
        assert queue.add(hello(1, ref=ref)) is None
    assert len(queue) == 1
    assert queue.take(0.0) == hello(1, ref=9_999)


def test_a_full_line_loses_the_oldest_of_the_most_crowded_address() -> None:
    queue = HandshakeQueue(FREE)
    quiet = [hello(peer, f"10.0.0.{peer}") for peer in range(20)]
    for each in quiet:
        queue.add(each)
    lost = [queue.add(hello(peer, "flood")) for peer in range(1_000)]
    assert len(queue) == 256
    assert [each for each in lost if each] == [hello(peer, "flood") for peer in range(1_000 - 236)]
    left = set()
    while len(queue):
        left.add(queue.take(0.0))
    assert set(quiet) <= left


def test_an_address_without_a_token_does_not_block_others() -> None:
    queue = HandshakeQueue(Limits(handshakes_per_s=10.0, handshake_burst=2.0))
    for peer in range(4):
        queue.add(hello(peer, "busy"))
    queue.add(hello(9, "honest"))
    got = [queue.take(0.0) for _ in range(4)]
    assert [m.route[0] for m in got if isinstance(m, Incoming)] == [b"0", b"9", b"1"]
    assert got[3] == 0.1
    assert isinstance(queue.take(0.11), Incoming)


def test_the_front_sleeps_until_there_is_a_token() -> None:
    clock = Clock()
    admission = AdmissionController(Limits(handshakes_per_s=10.0, handshake_burst=1.0), clock)
    for peer in range(2):
        admission.add_hello(hello(peer))
    assert admission.next_handshake() is not None
    assert admission.next_handshake() is None
    assert abs(admission.pause_s(1.0) - 0.1) < 1e-9
    clock.now_s += 0.1001
    assert admission.next_handshake() is not None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans()), max_size=200))
def test_the_line_counts_right_and_loses_nobody_unseen(steps: list[tuple[str, int, bool]]) -> None:
    queue, waiting = HandshakeQueue(FREE), {}
    for address, peer, take in steps:
        if take:
            taken = queue.take(0.0)
            if isinstance(taken, Incoming):
                del waiting[taken.address, taken.route[0]]
            else:
                assert not waiting
        else:
            assert queue.add(hello(peer, address)) is None
            waiting[address, b"%d" % peer] = True
        assert len(queue) == len(waiting)


def test_many_requests_do_not_starve_handshakes() -> None:
    admission = AdmissionController(FREE, Clock())
    admission.add_hello(hello(1))
    for ref in range(50):
        admission.add("device", message(FrameType.REQ, ref))
    admission.messages()
    assert admission.next_handshake() == hello(1)


def test_garbage_and_oversized_hellos_take_no_place_in_the_line() -> None:
    huge = Incoming((b"peer", b""), "", encode(Frame(FrameType.HELLO, body=bytes(1 << 18))))
    bodies = [Incoming((b"peer", b""), "", body) for body in (b"", b"x", b"SSP1")]
    assert not any(is_hello(each) for each in (*bodies, huge))
    assert is_hello(hello(1))

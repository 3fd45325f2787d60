"""An attacker on the wire: whatever it does to frames, sessions stay as they are. Real TLS, both sides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securesplit.channel import frames
from securesplit.channel.client import ClientChannel
from securesplit.channel.events import Refused, Request, Send
from securesplit.channel.frames import HEADER_BYTES, Code, ErrorBody, Frame, FrameError, FrameType, Reason
from securesplit.channel.sealing import MAX_SEQUENCE
from securesplit.channel.states import ClientState
from securesplit_testing.channels import PEER, World, change, parse, sent

# (name, first byte, bytes) of each header field, then a byte of the ciphertext and one of the tag.
FIELDS = [("magic", 0), ("type", 4), ("code", 5), ("reserved", 6), ("seq", 15), ("ref", 23), ("session", 24)]


def snapshot(world: World) -> object:
    """Everything of the server's sessions that an attack must not move."""
    return [
        (one.id, one.state, one.opener.sequence, one.sealer.sequence, one.used_s)
        for one in world.server._sessions._entries.values()
    ]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(("name", "index"), [*FIELDS, ("ciphertext", HEADER_BYTES), ("tag", -1)])
def test_a_flipped_bit_in_a_request_changes_nothing(world: World, name: str, index: int) -> None:
    client, _ = world.open()
    honest = client.request(2, b"ask")
    before = snapshot(world)
    for bit in range(8):
        forged = bytearray(honest)
        forged[index] ^= 1 << bit
        event = world.server.receive(PEER, bytes(forged))
        assert not isinstance(event, Request), name
        assert snapshot(world) == before, name
    assert isinstance(world.server.receive(PEER, honest), Request)


@pytest.mark.parametrize(("name", "index"), [*FIELDS, ("ciphertext", HEADER_BYTES), ("tag", -1)])
def test_a_flipped_bit_of_a_reply_is_refused_and_changes_nothing(world: World, name: str, index: int) -> None:
    client, session = world.open()
    world.ask(client, ref=2)
    honest = world.server.seal_reply(session, 2, b"answer")
    for bit in range(8):
        forged = bytearray(honest)
        forged[index] ^= 1 << bit
        with pytest.raises(FrameError):
            client.receive(bytes(forged))
        assert client.state is ClientState.OPEN, name
    client.receive(honest)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_change_of_an_open_session_s_frames_is_refused(data: st.DataObject) -> None:
    client, session = SHARED.open()
    honest = client.request(2, b"ask")
    cut = data.draw(st.integers(0, len(honest) - 1))
    forged = data.draw(st.sampled_from([honest[:cut], honest + b"\0", bytes([honest[0]]) + honest[2:]]))
    assert not isinstance(SHARED.server.receive(PEER, forged), Request)
    assert isinstance(SHARED.server.receive(PEER, honest), Request)
    assert session


SHARED = World()


def test_a_replayed_request_is_refused(world: World) -> None:
    client, _ = world.open()
    honest = client.request(2, b"ask")
    assert isinstance(world.server.receive(PEER, honest), Request)
    before = snapshot(world)
    for peer in (PEER, b"elsewhere"):
        assert parse(world.server.receive(peer, honest)).code is Code.BAD
    assert snapshot(world) == before


def test_requests_out_of_order_are_refused_and_a_gap_is_not(world: World) -> None:
    client, _ = world.open()
    first, _lost, third = (client.request(ref, b"ask") for ref in (2, 3, 4))
    assert isinstance(world.server.receive(PEER, third), Request)
    assert parse(world.server.receive(PEER, first)).code is Code.BAD


def test_a_forged_sequence_neither_counts_nor_evicts(world: World) -> None:
    """Seen to bite: a server that stores the number first locks the honest client out."""
    client, session = world.open()
    honest = client.request(2, b"ask")
    before = snapshot(world)
    for seq in (0, 3, MAX_SEQUENCE, MAX_SEQUENCE + 1, 2**63, 2**64 - 1):
        event = world.server.receive(PEER, change(honest, seq=seq))
        assert parse(event).code in (Code.BAD, Code.UNKNOWN_SESSION)
        assert snapshot(world) == before
    assert isinstance(world.server.receive(PEER, honest), Request)
    assert world.server.session_count == 1
    assert session


def test_frames_of_another_session_are_refused(world: World) -> None:
    alice, alices = world.open(b"alice")
    bob, bobs = world.open(b"bob")
    before = snapshot(world)
    moved = change(alice.request(5, b"ask"), session=bobs)
    assert parse(world.server.receive(b"bob", moved)).code is Code.BAD
    assert snapshot(world) == before
    world.ask(bob, ref=2)
    reply = world.server.seal_reply(bobs, 2, b"bob's answer")
    for frame in (reply, change(reply, session=alices)):
        with pytest.raises(FrameError):
            alice.receive(frame)
    bob.receive(reply)


def test_a_frame_sent_back_to_its_sender_is_refused(world: World) -> None:
    client, session = world.open()
    request = client.request(2, b"ask")
    for kind in (FrameType.REQ, FrameType.REP, FrameType.FREPLY):
        with pytest.raises(FrameError):
            client.receive(change(request, type=kind))
    world.server.receive(PEER, request)
    reply = world.server.seal_reply(session, 2, b"answer")
    before = snapshot(world)
    for kind in (FrameType.REP, FrameType.REQ):
        assert not isinstance(world.server.receive(PEER, change(reply, type=kind, seq=9)), Request)
    assert snapshot(world) == before


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK], ids=lambda code: code.name)
def test_a_forged_error_does_not_close_an_open_session(world: World, code: Code) -> None:
    client, session = world.open()
    for reason, detail in (
        (Reason.NONE, b""),
        (Reason.BUNDLE, bytes(32)),
        (Reason.ALERT, b"\x15\x03\x03\x00\x02\x02\x2e"),
    ):
        body = ErrorBody(60_000, reason, detail).encode()
        for named in (session, bytes(16)):
            event = client.receive(frames.encode(Frame(FrameType.ERR, code, ref=2, session=named, body=body)))
            assert isinstance(event, Refused)
            assert (event.code, event.ref, event.retry_after_s) == (code, 2, 60.0)
    assert client.state is ClientState.OPEN
    world.answer(client, world.ask(client, ref=2))


def test_a_hint_for_another_session_is_ignored(world: World) -> None:
    client, _ = world.open()
    with pytest.raises(FrameError, match="another session"):
        client.receive(world.server.error(Code.UNKNOWN_SESSION, 2, b"x" * 16))


def test_a_stale_session_is_unknown_until_a_new_handshake(world: World) -> None:
    client, session = world.open()
    world.clock.now_s += 311.0
    world.server.tick()
    answer = world.server.receive(PEER, client.request(2, b"ask"))
    assert (parse(answer).code, parse(answer).session, parse(answer).ref) == (Code.UNKNOWN_SESSION, session, 2)
    event = client.receive(sent(answer))
    assert isinstance(event, Refused)
    assert event.code is Code.UNKNOWN_SESSION
    world.say_hello(client)
    world.answer(client, world.ask(client, ref=2))


@pytest.mark.parametrize("kind", [FrameType.FREPLY, FrameType.REP])
def test_a_forged_first_reply_does_not_open_the_client(world: World, kind: FrameType) -> None:
    client = world.client()
    world.say_hello(client)
    request = world.ask(client)
    honest = frames.decode(world.server.seal_reply(request.session, 1, b"answer"))
    for forged in (replace(honest, body=bytes(len(honest.body))), replace(honest, seq=2), replace(honest, ref=9)):
        with pytest.raises(FrameError):
            client.receive(frames.encode(replace(forged, type=kind)))
        assert client.state is ClientState.FIN_SENT
    client.receive(frames.encode(honest))
    assert client.state is ClientState.OPEN


def finishing(world: World) -> tuple[ClientChannel, bytes]:
    client = world.client()
    world.say_hello(client)
    return client, client.request(1, b"ask")


@pytest.mark.parametrize(("name", "index"), [("seq", 15), ("ref", 23), ("ciphertext", -17), ("tag", -1), ("TLS", 60)])
def test_a_flipped_bit_of_fin_opens_no_session(world: World, name: str, index: int) -> None:
    _, honest = finishing(world)
    forged = bytearray(honest)
    forged[index] ^= 1
    event = world.server.receive(PEER, bytes(forged))
    assert isinstance(event, Send), name
    assert world.server.session_count == 0


@given(st.integers(0, 2000))
@settings(max_examples=40, deadline=None)
def test_a_truncated_fin_opens_no_session(length: int) -> None:
    before = SHARED.server.session_count
    _, honest = finishing(SHARED)
    event = SHARED.server.receive(PEER, honest[: length % len(honest)])
    assert not isinstance(event, Request)
    assert SHARED.server.session_count == before


def test_a_replayed_fin_opens_no_second_session(world: World) -> None:
    _, fin = finishing(world)
    assert isinstance(world.server.receive(PEER, fin), Request)
    assert parse(world.server.receive(PEER, fin)).code is Code.UNKNOWN_SESSION
    assert world.server.session_count == 1


def test_a_handshake_ends_on_the_connection_where_it_began(world: World) -> None:
    _, fin = finishing(world)
    assert parse(world.server.receive(b"elsewhere", fin)).code is Code.UNKNOWN_SESSION
    assert isinstance(world.server.receive(PEER, fin), Request)


def test_a_fin_without_the_client_s_proof_opens_nothing(world: World) -> None:
    """A server could export keys before the client's certificate came; this one does not."""
    client = world.client()
    world.say_hello(client)
    fin = frames.decode(client.request(1, b"ask"))
    length = int.from_bytes(fin.body[:2], "big")
    without_proof = replace(fin, body=bytes(2) + fin.body[2 + length :])
    event = world.server.receive(PEER, frames.encode(without_proof))
    assert parse(event).code is Code.BAD
    assert world.server.session_count == 0


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_no_server_flight_crashes_a_client(flight: bytes) -> None:
    client = SHARED.client()
    hello = frames.decode(client.hello())
    event = client.receive(frames.encode(Frame(FrameType.HREPLY, session=hello.session, body=flight)))
    assert isinstance(event, Refused), "clear text is never a verdict"
    assert client.state in (ClientState.IDLE, ClientState.HELLO_SENT)


@pytest.mark.parametrize("stage", [ClientState.HELLO_SENT, ClientState.FINISHING, ClientState.FIN_SENT])
@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK], ids=lambda code: code.name)
def test_no_hint_crashes_a_client_nor_says_more_than_its_code(world: World, stage: ClientState, code: Code) -> None:
    """Also one whose reason does not go with its code, or whose detail is cut, or too long, for its reason."""
    client = world.client()
    reply = sent(world.server.receive(PEER, client.hello()))
    if stage is not ClientState.HELLO_SENT:
        client.receive(reply)
    if stage is ClientState.FIN_SENT:
        client.request(1, b"ask")
    alert = bytes.fromhex("15030300020228")
    details = [b"", *(alert[:length] for length in range(1, 7)), alert + b"\0", bytes(7), b"\x15" * 256]
    claims = {
        reason: {
            claim(client, Frame(FrameType.ERR, code, body=ErrorBody(0, reason, detail).encode())) for detail in details
        }
        for reason in Reason
    }
    plain = claims.pop(Reason.NONE)
    assert len(plain) == 1
    if code is Code.TLS:
        assert claims.pop(Reason.ALERT) == {"it broke the handshake off"}
        assert claims.pop(Reason.BUNDLE) != plain
    if code is Code.WORKER:
        assert claims.pop(Reason.PRESET) != plain
    assert all(said == plain for said in claims.values())
    assert client.state is stage


def claim(client: ClientChannel, hint: Frame) -> str:
    event = client.receive(frames.encode(hint))
    assert isinstance(event, Refused), "clear text is never a verdict"
    return event.detail


@given(
    st.sampled_from(FrameType), st.binary(max_size=300), st.integers(0, 5000), st.sampled_from([b"", bytes(range(32))])
)
@settings(max_examples=300, deadline=None)
def test_no_frame_crashes_a_server(kind: FrameType, body: bytes, seq: int, prefix: bytes) -> None:
    code = Code.BAD if kind is FrameType.ERR else Code.OK
    event = SHARED.server.receive(b"fuzz", frames.encode(Frame(kind, code, seq=seq, body=prefix + body)))
    assert not isinstance(event, Request)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_bytes_crash_a_server(data: bytes) -> None:
    assert not isinstance(SHARED.server.receive(b"fuzz", data), Request)


def test_a_mangled_server_flight_ends_the_handshake(world: World) -> None:
    client = world.client()
    reply = frames.decode(sent(world.server.receive(PEER, client.hello())))
    body = bytearray(reply.body)
    body[-5] ^= 1
    event = client.receive(frames.encode(replace(reply, body=bytes(body))))
    assert event == Refused(0, Code.TLS, "it broke the handshake off", 0.0)
    assert client.state is ClientState.IDLE


def test_a_server_flight_of_another_handshake_is_ignored(world: World) -> None:
    client = world.client()
    reply = sent(world.server.receive(PEER, client.hello()))
    with pytest.raises(FrameError, match="another handshake"):
        client.receive(change(reply, session=b"x" * 16))
    client.receive(reply)
    assert client.state is ClientState.FINISHING


def test_a_forged_alert_cannot_end_a_handshake_whose_keys_exist(world: World) -> None:
    client, fin = finishing(world)
    plain_alert = bytes.fromhex("15030300020230")
    body = ErrorBody(0, Reason.ALERT, plain_alert).encode()
    forged = Frame(FrameType.ERR, Code.TLS, session=frames.decode(fin).session, body=body)
    assert isinstance(client.receive(frames.encode(forged)), Refused)
    assert client.state is ClientState.FIN_SENT
    request = world.server.receive(PEER, fin)
    assert isinstance(request, Request)
    world.answer(client, request)


def test_a_hint_of_another_bundle_is_never_believed(world: World) -> None:
    client, fin = finishing(world)
    body = ErrorBody(0, Reason.BUNDLE, bytes(32)).encode()
    forged = Frame(FrameType.ERR, Code.TLS, session=frames.decode(fin).session, body=body)
    assert isinstance(client.receive(frames.encode(forged)), Refused)
    assert client.state is ClientState.FIN_SENT


def test_a_client_that_lies_about_its_bundle_gets_no_session(world: World) -> None:
    """The identity in HELLO is a courtesy; the exporter's context is what binds."""
    liar = world.client(bundle=bytes(32))
    hello = frames.decode(liar.hello())
    honest_identity = change(frames.encode(hello), body=bytes(range(32)) + hello.body[32:])
    liar.receive(sent(world.server.receive(PEER, honest_identity)))
    assert parse(world.server.receive(PEER, liar.request(1, b"ask"))).code is Code.BAD
    assert world.server.session_count == 0


def test_ciphertext_has_the_length_of_the_plaintext_and_16_bytes(world: World) -> None:
    client, session = world.open()
    for length in (0, 1, 312):
        assert len(client.request(2, bytes(length))) == HEADER_BYTES + length + 16
        assert len(world.server.seal_reply(session, 2, bytes(length))) == HEADER_BYTES + length + 16
